package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends"
	"studyfs/backends/beiwe/keyring"
)

// A keyring that mano's own tools made, with its passphrase.
const (
	manoPassphrase = "pässwörd-日本"
	manoKeyring    = "DAEAAHsiY2lwaGVyIjogeyJmdW5jdGlvbiI6ICJBRVMiLCAicGFyYW1zIjogeyJiaXRzIjogMjU2LCAibW9kZSI6ICJDRkI4In19LCAia2RmIjogeyJmdW5jdGlvbiI6ICJQQktERjJITUFDIiwgInBhcmFtcyI6IHsic2FsdCI6ICJJOEdrc3E5STdyeTRTNUhCV2dXSjNBRDQxc2dFS2ZQcmp3MVdiZ2s1SG13PSIsICJsZW5ndGgiOiAzMiwgIml0ZXJhdGlvbnMiOiAxMDAwMDAsICJhbGdvcml0aG0iOiAic2hhMjU2In19LCAiaXYiOiAicHZVMXlITWRUcU9ib2NlRDBFUGRGQT09In2m9TXIcx1Oo5uhx4PQQ90U6XChcO1kBig5cRdFmQdjAzLSSc4VKiMUqqXoYiOERG4dgLcBh2EALiUgcor641WMD7C73yAJHf/3vk6gQkuejAMoV2rZ8QvuhFFyN3qUPT+UUngLJBci/04jYt3oKUIf8I0FJn/EI5CgSa7tTd3pJlU3dIUw1xMDPKccZyY4UVRJNMWDFdyIZreSiHassRZoH+fTNDgE1e4i3XlFX9a63hw4whpOX9rHyA=="
	manoPlain      = `{"beiwe.onnela": {"URL": "http://127.0.0.1:8080", "USERNAME": "u", "PASSWORD": "p", "ACCESS_KEY": "AKEY", "SECRET_KEY": "SKEY", "SECRETS": {"Study One": "lock-secret"}}}`
)

func manoFile(t *testing.T) string {
	t.Helper()
	file, err := base64.StdEncoding.DecodeString(manoKeyring)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "keyring.enc"), string(file), 0o600)
}

// typed runs the command line with variables in the environment.
func typed(t *testing.T, variables []string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	a := &app{env: testEnv(t, variables...), out: &o, err: &e}
	code = a.run(append([]string{"config", "keyring"}, args...))
	return o.String(), e.String(), code
}

// A keyring of mano's opens with the variable that mano reads, byte for byte.
func TestKeyringOfManoIsDecrypted(t *testing.T) {
	out, errs, code := typed(t, []string{"NRG_KEYRING_PASS", manoPassphrase}, "decrypt", manoFile(t))
	if code != exitOK || out != manoPlain || errs != "" {
		t.Errorf("exit %d, %q, %q; want the JSON as it was", code, out, errs)
	}
}

// Without a file named, it is the one where mano looks.
func TestKeyringAtHome(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	in := writeFile(t, filepath.Join(t.TempDir(), "clear.json"), manoPlain, 0o600)
	pass := []string{"NRG_KEYRING_PASS", "x"}
	if _, errs, code := typed(t, pass, "show"); code != exitConfig || !strings.Contains(errs, "keyring encrypt IN") {
		t.Errorf("no keyring yet: exit %d, %s; want how to make one", code, errs)
	}
	if _, errs, code := typed(t, pass, "encrypt", in); code != exitOK {
		t.Fatalf("encrypt: exit %d, %s", code, errs)
	}
	if _, err := os.Stat(filepath.Join(home, ".nrg-keyring.enc")); err != nil {
		t.Error(err)
	}
	if out, errs, code := typed(t, pass, "show"); code != exitOK || !strings.Contains(out, "beiwe.onnela") {
		t.Errorf("show: exit %d, %q, %s", code, out, errs)
	}
}

const clearKeyring = "{\n\t\"lab\" : {\"URL\": \"https://studies.beiwe.org/\",\r\n \"ACCESS_KEY\": \"PLANTEDaccess0000000000000000000000000000000000000000000000000000\", " +
	"\"SECRET_KEY\": \"PLANTEDsecret\", \"USERNAME\": \"ann\", \"PASSWORD\": \"PLANTEDpassword\", \"SECRETS\": {\"Study\\u00e4\": \"PLANTEDlock\", \"A\\u001b[2J\": \"PLANTEDlock\"}},\n" +
	"\"xnat\": {\"token\": \"PLANTEDtoken\"}, \"half\": {\"URL\": \"https://u:PLANTEDurl@h\", \"ACCESS_KEY\": \"a\", \"SECRET_KEY\": \"b\"}}\n\n"

