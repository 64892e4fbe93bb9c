package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
)

const doctorSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

// doctorEnv is an environment with a home of its own and settings on top.
func doctorEnv(t *testing.T, settings map[string]string) (environment, string) {
	t.Helper()
	home := t.TempDir()
	all := map[string]string{
		"HOME": home, "XDG_RUNTIME_DIR": home, "PATH": os.Getenv("PATH"), "DBUS_SESSION_BUS_ADDRESS": "disabled:",
		"STUDYFS_TIMEOUT_ANSWER": "2s", "STUDYFS_TIMEOUT_RETRY": "1s",
	}
	maps.Copy(all, settings)
	return environment{lookup: func(name string) (string, bool) { v, ok := all[name]; return v, ok }, uid: os.Geteuid()}, home
}

func put(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// examine runs doctor and returns what it found, by check.
func examine(t *testing.T, env environment, args ...string) (all map[string]finding, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{env: env, out: &out, err: &errs}
	code = a.run(append([]string{"doctor", "--json"}, args...))
	var r doctorReport
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s\n%s", err, out.String(), errs.String())
	}
	if r.OK != (code == exitOK) || r.Schema != 1 || code > 1 {
		t.Errorf("exit %d, ok %v, schema %d", code, r.OK, r.Schema)
	}
	all = map[string]finding{}
	for _, f := range r.Checks {
		if before, is := all[f.Check]; !is || before.State == stateOK {
			all[f.Check] = f
		}
		if f.Found == "" || f.State == stateFail && f.Do == "" {
			t.Errorf("%s does not say what is wrong and what to do: %+v", f.Check, f)
		}
	}
	return all, code
}

// What stands between a user and a source is named, and nothing else is blamed.
func TestDoctorSources(t *testing.T) {
	const keys = "ACCESS KEY ID,SECRET ACCESS KEY,S3 ACCESS URL\r\nAKIAIOSFODNN7EXAMPLE," + doctorSecret + ",s3://study/v2/1/\r\n"
	for name, c := range map[string]struct {
		prepare func(*s3test.Server)
		serve   func(http.Handler) *httptest.Server
		args    []string
		check   string
		state   state
		says    string
	}{
		"all is well": {check: "rights", state: stateOK, says: "1 entry"},
		"revoked":     {prepare: func(s *s3test.Server) { s.Revoke("AKIAIOSFODNN7EXAMPLE") }, check: "rights", state: stateFail, says: "keys"},
		"another region": {
			prepare: func(s *s3test.Server) { s.SetRegion("study", "eu-west-1") }, args: []string{"--region", "us-east-1"},
			check: "region", state: stateWarn, says: "eu-west-1",
		},
		"clock a day off": {serve: func(h http.Handler) *httptest.Server {
			return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", time.Now().Add(-24*time.Hour).UTC().Format(http.TimeFormat))
				h.ServeHTTP(w, r)
			}))
		}, check: "clock", state: stateFail, says: "ahead"},
		"unknown authority": {serve: httptest.NewTLSServer, check: "tls", state: stateFail, says: "authority"},
		"nobody listens": {serve: func(h http.Handler) *httptest.Server {
			s := httptest.NewServer(h)
			s.Close()
			return s
		}, check: "connection", state: stateFail, says: "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := s3test.New(s3test.Options{})
			defer srv.Close()
			srv.CreateBucket("study")
			srv.AddKey(s3test.AccessKey{ID: "AKIAIOSFODNN7EXAMPLE", Secret: doctorSecret})
			srv.Put("study", "v2/1/participants/a.csv", s3test.Bytes([]byte("1")))
			if c.prepare != nil {
				c.prepare(srv)
			}
			if c.serve == nil {
				c.serve = httptest.NewServer
			}
			h := c.serve(srv)
			defer h.Close()
			env, home := doctorEnv(t, nil)
			source := "empatica:" + put(t, filepath.Join(home, "keys.csv"), keys, 0o600)
			all, code := examine(t, env, append([]string{source, "--endpoint-url", h.URL}, c.args...)...)
			f := all[c.check]
			if f.State != c.state || !strings.Contains(f.Found, c.says) || f.Subject != source {
				t.Errorf("%s: %+v; want %s with %q", c.check, f, c.state, c.says)
			}
			if c.state == stateFail && code != exitError {
				t.Errorf("exit %d", code)
			}
			for _, r := range srv.Requests() {
				if r.Op != "ListObjectsV2" && r.Op != "HeadBucket" && (r.Op != "ListBuckets" || r.AccessKey != "") {
					t.Errorf("doctor has asked for %s", r.Op)
				}
			}
		})
	}
}

