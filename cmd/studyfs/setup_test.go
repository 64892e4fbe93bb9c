package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"studyfs/backends"
	"studyfs/backends/beiwe/keyring"
	"studyfs/cmd/studyfs/prompt"
)

// conversation is a person at a terminal who answers each question as it appears, in order.
type conversation struct {
	ask     *prompt.Terminal
	mu      sync.Mutex
	seen    strings.Builder
	answers []string
}

func converse(t *testing.T, answers ...string) *conversation {
	t.Helper()
	user, path := terminalPair(t)
	c := &conversation{answers: answers}
	c.ask = prompt.New(func() (*os.File, error) { return os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0) })
	t.Cleanup(func() { c.ask.Close() })
	go func() { // ends with the terminal
		buf := make([]byte, 4096)
		asked := 0
		for {
			n, err := user.Read(buf)
			if err != nil {
				return
			}
			c.mu.Lock()
			c.seen.Write(buf[:n])
			text := c.seen.String()
			c.mu.Unlock()
			if !strings.HasSuffix(text, ": ") || asked == len(answers) {
				continue
			}
			if strings.Contains(text[strings.LastIndexByte(text, '\n')+1:], "(not shown)") {
				waitForSilence(user)
			}
			user.WriteString(answers[asked] + "\n")
			asked++
		}
	}()
	return c
}

func (c *conversation) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.String()
}

// setupHome is a home with the demo's servers to set up.
type setupHome struct {
	t         *testing.T
	demo      *demo
	home, dir string
	env       environment
	config    string
	flags     map[string]string
}

func newSetupHome(t *testing.T, d *demo) *setupHome {
	t.Helper()
	env, home := doctorEnv(t, nil)
	h := &setupHome{t: t, demo: d, home: home, env: env, config: filepath.Join(home, ".config", "studyfs", "config.toml"), flags: map[string]string{}}
	h.dir = t.TempDir()
	return h
}

// keysFile is the keys file as a browser has stored it: others can read it.
func (h *setupHome) keysFile() string {
	return put(h.t, filepath.Join(h.dir, "my keys.csv"), string(h.demo.empatica.csv("s3://"+empaticaBucket+"/"+empaticaPrefix)), 0o644)
}

// run runs setup at the terminal of c, nil for none.
func (h *setupHome) run(c *conversation, o setupOptions, args ...string) (string, error) {
	h.t.Helper()
	var out, errs bytes.Buffer
	a := &app{env: h.env, out: &out, err: &errs, given: given{flags: h.flags}}
	ask := prompt.New(func() (*os.File, error) { return nil, os.ErrNotExist })
	if c != nil {
		ask = c.ask
	}
	if o.then == "" {
		o.then = thenNothing
	}
	err := a.setUp(context.Background(), ask, args, o)
	if f, is := err.(*failure); is { //nolint:errorlint // as report does
		errs.WriteString(f.Error())
	}
	return out.String() + errs.String(), err
}

// One start of the demo's servers is enough for all of it.
func TestSetup(t *testing.T) {
	d, err := startDemo()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	for name, test := range map[string]func(*testing.T, *demo){
		"each kind": setupOfEachKind, "without a terminal": setupWithoutATerminal, "mistakes": setupMistakes, "the rest of the configuration": setupLeavesTheConfigurationAlone, "new keys of Beiwe": newKeysOfBeiwe,
	} {
		t.Run(name, func(t *testing.T) { test(t, d) })
	}
}