// What was encrypted here is decrypted to the same bytes, lies in a file of the owner's alone, and the clear copy is not forgotten.
func TestKeyringRoundTrip(t *testing.T) {
	dir := t.TempDir()
	in, out := writeFile(t, dir+"/clear.json", clearKeyring, 0o600), dir+"/keyring.enc"
	printed, said, code := typed(t, []string{"ENCRYPT_PASS", "as crypt.py"}, "encrypt", in, out)
	if code != exitOK || printed != "" || !strings.Contains(said, "which opens lab") || !strings.Contains(said, "rm "+in) || !strings.Contains(said, `warning: section "half"`) {
		t.Errorf("exit %d, printed %q, said %s", code, printed, said)
	}
	if strings.Contains(said, "PLANTED") {
		t.Errorf("a secret was said: %s", said)
	}
	info, err := os.Stat(out)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != int64(len(clearKeyring)+288) {
		t.Errorf("%v, %v; want mode 0600", info, err)
	}
	got, errs, code := typed(t, []string{"NRG_KEYRING_PASS", "as crypt.py"}, "decrypt", out)
	if code != exitOK || got != clearKeyring {
		t.Errorf("exit %d, %q, %s; want the same bytes", code, got, errs)
	}
	if left, err := filepath.Glob(dir + "/.nrg*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestKeyringIsReadFromStandardInput(t *testing.T) {
	in, err := os.Open(writeFile(t, t.TempDir()+"/clear.json", clearKeyring, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	old := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = old }()
	out := t.TempDir() + "/keyring.enc"
	if _, said, code := typed(t, []string{"NRG_KEYRING_PASS", "x"}, "encrypt", "-", out); code != exitOK || strings.Contains(said, "rm ") {
		t.Fatalf("exit %d, %s", code, said)
	}
	if got, _, code := typed(t, []string{"NRG_KEYRING_PASS", "x"}, "decrypt", out); code != exitOK || got != clearKeyring {
		t.Errorf("exit %d, %q", code, got)
	}
}

// Somebody's only keyring is not replaced by mistake. When it is meant, a link to it stays a link.
func TestKeyringIsNotReplacedUnasked(t *testing.T) {
	in := writeFile(t, t.TempDir()+"/clear.json", clearKeyring, 0o600)
	kept := writeFile(t, t.TempDir()+"/keyring.enc", "the only copy", 0o600)
	pass := []string{"NRG_KEYRING_PASS", "x"}
	if _, said, code := typed(t, pass, "encrypt", in, kept); code != exitCannotCreate || !strings.Contains(said, "--force") {
		t.Errorf("exit %d, %s; want %d and --force", code, said, exitCannotCreate)
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != "the only copy" {
		t.Errorf("now %q, %v", text, err)
	}
	link := t.TempDir() + "/link.enc"
	if err := os.Symlink(kept, link); err != nil {
		t.Fatal(err)
	}
	if _, said, code := typed(t, pass, "encrypt", "--force", in, link); code != exitOK {
		t.Errorf("--force: exit %d, %s", code, said)
	}
	if got, _, _ := typed(t, pass, "decrypt", kept); got != clearKeyring {
		t.Errorf("the file behind the link holds %q", got)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: %v, %v", info, err)
	}
}

// Wrong input ends with what is wrong and the right code, and writes nothing.
func TestKeyringMistakes(t *testing.T) {
	dir := t.TempDir()
	mano := manoFile(t)
	file := func(name, text string) string { return writeFile(t, filepath.Join(dir, name), text, 0o600) }
	pass := []string{"NRG_KEYRING_PASS", "x"}
	out := dir + "/out.enc"
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"encrypt: no such file":      {[]string{"encrypt", dir + "/none", out}, exitConfig, "no such file"},
		"encrypt: not JSON":          {[]string{"encrypt", file("a", "{\n \"PLANTED\" 1}"), out}, exitConfig, "line 2, column 12"},
		"encrypt: encrypted already": {[]string{"encrypt", mano, out}, exitConfig, "not JSON"},
		"encrypt: a list":            {[]string{"encrypt", file("b", `["PLANTED"]`), out}, exitConfig, "JSON object of sections"},
		"encrypt: no Beiwe section":  {[]string{"encrypt", file("c", `{"x": {"token": "PLANTED"}}`), out}, exitConfig, "no section with the URL"},
		"encrypt: incomplete":        {[]string{"encrypt", file("d", `{"x": {"URL": "https://h", "ACCESS_KEY": "PLANTED"}}`), out}, exitConfig, `section "x": SECRET_KEY is missing`},
		"encrypt: nowhere":           {[]string{"encrypt", file("e", clearKeyring), dir + "/none/out.enc"}, exitCannotCreate, "cannot write"},
		"encrypt: to standard out":   {[]string{"encrypt", file("f", clearKeyring), "-"}, exitUsage, "into a file"},
		"encrypt: too much":          {[]string{"encrypt", "a", "b", "c"}, exitUsage, `"c" is too much`},
		"decrypt: no such file":      {[]string{"decrypt", dir + "/none"}, exitConfig, "no such file"},
		"decrypt: wrong passphrase":  {[]string{"decrypt", mano}, exitPermission, "wrong passphrase, or not a keyring\n  check the variable NRG_KEYRING_PASS"},
		"decrypt: not encrypted":     {[]string{"decrypt", file("g", clearKeyring)}, exitConfig, "in clear"},
		"decrypt: something else":    {[]string{"decrypt", file("h", "PK\x03\x04 PLANTED and more")}, exitConfig, "not a cryptease file"},
		"decrypt: a directory":       {[]string{"decrypt", dir}, exitIO, "directory"},
		"show: too large":            {[]string{"show", file("i", strings.Repeat(" ", maxKeyring+1))}, exitConfig, "too large"},
		"show: random key":           {[]string{"show", file("j", "\x1b\x00\x00\x00"+`{"kdf":{"function":"RAND"}}0123456789abcdef`)}, exitConfig, "random key"},
		"show: wrong passphrase":     {[]string{"show", mano}, exitPermission, "wrong passphrase"},
	} {
		t.Run(name, func(t *testing.T) {
			printed, said, code := typed(t, pass, c.args...)
			if code != c.code || !strings.Contains(said, c.want) || printed != "" || !strings.Contains(said, "\n  ") && c.code != exitIO {
				t.Errorf("exit %d, printed %q, said %s; want exit %d, %q and what to do", code, printed, said, c.code, c.want)
			}
			if strings.Contains(said, "PLANTED") {
				t.Errorf("part of the file was said: %s", said)
			}
		})
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
}

// Whoever looks over the shoulder, or gets the output in a bug report, learns no secret from it.
func TestKeyringShowLeaksNothing(t *testing.T) {
	path := t.TempDir() + "/keyring.enc"
	if err := writeKeyring(path, []byte(clearKeyring), backends.NewSecret("x"), false); err != nil {
		t.Fatal(err)
	}
	pass := []string{"NRG_KEYRING_PASS", "x"}
	text, _, code := typed(t, pass, "show", path)
	for _, want := range []string{"lab\n", "https://studies.beiwe.org\n", "ann", "PLAN…", "Studyä", `"A\x1b[2J"`, "half\n", "cannot be used", "must not hold"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	asJSON, _, code2 := typed(t, pass, "show", "--json", path)
	if code != exitOK || code2 != exitOK {
		t.Errorf("exit %d, %d", code, code2)
	}
	for _, printed := range []string{text, asJSON} {
		if strings.Contains(printed, "PLANT") || strings.Contains(printed, "\x1b") || strings.Contains(printed, "token") {
			t.Errorf("a secret, or a control character, was shown:\n%s", printed)
		}
	}
	var report keyringReport
	if err := json.Unmarshal([]byte(asJSON), &report); err != nil || report.Schema != 1 || len(report.Sections) != 2 {
		t.Fatalf("%v:\n%s", err, asJSON)
	}
	if lab := report.Sections[1]; lab.Section != "lab" || lab.AccessKey != "PLAN…" || !lab.Password || len(lab.Studies) != 2 {
		t.Errorf("lab is shown as %+v", lab)
	}
	// Four characters of a key of four would be the key.
	if text, _, _ := typed(t, []string{"NRG_KEYRING_PASS", manoPassphrase}, "show", manoFile(t)); strings.Contains(text, "AKEY") || !strings.Contains(text, "Study One") {
		t.Errorf("got:\n%s", text)
	}
}

// A keyring without Beiwe servers is not an error to look at.
func TestKeyringShowOfOthers(t *testing.T) {
	path := t.TempDir() + "/keyring.enc"
	if err := writeKeyring(path, []byte(`{"xnat": {}}`), backends.NewSecret("x"), false); err != nil {
		t.Fatal(err)
	}
	out, said, code := typed(t, []string{"NRG_KEYRING_PASS", "x"}, "show", "--json", path)
	if code != exitOK || !strings.Contains(out, `"sections": []`) {
		t.Errorf("exit %d, %q, %s", code, out, said)
	}
	if out, said, code := typed(t, []string{"NRG_KEYRING_PASS", "x"}, "show", path); code != exitOK || out != "" || !strings.Contains(said, "no section") {
		t.Errorf("exit %d, %q, %s", code, out, said)
	}
}

// The file opens as a keyring, which is what mano and our own mounts do with it.
func TestWrittenKeyringOpens(t *testing.T) {
	path := t.TempDir() + "/keyring.enc"
	if err := writeKeyring(path, []byte(clearKeyring), backends.NewSecret("x"), false); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Read(file, backends.NewSecret("x"))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := ring.Account("lab"); err != nil || a.SecretKey.Reveal() != "PLANTEDsecret" {
		t.Errorf("%+v, %v", a, err)
	}
}