// A network that swallows everything: doctor ends, and says that nobody answers.
func TestDoctorDeadNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env, _ := doctorEnv(t, map[string]string{"STUDYFS_TIMEOUT_ANSWER": "200ms", "STUDYFS_TIMEOUT_RETRY": "200ms"})
	all, code := examine(t, env, "s3://study/", "--anonymous", "--endpoint-url", "http://"+l.Addr().String())
	if all["connection"].State != stateFail || all["rights"].State != stateFail || code != exitError {
		t.Errorf("exit %d, %+v, %+v", code, all["connection"], all["rights"])
	}
}

// The settings and the directories of this machine.
func TestDoctorMachine(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, home string)
		check   string
		state   state
		says    string
	}{
		"nothing is set": {func(*testing.T, string) {}, "config", stateOK, "none is needed"},
		"a key that is none": {func(t *testing.T, home string) {
			put(t, filepath.Join(home, ".config/studyfs/config.toml"), "memori = \"1GiB\"\n", 0o600)
		}, "config", stateFail, "memory"},
		"others can change it": {func(t *testing.T, home string) {
			put(t, filepath.Join(home, ".config/studyfs/config.toml"), "memory = \"1GiB\"\n", 0o666)
		}, "config", stateFail, "-rw-rw-rw-"},
		"the cache is a file": {func(t *testing.T, home string) {
			put(t, filepath.Join(home, ".cache"), "", 0o600)
		}, "cache disk", stateFail, "not a directory"},
		"a keyring that nobody has": {func(t *testing.T, home string) {
			put(t, filepath.Join(home, ".config/studyfs/config.toml"), "[source.a]\nkind=\"empatica\"\nkeys=\"keyring:emp\"\n", 0o600)
		}, "keyring", stateFail, "keyring"},
		"a source that is none": {func(t *testing.T, home string) {
			put(t, filepath.Join(home, ".config/studyfs/config.toml"), "[source.a]\nkind=\"empatica\"\nkeys=\"file:nowhere.csv\"\n", 0o600)
		}, "settings", stateFail, "nowhere.csv"},
	} {
		t.Run(name, func(t *testing.T) {
			env, home := doctorEnv(t, nil)
			c.prepare(t, home)
			all, _ := examine(t, env)
			if f := all[c.check]; f.State != c.state || !strings.Contains(f.Found, c.says) {
				t.Errorf("%s: %+v; want %s with %q", c.check, f, c.state, c.says)
			}
			if left, _ := filepath.Glob(filepath.Join(home, "*", ".studyfs-doctor-*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// updatedb, which root runs each night, would walk through a whole study: whoever asks doctor is told the line that keeps it out.
func TestDoctorUpdatedb(t *testing.T) {
	for name, c := range map[string]struct {
		text, settings string
		uid            int
		state          state
		says, do       string
	}{
		"not installed":     {state: stateOK, says: "not installed"},
		"Debian's":          {text: "# PRUNEFS=\"fuse.studyfs\"\nPRUNE_BIND_MOUNTS=\"yes\"\nPRUNEFS=\"NFS afs fuse.sshfs\"\n", state: stateWarn, says: "lacks fuse.studyfs", do: `PRUNEFS = "NFS afs fuse.sshfs fuse.studyfs"`},
		"nothing is pruned": {text: "PRUNEPATHS = \"/tmp\"\n", state: stateWarn, says: "lacks fuse.studyfs", do: `PRUNEFS = "fuse.studyfs"`},
		"done":              {text: "PRUNEFS = \"nfs\tFUSE.studyfs proc\"\n", state: stateOK, says: "leaves mounts of studyfs alone"},
		"kept out":          {text: "PRUNEFS = \"nfs\"\n", settings: "no-index = true\n", state: stateOK, says: "no-index"},
		"a user's own":      {text: "PRUNEFS = \"nfs\"\n", uid: 1000, state: stateOK, says: "not shared", do: `PRUNEFS = "nfs fuse.studyfs"`},
		"a user's, shared":  {text: "PRUNEFS = \"nfs\"\n", settings: "allow-other = true\n", uid: 1000, state: stateWarn, says: "lacks fuse.studyfs", do: `PRUNEFS = "nfs fuse.studyfs"`},
	} {
		t.Run(name, func(t *testing.T) {
			env, home := doctorEnv(t, nil)
			env.uid = c.uid
			put(t, filepath.Join(home, ".config/studyfs/config.toml"), c.settings, 0o600)
			path := filepath.Join(home, "updatedb.conf")
			if c.text != "" {
				put(t, path, c.text, 0o644)
			}
			var out, errs bytes.Buffer
			checkup := (&app{env: env, out: &out, err: &errs}).newCheckup(nil)
			f := checkup.pruned(path)
			if checkup.trouble != nil || f.State != c.state || !strings.Contains(f.Found, c.says) || !strings.HasSuffix(f.Do, c.do) {
				t.Errorf("%v, %+v; want %s with %q and %q", checkup.trouble, f, c.state, c.says, c.do)
			}
		})
	}
	env, _ := doctorEnv(t, nil)
	if all, _ := examine(t, env); all["updatedb"].Found == "" {
		t.Error("doctor does not look at updatedb")
	}
}

// What is stuck in a stage is told, and what to do about it.
func TestDoctorStages(t *testing.T) {
	for name, c := range map[string]struct {
		report stageReport
		state  state
		says   string
	}{
		"all stored": {stageReport{}, "", ""},
		"parked":     {stageReport{Uploads: uploadStatus{Parked: 2, Conflict: 1}}, stateFail, "3 files"},
		"old":        {stageReport{Uploads: uploadStatus{Staged: 1}, Items: []uploadItem{{State: "staged", AgeS: 7200}}}, stateWarn, "2h00m"},
		"young":      {stageReport{Uploads: uploadStatus{Staged: 1}, Items: []uploadItem{{State: "staged", AgeS: 5}}}, stateOK, "5s"},
		"in use":     {stageReport{Error: "another process has it"}, stateWarn, "another process"},
	} {
		got := c.report.findings()
		if c.state == "" {
			if len(got) > 0 {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].State != c.state || !strings.Contains(got[0].Found, c.says) {
			t.Errorf("%s: %+v; want %s with %q", name, got, c.state, c.says)
		}
	}
}

// What a user sends to strangers holds no key and no name, wherever they are planted.
func TestBundleHoldsNothingPrivate(t *testing.T) {
	planted := []string{
		"AKIAIOSFODNN7EXAMPLE", doctorSecret, "PassphraseOfTheKeyring", "BeiweAccessKeyPlanted0", "BeiweSecretKeyPlanted0", "azureKeyPlanted0000",
		"jane-doe", "Jane Doe", "sub-PLANTED01", "MRN4711007", "recording_of_jane.edf", "smithlab", "smith-bucket", "secretprofile", "keyfile-of-jane.csv",
		"section.planted", "cmdprintskeys", "vault.planted.example", "panicked on Jane", "raw line about Jane", "TokenPlanted0123456789", "words-of-ward-7",
	}
	env, home := doctorEnv(t, map[string]string{
		"NRG_KEYRING_PASS": planted[2], "BEIWE_ACCESS_KEY": planted[3], "BEIWE_SECRET_KEY": planted[4], "BEIWE_URL": "https://127.0.0.1:1",
		"AZURE_STORAGE_KEY": planted[5], "AWS_SECRET_ACCESS_KEY": doctorSecret,
	})
	put(t, filepath.Join(home, "keyfile-of-jane.csv"), "ACCESS KEY ID,SECRET ACCESS KEY,S3 ACCESS URL\r\nAKIAIOSFODNN7EXAMPLE,"+doctorSecret+",s3://smith-bucket/sub-PLANTED01/\r\n", 0o600)
	put(t, filepath.Join(home, ".config/studyfs/config.toml"), fmt.Sprintf(`
[cache]
dir = %q
[source.jane-doe]
kind = "empatica"
keys = "file:%s/keyfile-of-jane.csv"
endpoint-url = "http://127.0.0.1:1"
[source.smithlab]
kind = "s3"
url = "s3://smith-bucket/MRN4711007/Jane Doe/"
profile = "secretprofile"
region = "us-west-2"
endpoint-url = "https://vault.planted.example"
write = true
words = "file:words-of-ward-7"
[source.ring]
kind = "beiwe"
section = "section.planted"
keyring = "sub-PLANTED01.enc"
[source.printed]
kind = "empatica"
keys = "cmd:cmdprintskeys --token TokenPlanted0123456789"
`, filepath.Join(home, "cache-sub-PLANTED01"), home), 0o600)
	put(t, filepath.Join(home, ".local/state/studyfs/log/0123456789abcdef.log"), `time=2026-11-21T12:00:00Z level=WARN msg="cannot read" name="Jane Doe/recording_of_jane.edf" bytes=4711 err="get Jane Doe/recording_of_jane.edf: connection refused"
time=2026-11-21T12:00:01Z level=WARN msg="denied to Jane Doe MRN4711007" why=sub-PLANTED01 key=`+doctorSecret+`
time=2026-11-21T12:00:02Z level=INFO msg="a \"quoted\" name=jane-doe" took=1.5s name=jane-doe
panic: panicked on Jane
studyfs: raw line about Jane
goroutine 7 [running]:
main.(*mountServer).open(0x1)
	/home/jane-doe/studyfs/cmd/studyfs/serve.go:77 +0x1
`, 0o600)
	bundle := filepath.Join(home, "b.tar.gz")
	if _, code := examine(t, env, "--bundle="+bundle); code != exitError {
		t.Errorf("exit %d", code)
	}
	info, err := os.Stat(bundle)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	text := unpack(t, bundle)
	for _, secret := range append(planted, home, "jane", "Jane", "planted", "smith") {
		if strings.Contains(text, secret) {
			t.Errorf("the bundle holds %q", secret)
		}
	}
	for _, useful := range []string{
		"connection refused", "level=WARN", `msg="cannot read"`, "bytes=4711", "goroutine 7", "serve.go:77", "region = us-west-2", "kind = beiwe",
		`"check": "fuse device"`, "kernel ", "took=1.5s", "endpoint-url = https:…",
	} {
		if !strings.Contains(text, useful) {
			t.Errorf("the bundle lacks %q", useful)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	var out, errs bytes.Buffer
	if code := (&app{env: env, out: &out, err: &errs}).run([]string{"doctor", "--bundle=" + bundle}); code != exitCannotCreate {
		t.Errorf("over an older bundle: exit %d\n%s", code, errs.String())
	}
}

// unpack returns the names and texts of all files of a bundle.
func unpack(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "=== %s %o\n", h.Name, h.Mode)
		if _, err := io.Copy(&b, r); err != nil {
			t.Fatal(err)
		}
	}
}

// People see aligned lines, and colours only where a terminal shows them.
func TestDoctorText(t *testing.T) {
	r := doctorReport{Checks: []finding{
		fine("good").of("fuse device", ""),
		fail("bad \x1b[2Jname").do("first\nsecond").of("rights", "lab"),
	}}
	var plain, coloured strings.Builder
	if err := errors.Join(printFindings(&plain, r, false), printFindings(&coloured, r, true)); err != nil {
		t.Fatal(err)
	}
	const want = "ok    fuse device  good\nfail  rights lab   \"bad \\x1b[2Jname\"\n                   -> first\n                   -> second\n\n1 ok, 0 to look at, 1 failed, 0 skipped\n"
	if plain.String() != want {
		t.Errorf("printed %q; want %q", plain.String(), want)
	}
	if !strings.Contains(coloured.String(), "\x1b[1;31mfail\x1b[0m") {
		t.Errorf("no colours in %q", coloured.String())
	}
}