// Each kind of source is set up with few answers, the keys are good for a mount afterwards, and no secret stands in the configuration.
func setupOfEachKind(t *testing.T, d *demo) {
	h := newSetupHome(t, d)
	beiwe, err := h.demo.beiwe.addresses(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	nas := filepath.Join(h.dir, "nas")
	put(t, filepath.Join(nas, "sub-01", "a.txt"), "text", 0o600)
	for _, c := range []struct {
		name    string
		args    []string
		flags   map[string]string
		answers []string
		says    []string
		config  []string
	}{
		{"empatica", nil, map[string]string{"endpoint-url": h.demo.endpoint}, []string{"1", "'" + h.keysFile() + "'"}, []string{"participants, newest day 20", "iB", "is not needed any more"}, []string{"[source.empatica]", `kind = "empatica"`, `keys = "file:`}},
		{"the same by its file alone", []string{h.keysFile()}, map[string]string{"endpoint-url": h.demo.endpoint}, nil, []string{"is in " + h.config + " already"}, nil},
		{
			"s3", nil,
			map[string]string{"endpoint-url": h.demo.endpoint},
			[]string{"s3://" + bidsBucket, "", h.demo.admin.id, h.demo.admin.secret},
			[]string{"participants", "newest day"},
			[]string{"[source.bids-demo]", `url = "s3://bids-demo"`, "keys/bids-demo.csv"},
		},
		{"hcp", []string{"hcp"}, map[string]string{"endpoint-url": h.demo.endpoint}, []string{put(t, filepath.Join(h.dir, "hcp.csv"), string(h.demo.admin.csv("")), 0o600)}, []string{"participants"}, []string{`kind = "hcp"`}},
		{"beiwe by its keyring", nil, map[string]string{"keyring": beiwe.Keyring}, []string{"beiwe", beiwe.Passphrase}, []string{"1 study, 5 participants, newest day 20"}, []string{"[source.beiwe]", `section = "beiwe.demo"`, "keyring = "}},
		{"beiwe by its keys", nil, nil, []string{h.demo.beiwe.url, h.demo.beiwe.access, h.demo.beiwe.secret, "phones"}, []string{"1 study, 5 participants"}, []string{"[source.phones]", `keys = "file:`}},
		{"dir", []string{nas}, nil, nil, []string{"1 participant", "4 B"}, []string{`url = "dir:` + nas + `"`}},
		{
			"ecog",
			[]string{"ecog"},
			map[string]string{"endpoint-url": h.demo.endpoint},
			[]string{"s3://" + labBucket + "/edf/", "s3://" + labBucket + "/video/", "", h.demo.admin.id, h.demo.admin.secret},
			[]string{"video, s3://", "edf, s3://", "is empty"},
			[]string{"write = true", `video = { target = "s3://study/video/" }`, `edf = { target = "s3://study/edf/" }`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.t, h.flags = t, c.flags
			talk := converse(t, c.answers...)
			said, err := h.run(talk, setupOptions{}, c.args...)
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, said, talk.text())
			}
			if n := talk.ask.Asked(); n != len(c.answers) || n > 5 {
				t.Errorf("%d questions; want %d, and five at most", n, len(c.answers))
			}
			config, err := os.ReadFile(h.config)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, want := range c.config {
				if !strings.Contains(string(config), want) {
					t.Errorf("the configuration has no %q", want)
				}
			}
			for _, secret := range []string{h.demo.admin.secret, h.demo.empatica.secret, h.demo.empatica.id, h.demo.beiwe.secret, h.demo.beiwe.access, beiwe.Passphrase} {
				if strings.Contains(string(config)+said+strings.ReplaceAll(talk.text(), h.demo.beiwe.access, ""), secret) {
					t.Errorf("a secret is in the configuration, or was shown")
				}
			}
			if t.Failed() {
				t.Logf("%s\n%s\n%s", said, talk.text(), config)
			}
		})
	}
	h.loads(t)
}

