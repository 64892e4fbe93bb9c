package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

const wrongConfig = `memroy = "1GiB"
[cache]
size = "lots"   # of it
dir = 7
[cahce]
size = "1GiB"
dir = "/x"
[source.phones]
kind = "beiwe"
section = "beiwe.lab"
streams = ["gps", "cals"]
since = "31.10.2026"

[source.lab]
kind = "s4"
url = "s3://lab/"
profil = "lab"
[source.one]
kind = "s3"
url = "https://console.example.org/lab"
keys = "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI"
write = yes
endpoint-url = "http://s3.example.org"
[source.ecog]
kind = "ecog"
edf = { target = "s3://e/", colour = "x" }
[source.empty]
kind = "s3"
url = 3
`

// Somebody who has written a whole file at once is told of all that is wrong with it at once, each where it stands.
func TestAllMistakesOfAConfiguration(t *testing.T) {
	got := checkConfigText([]byte(wrongConfig))
	for _, want := range []struct {
		line int
		why  string
	}{
		{1, `unknown key "memroy"; did you mean "memory"?`},
		{3, `"lots" is not a size`},
		{4, "cache.dir"},
		{5, `unknown table "cahce"; did you mean "cache"?`},
		{11, `no Beiwe server has a stream "cals"; did you mean "calls"?`},
		{12, "31.10.2026"},
		{15, `kind "s4" is not one of`},
		{17, `unknown key "source.lab.profil"; did you mean "source.lab.profile"?`},
		{20, "does not begin with s3://"},
		{21, "does not say where the keys are"},
		{22, ""}, // no TOML: what it says is the library's
		{23, "unencrypted"},
		{26, `"source.ecog.edf.colour"`},
		{29, "url"},
	} {
		found := false
		for _, m := range got {
			found = found || m.Line == want.line && strings.Contains(m.Why, want.why)
		}
		if !found {
			t.Errorf("line %d: nobody says %q", want.line, want.why)
		}
	}
	if len(got) != 14 {
		t.Errorf("%d mistakes; want 14", len(got))
	}
	for _, m := range got {
		if t.Failed() {
			t.Logf("%+v", m)
		}
		if strings.Contains(m.Why, "wJalr") {
			t.Errorf("shows a secret: %s", m.Why)
		}
	}
}

// A word that is misspelled was taken: a mount with gate = "refuze" ended without saying why, and "config check" found nothing.
func TestWordsOfAConfiguration(t *testing.T) {
	for _, c := range []struct{ line, why string }{
		{`gate = "refuze"`, "not a gate"},
		{`durability = "locall"`, "not a durability"},
		{`bids = "foo"`, "not a set of rules"},
		{`owner = "me"`, "not an account id"},
		{`audit = "yes"`, "no way to audit"},
	} {
		text := []byte("[source.lab]\nkind = \"s3\"\nurl = \"s3://lab/\"\nwrite = true\n" + c.line + "\n")
		got := checkConfigText(text)
		if len(got) != 1 || got[0].Line != 5 || !strings.Contains(got[0].Why, c.why) {
			t.Errorf("%s: %+v", c.line, got)
		}
		if err := decode(text, newConfig()); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: a mount says %v", c.line, err)
		}
	}
	if got := checkConfigText([]byte("http = \"0.0.0.0:80\"\n")); len(got) != 1 || !strings.Contains(got[0].Why, "this machine") {
		t.Errorf("%+v", got)
	}
}

// A right file has none, whatever it uses.
func TestRightConfigurationHasNoMistakes(t *testing.T) {
	for _, text := range []string{
		"", sampleConfig,
		"[source.ecog]\nkind = \"ecog\"\nwrite = true\nprofile = \"lab\"\nvideo = { target = \"s3://v/\", encrypt-to = [\"age1x\"] }\n[source.ecog.edf]\ntarget = \"s3://e/\"\n",
		"[source.\"a b\"]\nkind = \"beiwe\"\nsection = \"x\"\nlock = [\"gps\"]\nsince = \"2026-10-01\"\nencrypt-cache = false\nrefresh = \"1m\"\n",
		"[source.d]\nkind = \"dir\"\nurl = \"dir:~/x\"\ncache-key = \"passphrase\"\n[deid]\nsecret = \"keyring:x\"\n",
	} {
		if got := checkConfigText([]byte(text)); len(got) > 0 {
			t.Errorf("%s\n%+v", text, got)
		}
	}
}

func TestConfigCheckCommand(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), wrongConfig, 0o600)
	var out, errs bytes.Buffer
	a := &app{env: testEnv(t), out: &out, err: &errs}
	if code := a.run([]string{"--config", path, "config", "check"}); code != exitConfig || !strings.Contains(errs.String(), "14 mistakes\n  line 1: ") {
		t.Errorf("exit %d\n%s", code, &errs)
	}
	if code := a.run([]string{"--config", path, "config", "check", "--json"}); code != exitConfig {
		t.Errorf("--json: exit %d", code)
	}
	var report configReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Schema != 1 || len(report.Mistakes) != 14 || report.Mistakes[0].Line != 1 {
		t.Errorf("%v\n%s", err, &out)
	}
}

// config show tells for each value where it comes from, and shows no secret that somebody has put where a reference belongs.
func TestConfigShowTellsOrigins(t *testing.T) {
	text := sampleConfig + "[source.leak]\nkind = \"empatica\"\nkeys = \"AKIA:wJalrXUtnFEMIK7MDENG\"\npassword = \"hunter2hunter2\"\nidentity = \"file:~/id\"\nendpoint-url = \"https://me:word@s3.example.org\"\n"
	path := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), text, 0o600)
	var out, errs bytes.Buffer
	a := &app{env: testEnv(t, "STUDYFS_REGION", "us-east-2"), out: &out, err: &errs}
	if code := a.run([]string{"--config", path, "--read-ahead-files", "5", "config", "show", "--json"}); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &errs)
	}
	var shown shownConfig
	if err := json.Unmarshal(out.Bytes(), &shown); err != nil {
		t.Fatal(err)
	}
	got := map[string]shownSetting{}
	for _, s := range shown.Settings {
		got[s.Name] = s
	}
	for name, want := range map[string][2]string{
		"memory": {"64MiB", path + ":2"}, "cache.size": {"1GiB", path + ":5"}, "read-ahead-files": {"5", "--read-ahead-files"}, "read-only": {"false", "default"},
		"source.lab.url": {"s3://lab-data/study1/", path + ":9"}, "source.lab.region": {"us-east-2", "STUDYFS_REGION"},
		"source.leak.keys": {notShown, path + ":14"}, "source.leak.password": {notShown, path + ":15"}, "source.leak.identity": {"file:~/id", path + ":16"},
		"source.leak.endpoint-url": {"https://me:xxxxx@s3.example.org", path + ":17"},
	} {
		if got[name].Value != want[0] || got[name].Origin != want[1] {
			t.Errorf("%s = %q from %s; want %q from %s", name, got[name].Value, got[name].Origin, want[0], want[1])
		}
	}
	out.Reset()
	if code := a.run([]string{"--config", path, "config", "show", "--origin"}); code != exitOK || !strings.Contains(out.String(), "# "+path+":9") || strings.Contains(out.String(), "hunter2") {
		t.Errorf("exit %d\n%s%s", code, &out, &errs)
	}
}
