package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends/mem"
	"studyfs/cache/stage"
	"studyfs/cache/stage/gate"
)

// wordsFile makes a deny-list by the command.
func wordsFile(t *testing.T, args ...string) string {
	t.Helper()
	names := writeFile(t, filepath.Join(t.TempDir(), "names"), "# made up\nQuillfeather\n", 0o600)
	list := filepath.Join(t.TempDir(), "words.deny")
	var out, errs bytes.Buffer
	a := &app{env: testEnv(t), out: &out, err: &errs}
	if code := a.run(append([]string{"deid", "words", names, "--out", list}, args...)); code != exitOK {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	return list
}

func gatedSource(t *testing.T, flags map[string]string) (sourceSpec, *loaded, error) {
	t.Helper()
	l, err := load(testEnv(t), &given{flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := l.sourcesOf([]string{"s3://study/"})
	if err != nil {
		return sourceSpec{}, l, err
	}
	return all[0], l, nil
}

// All that was set reaches the rules; what is kept for uploads without a mount has neither words nor secrets, and leads to them.
func TestGateSettings(t *testing.T) {
	secret := writeFile(t, filepath.Join(t.TempDir(), "secret"), "of the words\n", 0o600)
	list := wordsFile(t, "--words-secret", "file:"+secret)
	s, l, err := gatedSource(t, map[string]string{
		"write": "true", "gate": "scrub", "words": "file:" + list, "words-secret": "file:" + secret, "date-shift-secret": "cmd:echo of the dates", "keep-dates": "true",
		"labels": "rest,task", "extensions": ".edf,.csv", "equipment": "Xltek",
	})
	if err != nil {
		t.Fatal(err)
	}
	kept, ok := parseTarget(s.target())
	if !ok || len(kept.Gate.Words)+len(kept.Gate.Secret)+len(kept.Gate.Shift) > 0 {
		t.Errorf("kept: %s", s.target())
	}
	for _, spec := range []*sourceSpec{&s, &kept} {
		r, err := spec.judging(l.env)
		if err != nil {
			t.Fatal(err)
		}
		if r.Policy != gate.Scrub || string(r.Secret) != "of the dates" || !r.KeepDates || r.Encrypts || r.Words.Len() == 0 || len(r.Words.Find("Dr. QUILLFEATHER")) != 1 ||
			strings.Join(r.Labels, " ") != "rest task" || strings.Join(r.Extensions, " ") != ".edf .csv" || strings.Join(r.Equipment, " ") != "Xltek" {
			t.Errorf("%+v", r)
		}
	}
	if logged := strings.Join(secretsOf([]sourceSpec{s}), "\n"); !strings.Contains(logged, "of the words") || !strings.Contains(logged, "of the dates") {
		t.Error("the log would show the secrets")
	}
	for _, off := range []map[string]string{{"write": "true"}, {"write": "true", "gate": "off"}, {"write": "true", "gate": "off", "words": "file:" + list}} {
		if s, _, err := gatedSource(t, off); err != nil || s.Gate.on() {
			t.Errorf("%v: %+v, %v", off, s.Gate, err)
		}
	}
}

// Each mistake says what is wrong and what to do. A list that cannot be read must never count as an empty one.
func TestGateMistakes(t *testing.T) {
	list := wordsFile(t)
	secret := writeFile(t, filepath.Join(t.TempDir(), "secret"), "x\n", 0o600)
	for name, c := range map[string]struct {
		flags map[string]string
		want  string
		code  int
	}{
		"policy":           {map[string]string{"gate": "strict"}, "write off, refuse, park, scrub or warn", exitUsage},
		"read-only":        {map[string]string{"write": "", "gate": "refuse"}, "add --write", exitUsage},
		"words alone":      {map[string]string{"words": "file:" + list}, "--gate refuse", exitUsage},
		"no list":          {map[string]string{"gate": "refuse", "words": "file:" + list + "x"}, "studyfs deid words", exitConfig},
		"list of others":   {map[string]string{"gate": "refuse", "words": "file:" + writeFile(t, filepath.Join(t.TempDir(), "w"), "", 0o644)}, "chmod 600", exitPermission},
		"no deny-list":     {map[string]string{"gate": "refuse", "words": "file:" + secret}, "as studyfs deid words makes it", exitConfig},
		"word itself":      {map[string]string{"gate": "refuse", "words": "Quillfeather"}, "does not say where it is", exitConfig},
		"another secret":   {map[string]string{"gate": "refuse", "words": "file:" + list, "words-secret": "file:" + secret}, "another secret", exitConfig},
		"no secret":        {map[string]string{"gate": "scrub", "date-shift-secret": "file:" + secret + "x"}, "keep a copy of it", exitConfig},
		"empty secret":     {map[string]string{"gate": "scrub", "date-shift-secret": "cmd:echo"}, "gives none", exitConfig},
		"extension":        {map[string]string{"gate": "refuse", "extensions": "edf"}, "with their dots", exitUsage},
		"where keys stand": {map[string]string{"gate": "scrub", "date-shift-secret": "Quillfeather"}, "does not belong here", exitConfig},
	} {
		flags := map[string]string{"write": "true"}
		for k, v := range c.flags {
			if flags[k] = v; v == "" {
				delete(flags, k)
			}
		}
		_, _, err := gatedSource(t, flags)
		if err == nil || !strings.Contains(err.Error(), c.want) || codeOf(err) != c.code {
			t.Errorf("%s: %v (exit %d); want %q, exit %d", name, err, codeOf(err), c.want, c.code)
		}
		if err != nil && strings.Contains(err.Error(), "Quillfeather") {
			t.Errorf("%s: the message tells the name: %v", name, err)
		}
	}
}

// Rules that were given with the mount hold when what it left is uploaded without one; and no uploads ever begin without them.
func TestUploadsWithoutAMountHaveItsRules(t *testing.T) {
	s, l, err := gatedSource(t, map[string]string{"write": "true", "gate": "refuse"})
	if err != nil {
		t.Fatal(err)
	}
	p := places{cache: t.TempDir(), state: t.TempDir(), runtime: t.TempDir()}
	w, err := openWriting(t.Context(), p, s, slog.New(slog.DiscardHandler), stage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.begin(writerOnly{mem.New(0)}, nil); err == nil {
		t.Error("uploads have begun without rules")
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	l.given.flags = nil
	l.Source = map[string]sourceConfig{"lab": {Kind: kindS3, URL: "s3://study/", Write: true}} // knows nothing of a gate
	if spec := l.specOfStage(p, s.id()); !spec.Gate.on() || spec.Gate.Policy != "refuse" {
		t.Errorf("%+v", spec.Gate)
	}
}

// writerOnly is a source in memory.
type writerOnly struct{ *mem.Source }

// A list holds no names, is for its owner alone, and is not replaced unless that was said.
func TestDeidWords(t *testing.T) {
	list := wordsFile(t)
	info, err := os.Stat(list)
	text, _ := os.ReadFile(list)
	if err != nil || info.Mode().Perm() != 0o600 || strings.Contains(strings.ToLower(string(text)), "quill") {
		t.Errorf("%v, %v, %s", info, err, text)
	}
	names := writeFile(t, filepath.Join(t.TempDir(), "names"), "Brandybuck\n", 0o600)
	empty := writeFile(t, filepath.Join(t.TempDir(), "empty"), "# nobody\n", 0o600)
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{names, "--out", list}, exitCannotCreate},
		{[]string{names, "--out", list, "--force"}, exitOK},
		{[]string{empty, "--out", list, "--force"}, exitError},
		{[]string{names + "x", "--out", list + "2"}, exitConfig},
		{[]string{names, "--out", list + "2", "--words-secret", "Brandybuck"}, exitConfig},
		{[]string{}, exitUsage},
	} {
		var out, errs bytes.Buffer
		a := &app{env: testEnv(t), out: &out, err: &errs}
		if code := a.run(append([]string{"deid", "words"}, c.args...)); code != c.code || strings.Contains(errs.String()+out.String(), "Brandybuck") {
			t.Errorf("%v: exit %d, want %d\n%s", c.args, code, c.code, errs.String())
		}
	}
	again, _ := os.ReadFile(list)
	if d, err := gate.ReadDenylist(bytes.NewReader(again), nil); err != nil || len(d.Find("brandybuck")) != 1 || len(d.Find("quillfeather")) != 0 {
		t.Errorf("%v, %v", d, err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(list), ".words-*"))
	if len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
