package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"studyfs/backends"
)

func runGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// key is a comparable form.
func (s sourceSpec) key() string {
	text, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Each case of trouble has a message of its own that says what to do, and the right code.
func TestMessages(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("list x: AccessDenied: %w", err) }
	empatica := sourceSpec{Kind: kindEmpatica, Bucket: "prod", Prefix: "v2/1/", KeysFrom: "keys.csv"}
	hcp := sourceSpec{Kind: kindHCP, Bucket: "hcp-openaccess", Prefix: "HCP_1200/", Profile: "hcp"}
	public := sourceSpec{Kind: kindS3, Bucket: "b", Anonymous: true}
	own := sourceSpec{Kind: kindS3, Bucket: "b", Endpoint: "https://s3.example.org"}
	container := sourceSpec{Kind: kindAzure, Azure: &azureSpec{Account: "lab", Container: "study", Key: testSAS}, KeysFrom: "sas.txt"}
	account := sourceSpec{Kind: kindAzure, Azure: &azureSpec{Account: "lab", Container: "study", Key: testAccountKey}, KeysFrom: "key.txt"}
	open := sourceSpec{Kind: kindAzure, Azure: &azureSpec{Account: "lab", Container: "study"}, Anonymous: true}
	seen := map[string]string{}
	for name, c := range map[string]struct {
		spec sourceSpec
		err  error
		code int
		want string
	}{
		"revoked, empatica":      {empatica, backends.ErrAuth, exitPermission, "create new Data Access Keys"},
		"revoked, profile":       {hcp, backends.ErrAuth, exitPermission, "profile hcp"},
		"revoked, default":       {own, backends.ErrAuth, exitPermission, "--profile"},
		"forbidden, empatica":    {empatica, backends.ErrPermission, exitPermission, "complete, as the portal shows it"},
		"forbidden, hcp":         {hcp, backends.ErrPermission, exitPermission, "data use terms"},
		"forbidden, public":      {public, backends.ErrPermission, exitPermission, "leave out --anonymous"},
		"forbidden, s3":          {own, backends.ErrPermission, exitPermission, "limited to a folder"},
		"no bucket, empatica":    {empatica, backends.ErrNotExist, exitConfig, "keys.csv"},
		"no bucket, s3":          {own, backends.ErrNotExist, exitConfig, "bucket's name in s3://b/"},
		"revoked, azure":         {container, backends.ErrAuth, exitPermission, "SAS of lab into sas.txt"},
		"forbidden, azure":       {container, backends.ErrPermission, exitPermission, "sp=rl"},
		"forbidden, account key": {account, backends.ErrPermission, exitPermission, "key.txt holds the key of account lab"},
		"not public, azure":      {open, backends.ErrPermission, exitPermission, "give a key"},
		"no container":           {container, backends.ErrNotExist, exitConfig, "azure://lab/study/"},
		"no public container":    {open, backends.ErrNotExist, exitConfig, "not public"},
		"not Azure":              {container, backends.ErrBadAnswer, exitIO, "blob protocol"},
		"no network":             {hcp, fmt.Errorf("%w: %w", backends.ErrUnreachable, syscall.ECONNREFUSED), exitUnreachable, "connection refused"},
		"no answer in time":      {own, context.DeadlineExceeded, exitUnreachable, "the address https://s3.example.org"},
		"overloaded":             {own, backends.ErrBusy, exitTryAgain, "few minutes"},
		"not S3":                 {own, backends.ErrBadAnswer, exitIO, "login page"},
		"disk full":              {own, syscall.ENOSPC, exitIO, "--cache-dir"},
		"something else, logged": {own, errors.New("odd"), exitIO, "--log-level debug"},
	} {
		t.Run(name, func(t *testing.T) {
			f := explainSource(c.spec, wrap(c.err))
			text := f.Error()
			if f.Code != c.code || !strings.Contains(text, c.want) {
				t.Errorf("got exit %d:\n%s\nwant exit %d with %q", f.Code, text, c.code, c.want)
			}
			if f.Do == "" {
				t.Error("it does not say what to do")
			}
			if other, dup := seen[text]; dup {
				t.Errorf("same message as %q", other)
			}
			seen[text] = name
			if c.want != "--log-level debug" && strings.Contains(text, "AccessDenied") {
				t.Errorf("a service's bare code in %q", text)
			}
		})
	}
}

