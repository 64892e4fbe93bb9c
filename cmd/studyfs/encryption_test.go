package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"studyfs/backends/mem"
)

func ageKey(t *testing.T) (file string, id *age.X25519Identity) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "key.txt"), "# a comment\n"+id.String()+"\n", 0o600), id
}

// Settings that cannot be meant are refused before anything is sent, and no message shows a secret.
func TestEncryptionSettings(t *testing.T) {
	key, id := ageKey(t)
	open := writeFile(t, filepath.Join(t.TempDir(), "open.txt"), id.String(), 0o644)
	public := id.Recipient().String()
	for name, c := range map[string]struct {
		flags map[string]string
		want  string // in the message; "" if it is no error
		code  int
	}{
		"both":                {map[string]string{"write": "true", "encrypt-to": public, "identity": "file:" + key}, "", exitOK},
		"a file":              {map[string]string{"write": "true", "encrypt-to": writeFile(t, filepath.Join(t.TempDir(), "p"), public+"\n", 0o644)}, "", exitOK},
		"in clear by mistake": {map[string]string{"write": "true", "identity": "file:" + key}, "encrypted for somebody", exitUsage},
		"only read":           {map[string]string{"write": "true", "read-only": "true", "identity": "file:" + key}, "", exitOK},
		"a private key":       {map[string]string{"encrypt-to": id.String()}, "private key", exitUsage},
		"a private key there": {map[string]string{"identity": id.String()}, "does not say where", exitConfig},
		"a password there":    {map[string]string{"password": "secret of the lab"}, "does not say where", exitConfig},
		"no such file":        {map[string]string{"encrypt-to": "nobody.pub"}, "no such file", exitConfig},
		"no key":              {map[string]string{"encrypt-to": writeFile(t, filepath.Join(t.TempDir(), "n"), "ssh-rsa x\n", 0o644)}, "public keys", exitConfig},
		"readable by others":  {map[string]string{"identity": "file:" + open}, "others on this machine", exitPermission},
		"no identity":         {map[string]string{"identity": "file:" + writeFile(t, filepath.Join(t.TempDir(), "x"), "x", 0o600)}, "AGE-SECRET-KEY-", exitConfig},
		"from a command":      {map[string]string{"password": "cmd:echo pw"}, "", exitOK},
		"an empty password":   {map[string]string{"password": "cmd:true"}, "gives none", exitConfig},
	} {
		l, err := load(testEnv(t), &given{flags: c.flags})
		var all []sourceSpec
		if err == nil {
			all, _, err = l.sourcesOf([]string{"s3://study/"})
		}
		if c.want == "" && (err != nil || len(all) != 1 || all[0].Crypt == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" && (err == nil || codeOf(err) != c.code || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v (exit %d); want %q, exit %d", name, err, codeOf(err), c.want, c.code)
		}
		if err != nil && (strings.Contains(err.Error(), id.String()) || strings.Contains(err.Error(), "secret of the lab")) {
			t.Errorf("%s: the message shows it: %v", name, err)
		}
	}
}

// Uploads of an encrypted source stay encrypted when they go on without a mount; what is remembered for that opens nothing.
func TestTargetOfAnEncryptedStage(t *testing.T) {
	key, id := ageKey(t)
	l, err := load(testEnv(t), &given{flags: map[string]string{
		"write": "true", "encrypt-to": id.Recipient().String(), "identity": "file:" + key, "password": "cmd:echo of the lab",
	}})
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := l.sourcesOf([]string{"s3://study/"})
	if err != nil {
		t.Fatal(err)
	}
	s := all[0]
	if s.Crypt.Password != "of the lab" || !bytes.Contains(s.Crypt.Identity, []byte(id.String())) {
		t.Fatalf("%+v", s.Crypt)
	}
	text := s.target()
	if strings.Contains(text, id.String()) || strings.Contains(text, `"of the lab"`) || s.Crypt.Password == "" {
		t.Errorf("secrets in %s", text)
	}
	got, ok := parseTarget(text)
	if !ok || got.id() != s.id() || len(got.Crypt.Recipients) != 1 || got.Crypt.Recipients[0] != id.Recipient().String() {
		t.Errorf("%+v", got)
	}
	if err := got.readSecrets(l.env); err != nil || got.Crypt.Password != s.Crypt.Password || !bytes.Equal(got.Crypt.Identity, s.Crypt.Identity) {
		t.Errorf("%+v, %v", got.Crypt, err)
	}
	bare := s
	if bare.Crypt = nil; bare.id() == s.id() {
		t.Error("the cache and the stage of the place in clear are taken for its own")
	}
	for _, secret := range []string{id.String(), "of the lab"} {
		if !strings.Contains(strings.Join(secretsOf(all), "\n"), secret) {
			t.Errorf("the log would show %s", secret)
		}
	}
	near, end, err := decrypted(mem.New(0), got, places{state: t.TempDir()})
	if err != nil || near.Trouble() != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// Somebody who was sent an encrypted file reads it without a mount.
func TestCatDecrypts(t *testing.T) {
	key, id := ageKey(t)
	path := filepath.Join(t.TempDir(), "f.age")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := age.Encrypt(f, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("for you"))
	w.Close()
	f.Close()
	other, _ := ageKey(t)
	for name, c := range map[string]struct {
		flags map[string]string
		out   string
		code  int
	}{
		"right":      {map[string]string{"identity": "file:" + key}, "for you", exitOK},
		"another's":  {map[string]string{"identity": "file:" + other}, "", exitPermission},
		"no key":     {nil, "", exitPermission},
		"wrong form": {map[string]string{"password": "x"}, "", exitConfig},
	} {
		var out, errs bytes.Buffer
		a := &app{env: testEnv(t), out: &out, err: &errs, given: given{flags: c.flags}}
		if err := a.cat(path, true); codeOf(err) != c.code || out.String() != c.out {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
}