// loads builds all sources as a mount would.
func (h *setupHome) loads(t *testing.T) {
	t.Helper()
	info, err := os.Stat(h.config)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode of the configuration: %v, %v", info.Mode(), err)
	}
	l, err := load(h.env, &given{})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Source) != 7 {
		t.Errorf("%d sources", len(l.Source))
	}
	for name, c := range l.Source {
		if name == "beiwe" { // asks for its passphrase
			continue
		}
		if _, _, err := l.build(name, c, exitConfig); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	secrets, _ := filepath.Glob(filepath.Join(filepath.Dir(h.config), "keys", "*"))
	for _, path := range secrets {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if len(secrets) != 5 {
		t.Errorf("secrets in %q", secrets)
	}
}

// A script never waits for an answer that nobody gives: what is missing is named, with the flag that would give it.
func setupWithoutATerminal(t *testing.T, d *demo) {
	h := newSetupHome(t, d)
	for _, c := range []struct {
		args []string
		o    setupOptions
		flag string
	}{
		{nil, setupOptions{}, "--kind"},
		{[]string{"empatica"}, setupOptions{}, "--keys"},
		{[]string{"s3"}, setupOptions{}, "--url"},
		{[]string{"s3://" + bidsBucket + "/"}, setupOptions{}, "--profile"},
		{[]string{"azure://account/container/"}, setupOptions{}, "--keys"},
		{[]string{"dir"}, setupOptions{}, "--url"},
		{[]string{"beiwe"}, setupOptions{}, "--keyring"},
		{[]string{"beiwe", "https://studies.beiwe.org"}, setupOptions{}, "BEIWE_ACCESS_KEY"},
		{[]string{"ecog"}, setupOptions{video: "s3://vvv/"}, "--edf"},
		{[]string{"ecog"}, setupOptions{video: "s3://vvv/", edf: "s3://eee/"}, "--profile"},
	} {
		said, err := h.run(nil, c.o, c.args...)
		if codeOf(err) != exitUsage || !strings.Contains(said, "no terminal") || !strings.Contains(said, c.flag) {
			t.Errorf("%q: exit %d; want %d and %s\n%s", c.args, codeOf(err), exitUsage, c.flag, said)
		}
	}
	if _, err := os.Stat(h.config); err == nil {
		t.Error("something was written")
	}
	h.flags = map[string]string{"endpoint-url": h.demo.endpoint}
	if said, err := h.run(nil, setupOptions{kind: "empatica", keys: h.keysFile(), name: "sleep", keep: "file"}); err != nil || !strings.Contains(said, "studyfs mount sleep") {
		t.Errorf("with all flags: %v\n%s", err, said)
	}
}

// What is wrong is said in its own words, with what to do, and nothing is left behind.
func setupMistakes(t *testing.T, d *demo) {
	h := newSetupHome(t, d)
	beiwe, err := h.demo.beiwe.addresses(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	keys := h.keysFile()
	csv := func(name, id, secret, url string) string {
		return put(t, filepath.Join(h.dir, name), "Access key ID,Secret access key,S3 access URL\r\n"+id+","+secret+","+url+"\r\n", 0o600)
	}
	empatica := h.demo.empatica
	place := "s3://" + empaticaBucket + "/" + empaticaPrefix
	seen := map[string]string{}
	for _, c := range []struct {
		name  string
		args  []string
		o     setupOptions
		flags map[string]string
		pass  string
		code  int
		says  string
	}{
		{name: "typed key", args: []string{csv("a.csv", empatica.id[:19]+"0", empatica.secret, place)}, code: exitPermission, says: "does not know the access key ID"},
		{name: "typed secret", args: []string{csv("b.csv", empatica.id, strings.ToLower(empatica.secret), place)}, code: exitPermission, says: "secret access key does not belong"},
		{name: "no rights on the prefix", args: []string{csv("c.csv", empatica.id, empatica.secret, "s3://"+empaticaBucket+"/v2/9999/")}, code: exitPermission, says: "may not list this place"},
		{name: "no such bucket", args: []string{csv("d.csv", empatica.id, empatica.secret, "s3://nosuchbucket/v2/")}, code: exitConfig, says: "no such bucket"},
		{name: "an address of the web", args: []string{csv("e.csv", empatica.id, empatica.secret, "https://console.example.org/")}, code: exitConfig, says: "does not begin with s3://"},
		{name: "no keys file", args: []string{"empatica", filepath.Join(h.dir, "none.csv")}, code: exitUsage, says: "is no file"},
		{name: "a kind mistyped", args: []string{"empatika"}, code: exitUsage, says: "did you mean empatica"},
		{name: "a bucket without s3://", args: []string{"s3", "lab-data/study1/"}, code: exitUsage, says: "did you mean s3://lab-data/study1/"},
		{name: "wrong passphrase", args: []string{"beiwe"}, flags: map[string]string{"keyring": beiwe.Keyring}, pass: "wrong", code: exitPermission, says: "passphrase"},
		{name: "unknown section", args: []string{"beiwe", "beiwe.dem"}, flags: map[string]string{"keyring": beiwe.Keyring}, pass: beiwe.Passphrase, code: exitConfig, says: "did you mean beiwe:beiwe.demo"},
		{name: "no network", args: []string{keys}, flags: map[string]string{"endpoint-url": "http://127.0.0.1:1"}, code: exitUnreachable, says: "cannot be reached"},
		{name: "plain http elsewhere", args: []string{keys}, flags: map[string]string{"endpoint-url": "http://s3.example.org"}, code: exitUsage, says: "unencrypted"},
		{name: "a name that is no folder", args: []string{keys}, o: setupOptions{name: "a/b"}, code: exitUsage, says: "becomes a folder"},
		{name: "a place for secrets that is none", args: []string{keys}, o: setupOptions{keep: "drawer"}, code: exitUsage, says: "keyring or file"},
		{name: "no keyring", args: []string{keys}, o: setupOptions{keep: "keyring"}, code: exitPermission, says: "--keep file"},
		{name: "keys for no bucket", args: []string{put(t, filepath.Join(h.dir, "aws.csv"), string(h.demo.admin.csv("")), 0o600)}, code: exitUsage, says: "which bucket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.t, h.flags = t, map[string]string{"endpoint-url": h.demo.endpoint}
			maps.Copy(h.flags, c.flags)
			if c.pass != "" {
				h.flags = c.flags
			}
			before := h.env
			h.env.lookup = func(name string) (string, bool) {
				if name == envKeyringPass {
					return c.pass, c.pass != ""
				}
				return before.lookup(name)
			}
			said, err := h.run(nil, c.o, c.args...)
			h.env = before
			if codeOf(err) != c.code || !strings.Contains(said, c.says) || !strings.Contains(said, "\n  ") {
				t.Errorf("exit %d; want %d and %q\n%s", codeOf(err), c.code, c.says, said)
			}
			first := firstLine(strings.ReplaceAll(asFailure("", err).Error(), h.dir, ""))
			if other, twice := seen[first]; twice {
				t.Errorf("the same message as %q", other)
			}
			seen[first] = c.name
			if strings.Contains(said, empatica.secret) || strings.Contains(said, beiwe.Passphrase) {
				t.Error("a secret is shown")
			}
		})
	}
	for _, path := range []string{h.config, filepath.Join(filepath.Dir(h.config), "keys")} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s was written", path)
		}
	}
}