func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code int
		text string
	}{
		"nothing":          {nil, exitOK, ""},
		"a command's code": {statusError(42), 42, ""},
		"failure":          {&failure{What: "x", Why: "y", Do: "a\nb", Code: exitConfig}, exitConfig, "studyfs: x: y\n  a\n  b\n"},
		"wrapped failure":  {fmt.Errorf("z: %w", &failure{What: "x", Why: "y", Code: exitIO}), exitIO, "studyfs: x: y\n"},
		"interrupted":      {context.Canceled, exitInterrupted, ""},
		"other":            {errors.New("oops"), exitError, "studyfs: oops\n"},
	} {
		var out bytes.Buffer
		if got := report(&out, c.err); got != c.code || out.String() != c.text {
			t.Errorf("%s: exit %d, %q; want %d, %q", name, got, out.String(), c.code, c.text)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"},
		{"mount"},
		{"mount", "--nonsense", "a", "b"},
		{"mount", "--cache-size", "x", "a", "b"},
		{"mount", "empatica:keys.csv"},
		{"mount", "x", "y"},
		{"mount", "onlydir"},
		{"umount"},
		{"status", "a", "b"},
		{"run", "s3://bucket/"},
		{"run", "s3://bucket/", "--"},
		{"demo", "a", "b"},
		{"demo", "--servers", "a"},
	} {
		var out, errs bytes.Buffer
		a := &app{env: testEnv(t), out: &out, err: &errs}
		if got := a.run(args); got != exitUsage {
			t.Errorf("studyfs %q: exit %d; want %d", args, got, exitUsage)
		}
		if !strings.HasPrefix(errs.String(), "studyfs: ") || !strings.Contains(errs.String(), "\n  ") || out.Len() > 0 {
			t.Errorf("studyfs %q said %q and printed %q; want a message with a second line, and no output", args, errs.String(), out.String())
		}
	}
}

func TestLogsHoldNoSecrets(t *testing.T) {
	var out bytes.Buffer
	spec := sourceSpec{KeysCSV: []byte(testKeys)}
	log := newLogger(&out, slog.LevelDebug, secretsOf([]sourceSpec{spec}))
	const secret, id = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AKIAIOSFODNN7EXAMPLE"
	log.Error("request failed", "err", fmt.Errorf("sign with %s for %s: %w", secret, id, errors.New("x")), "url", "https://h/?sig="+secret,
		"spec", struct{ K string }{secret}, slog.Group("g", "key", id), "n", 42)
	if strings.Contains(out.String(), secret) || strings.Contains(out.String(), id) {
		t.Errorf("a secret in the log: %s", out.String())
	}
	for _, want := range []string{"***", "request failed", "n=42", "sign with"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing from %s", want, out.String())
		}
	}
}

func TestFindMount(t *testing.T) {
	const table = `22 1 8:1 / / rw - ext4 /dev/sda1 rw
40 22 0:50 / /mnt/my\040data ro,nosuid shared:1 master:2 - fuse.studyfs s3:b ro
41 40 0:51 / /mnt/over rw - tmpfs tmpfs rw
42 41 0:52 / /mnt/over ro - fuse.studyfs s3:c ro
`
	for dir, want := range map[string]string{"/mnt/my data": fuseType, "/mnt/over": fuseType, "/": "ext4", "/mnt": ""} {
		if got := findMount(strings.NewReader(table), dir); got != want {
			t.Errorf("at %q: %q; want %q", dir, got, want)
		}
	}
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 1023 << 10: "1.00 MiB", 123 << 20: "123 MiB", 3 << 40: "3.00 TiB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d is shown as %q; want %q", n, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for path, want := range map[string]string{"/a/b-c.csv": "/a/b-c.csv", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(x)": "'$(x)'"} {
		if got := quote(path); got != want {
			t.Errorf("quote(%q) = %q; want %q", path, got, want)
		}
	}
}
