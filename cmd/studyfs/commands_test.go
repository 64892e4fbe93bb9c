package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"studyfs/cmd/studyfs/manual"
)

// withoutJSON are the commands without --json, and why they need none.
func withoutJSON() map[string]string {
	const acts = "prints no data: what it did goes to standard error"
	return map[string]string{
		"studyfs demo": "--servers prints JSON", "studyfs mount": acts, "studyfs run": "prints what its command prints", "studyfs umount": acts,
		"studyfs uploads watch": "for people; uploads ls has the same", "studyfs uploads wait": acts, "studyfs uploads run": acts, "studyfs uploads retry": acts,
		"studyfs uploads pause": acts, "studyfs uploads resume": acts, "studyfs uploads resolve": acts, "studyfs uploads drop": acts,
		"studyfs mb": "prints TOML for the configuration", "studyfs export": acts, "studyfs cat": "prints a file", "studyfs cache wipe": acts,
		"studyfs deid": acts, "studyfs deid undo": acts, "studyfs deid words": acts,
		"studyfs auth": acts, "studyfs setup": "asks; config show --json tells what it has written", "studyfs config keyring encrypt": acts, "studyfs config keyring decrypt": "prints the JSON in the keyring",
		"studyfs completion": "prints a script", "studyfs man": acts, "studyfs help": "for people",
	}
}

func commandsOf(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, commandsOf(sub)...)
	}
	return all
}

func testApp(t *testing.T) *app {
	env, _ := doctorEnv(t, nil)
	return &app{env: env, out: &bytes.Buffer{}, err: &bytes.Buffer{}}
}

// Whoever types --help, presses Tab, calls man or writes a script around it finds the same of every command.
func TestEveryCommand(t *testing.T) {
	a := testApp(t)
	root := a.rootCommand()
	pages := map[string]string{}
	for _, d := range a.manualPages() {
		pages[d.Name] = string(d.Roff(manual.Edition{}))
	}
	exempt := withoutJSON()
	for _, c := range commandsOf(root) {
		path := c.CommandPath()
		reason, known := exempt[path]
		delete(exempt, path)
		checkHelp(t, root, c)
		group := c.HasSubCommands() && c.ValidArgsFunction == nil
		if !group && c.ValidArgsFunction == nil && len(c.ValidArgs) == 0 {
			t.Errorf("%s: a shell does not know what to complete its arguments to; completeNothing is one answer", path)
		}
		if has := c.Flags().Lookup("json") != nil; has == known || known && reason == "" {
			if !group || known {
				t.Errorf("%s: it has --json: %v; withoutJSON tells why not: %v (%q)", path, has, known, reason)
			}
		}
		page, ok := pages[manual.PageName(c)]
		if !ok && !c.Hidden && c.Name() != "help" {
			t.Errorf("%s has no manual page", path)
		}
		checkFlags(t, c, page)
	}
	for path := range exempt {
		t.Errorf("withoutJSON tells of %s, which does not exist", path)
	}
}

// checkHelp looks at what --help shows; examples that cannot be typed are worse than none.
func checkHelp(t *testing.T, root, c *cobra.Command) {
	t.Helper()
	path := c.CommandPath()
	if c.Short == "" || len(c.Short) > 90 || strings.HasSuffix(c.Short, ".") {
		t.Errorf("%s: its short text is %q; want one of at most 90 bytes, without a full stop", path, c.Short)
	}
	examples := 0
	for line := range strings.Lines(c.Example) {
		words := strings.Fields(line)
		at := slices.Index(words, "studyfs")
		if at < 0 {
			continue
		}
		examples++
		if !strings.HasPrefix(line, "  ") {
			t.Errorf("%s: the example %q is not indented by two blanks", path, line)
		}
		words = words[at+1:]
		if end := slices.IndexFunc(words, func(w string) bool { return w == "--" || w == "|" || w == "&&" || w == "#" || w == ">" || w == ">>" }); end >= 0 {
			words = words[:end]
		}
		to, _, err := root.Find(words)
		if err != nil || !strings.HasPrefix(to.CommandPath(), path) && path != "studyfs help" {
			t.Errorf("%s: the example %q is not one of it: %v", path, line, err)
			continue
		}
		for _, word := range words {
			if name, ok := strings.CutPrefix(word, "--"); ok {
				if name, _, _ = strings.Cut(name, "="); to.Flag(name) == nil && to.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s: the example %q has a flag that does not exist: --%s", path, line, name)
				}
			}
		}
	}
	if examples < 2 {
		t.Errorf("%s has %d examples; want 2", path, examples)
	}
}