// What stands in the configuration stays, comments and all; a name that is taken is not taken again.
func setupLeavesTheConfigurationAlone(t *testing.T, d *demo) {
	h := newSetupHome(t, d)
	before := "# mine\nmemory = \"64MiB\" # enough\n\n[source.empatica] # the old one\nkind = \"s3\"\nurl = \"s3://old/\""
	put(t, h.config, before, 0o644)
	h.flags = map[string]string{"endpoint-url": h.demo.endpoint}
	if said, err := h.run(nil, setupOptions{}, h.keysFile()); codeOf(err) != exitUsage || !strings.Contains(said, "--name") {
		t.Errorf("a name that is taken: %v\n%s", err, said)
	}
	talk := converse(t, "a/b", "sleep")
	if said, err := h.run(talk, setupOptions{}, h.keysFile()); err != nil {
		t.Fatalf("%v\n%s\n%s", err, said, talk.text())
	}
	after, err := os.ReadFile(h.config)
	if err != nil || !strings.HasPrefix(string(after), before+"\n") || !strings.Contains(string(after), "\n[source.sleep]\n") {
		t.Errorf("%v\n%s", err, after)
	}
}

// New access keys get into the section of mano's keyring, and nothing else in it changes; those that are kept as a secret are replaced there.
func newKeysOfBeiwe(t *testing.T, d *demo) {
	h := newSetupHome(t, d)
	const access, secret, pass = "NewAccessKey0000000000", "NewSecretKey0000000000", "right"
	d.beiwe.data.AddKey(access, secret)
	ring := filepath.Join(h.dir, "ring.enc")
	plain := `{"other": 7, "lab": {"URL": "` + d.beiwe.url + `", "ACCESS_KEY": "` + d.beiwe.access + `", "SECRET_KEY": "` + d.beiwe.secret + `", "SECRETS": {"a": "b"}}}`
	if err := writeKeyring(ring, []byte(plain), backends.NewSecret(pass), true); err != nil {
		t.Fatal(err)
	}
	kept := put(t, filepath.Join(h.dir, "kept.key"), plain, 0o600)
	put(t, h.config, "[source.ring]\nkind = \"beiwe\"\nkeyring = \""+ring+"\"\nsection = \"lab\"\n[source.kept]\nkind = \"beiwe\"\nsection = \"lab\"\nkeys = \"file:"+kept+"\"\n", 0o600)
	auth := func(name string, answers ...string) (string, error) {
		var out bytes.Buffer
		a := &app{env: h.env, out: &out, err: &out}
		talk := converse(t, answers...)
		err := a.authenticate(context.Background(), talk.ask, name, "")
		return out.String() + talk.text(), err
	}
	if said, err := auth("ring", pass, access, "WrongSecretKey00000000"); codeOf(err) != exitPermission {
		t.Errorf("wrong keys: %v\n%s", err, said)
	}
	for name, answers := range map[string][]string{"ring": {pass, access, secret}, "kept": {access, secret}} {
		if said, err := auth(name, answers...); err != nil || strings.Contains(said, secret) {
			t.Errorf("%s: %v\n%s", name, err, said)
		}
	}
	raw, err := os.ReadFile(ring)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyring.Decrypt(raw, backends.NewSecret(pass))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(d.beiwe.access, access, d.beiwe.secret, secret).Replace(plain)
	var got, wanted any
	if err := errors.Join(json.Unmarshal(text, &got), json.Unmarshal([]byte(want), &wanted)); err != nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("%v: the keyring holds other things than before", err)
	}
	now, err := os.ReadFile(kept)
	if err := errors.Join(err, json.Unmarshal(now, &got)); err != nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("%v: what is kept is other than before", err)
	}
}