// checkFlags looks whether each flag is told of: one that is shown by help and manual page, a hidden one by docs/settings.md.
func checkFlags(t *testing.T, c *cobra.Command, page string) {
	t.Helper()
	settings := settingsPage()
	check := func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("%s --%s: nothing tells what it is", c.CommandPath(), f.Name)
		}
		if f.Hidden && !strings.Contains(settings, "`--"+f.Name+"`") {
			t.Errorf("%s --%s: documented nowhere", c.CommandPath(), f.Name)
		}
		if term := strings.ReplaceAll("--"+f.Name, "-", `\-`); !f.Hidden && page != "" && !strings.Contains(page, term) {
			t.Errorf("%s --%s: not on the manual page", c.CommandPath(), f.Name)
		}
	}
	c.LocalFlags().VisitAll(check)
	c.InheritedFlags().VisitAll(check)
}

// The promise to scripts: these codes, with these meanings, in the help and on every page.
func TestExitCodes(t *testing.T) {
	var got []int
	for _, e := range exitCodes() {
		got = append(got, e.code)
	}
	if want := []int{0, 1, 2, 3, 69, 73, 74, 75, 77, 78, 130}; !slices.Equal(got, want) {
		t.Errorf("exit codes %v; %v were promised", got, want)
	}
	if want := "75 unfinished, busy or locked, 77 keys or permission, 78 configuration, 130 interrupted."; !strings.HasSuffix(exitHelp(), want) {
		t.Errorf("the help says %q", exitHelp())
	}
}

// Pages that man cannot set are seen by a user first. The same edition is the same bytes, also compressed.
func TestManualPages(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		a := testApp(t)
		if code := a.run([]string{"man", "--gzip", dir}); code != exitOK {
			t.Fatalf("exit %d: %s", code, a.err)
		}
	}
	if a := testApp(t); a.run([]string{"man", one}) != exitOK {
		t.Fatal(a.err)
	}
	pages, err := filepath.Glob(filepath.Join(one, "man?", "*.[158]"))
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		rel := strings.TrimPrefix(page, one) + ".gz"
		a, err1 := os.ReadFile(one + rel)
		b, err2 := os.ReadFile(two + rel)
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs between two runs: %v %v", rel, err1, err2)
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not installed")
	}
	out, err := exec.Command(groff, append([]string{"-man", "-Kutf8", "-Tutf8", "-ww", "-z"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%.2000s", err, out)
	}
}

// A file is offered by its name and by its id; one whose name is more than a word to a shell, only by its id.
func TestUploadsAreCompleted(t *testing.T) {
	item := uploadItem{ID: 17, Name: "sub-01/a.json", State: "conflict"}
	for begun, want := range map[string][]string{
		"":    {"sub-01/a.json", "17\tconflict sub-01/a.json"},
		"sub": {"sub-01/a.json"},
		"1":   {"17\tconflict sub-01/a.json"},
		"9":   nil,
	} {
		if got := itemWords(item, begun); !slices.Equal(got, want) {
			t.Errorf("%q is completed to %q; want %q", begun, got, want)
		}
	}
	if got := itemWords(uploadItem{ID: 8, Name: "x\nrm -rf", State: "staged"}, ""); len(got) != 1 || strings.Contains(got[0], "\n") {
		t.Errorf("a name with a new line is completed to %q", got)
	}
}

// The words that a shell offers for a flag are those that the flag takes, and no mistyped one is.
func TestFlagValuesAreCompleted(t *testing.T) {
	for _, g := range settingsGroups() {
		for _, s := range g.settings {
			for _, word := range s.values {
				if err := s.set(word); err != nil {
					t.Errorf("%s: %q is offered and refused: %v", s.path, word, err)
				}
			}
		}
	}
	a := testApp(t)
	if code := a.run([]string{"__complete", "mount", "--durability", "re"}); code != exitOK || a.out.(*bytes.Buffer).String() != "remote\nrelaxed\n:4\n" {
		t.Errorf("exit %d, %q", code, a.out)
	}
}

// A unit whose command line has a flag that is gone would be found by whoever boots.
func TestUnits(t *testing.T) {
	units, err := filepath.Glob("packaging/systemd/*/studyfs@.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("%q, %v", units, err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(string(text), "\nExecStart=/usr/bin/studyfs ")
		line, _, _ = strings.Cut(line, "\n")
		c, rest, err := testApp(t).rootCommand().Find(strings.Fields(line))
		if err != nil || c.Name() != "mount" {
			t.Fatalf("%s: %q, %v", unit, line, err)
		}
		if err := c.ParseFlags(rest); err != nil || len(c.Flags().Args()) != 2 {
			t.Errorf("%s: %q: %v", unit, line, err)
		}
	}
}
