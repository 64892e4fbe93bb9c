package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// cacheKeysFor looks for keys in a home of this test, where the desktop has ring.
func cacheKeysFor(t *testing.T, ring *fakeKeyring) *cacheKeys {
	t.Helper()
	env := testEnv(t)
	home := env.get("HOME")
	k := newCacheKeys(env, places{cache: filepath.Join(home, "cache"), state: filepath.Join(home, "state")})
	k.desktop, k.cost = ring, 4
	return k
}

// keyOf gets the key of one source, as a later mount would.
func keyOf(k *cacheKeys, ref string) (*atRestSpec, error) {
	k.found = map[string]atRestSpec{}
	sources := []sourceSpec{{AtRest: &atRestSpec{Ref: ref}}, {}, {AtRest: &atRestSpec{Ref: ref}}}
	err := k.fill(sources)
	if err == nil && !bytes.Equal(sources[0].AtRest.Key, sources[2].AtRest.Key) {
		return nil, os.ErrInvalid
	}
	return sources[0].AtRest, err
}

// Which caches are encrypted when nobody says anything, and what can be said.
func TestWhatIsEncrypted(t *testing.T) {
	no, yes := false, true
	for name, c := range map[string]struct {
		config sourceConfig
		want   string // "" for in clear
	}{
		"empatica":         {sourceConfig{Kind: kindEmpatica}, "ephemeral"},
		"beiwe":            {sourceConfig{Kind: kindBeiwe}, "ephemeral"},
		"open data":        {sourceConfig{Kind: kindHCP}, ""},
		"a bucket":         {sourceConfig{Kind: kindS3}, ""},
		"a bucket, asked":  {sourceConfig{Kind: kindS3, EncryptCache: &yes, CacheKey: "keyring:lab"}, "keyring:lab"},
		"beiwe, not asked": {sourceConfig{Kind: kindBeiwe, EncryptCache: &no, CacheKey: "ephemeral"}, ""},
		"passphrase":       {sourceConfig{Kind: kindBeiwe, CacheKey: "passphrase"}, "passphrase:prompt"},
		"passphrase file":  {sourceConfig{Kind: kindBeiwe, CacheKey: "passphrase:file:/x"}, "passphrase:file:/x"},
	} {
		got, err := buildAtRest(c.config)
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case (got != nil) != (c.want != ""), got != nil && got.Ref != c.want:
			t.Errorf("%s: got %+v; want %q", name, got, c.want)
		}
	}
	for _, ref := range []string{"c2VjcmV0c2VjcmV0", "file:", "prompt", "env:KEY", "passphrase:hunter22"} {
		_, err := buildAtRest(sourceConfig{Kind: kindBeiwe, CacheKey: ref})
		if codeOf(err) != exitConfig || strings.Contains(err.Error(), "c2Vj") || strings.Contains(err.Error(), "hunter") {
			t.Errorf("cache-key %q: %v; want exit %d, and nothing of what may be a secret", ref, err, exitConfig)
		}
	}
}

// The setting is a switch with three positions: on, off, and by the kind of source.
func TestEncryptCacheSetting(t *testing.T) {
	config := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), "[source.lab]\nkind = \"s3\"\nurl = \"s3://lab/\"\nencrypt-cache = true\ncache-key = \"file:/k\"\n", 0o600)
	for name, c := range map[string]struct {
		flags     map[string]string
		variables []string
		encrypted bool
	}{
		"file":     {nil, nil, true},
		"flag":     {map[string]string{"encrypt-cache": "false"}, nil, false},
		"variable": {nil, []string{"STUDYFS_ENCRYPT_CACHE", "0"}, false},
	} {
		env := testEnv(t, append(c.variables, "STUDYFS_CONFIG", config)...)
		l, err := load(env, &given{flags: c.flags})
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := l.parseSource("lab")
		if err != nil || (s.AtRest != nil) != c.encrypted {
			t.Errorf("%s: %+v, %v", name, s.AtRest, err)
		}
		if strings.Contains(s.target(), "at_rest") {
			t.Errorf("%s: the header of a stage would hold %s", name, s.target())
		}
	}
}

// Each way to keep a key gives the same one to the next mount.
func TestCacheKeysStay(t *testing.T) {
	ring := &fakeKeyring{secrets: map[string]string{"given": strings.Repeat("k", 40)}}
	k := cacheKeysFor(t, ring)
	file := filepath.Join(t.TempDir(), "new", "cache.key")
	pass := writeFile(t, filepath.Join(t.TempDir(), "pass"), "correct horse\n", 0o600)
	for _, ref := range []string{"file:" + file, "keyring:given", "keyring:new", "cmd:echo 0123456789abcdef0123456789abcdef", "passphrase:file:" + pass} {
		first, err := keyOf(k, ref)
		if err != nil || len(first.Key) < minCacheKey {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		again, err := keyOf(k, ref)
		if err != nil || !bytes.Equal(again.Key, first.Key) || again.Note != "" || again.Where == "" {
			t.Errorf("%s: another key the second time, or %q is said again (%v)", ref, again.Note, err)
		}
		if secrets := strings.Join(first.secrets(), " "); !strings.Contains(secrets, string(first.Key)) {
			t.Errorf("%s: the log would show it", ref)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if ring.secrets["new"] == "" {
		t.Error("no key was made in the keyring")
	}
}

// What cannot be a key, or cannot be had, is said with what to do.
func TestCacheKeysThatFail(t *testing.T) {
	ring := &fakeKeyring{}
	k := cacheKeysFor(t, ring)
	dir := t.TempDir()
	for ref, code := range map[string]int{
		"file:" + writeFile(t, dir+"/open", newKeyText(), 0o644): exitPermission,
		"file:" + writeFile(t, dir+"/short", "abc", 0o600):       exitConfig,
		"file:" + filepath.Join(k.places.cache, "x.key"):         exitConfig,
		"file:" + filepath.Join(k.places.state, "a", "x.key"):    exitConfig,
		"keyring:x":   exitPermission,
		"cmd:exit 1":  exitPermission,
		"cmd:echo ab": exitConfig,
		"passphrase:file:" + writeFile(t, dir+"/empty", "\n", 0o600): exitConfig,
	} {
		if _, err := keyOf(k, ref); codeOf(err) != code || !strings.Contains(err.Error(), "\n") && codeOf(err) != exitPermission {
			t.Errorf("%s: %v (exit %d); want exit %d", ref, err, codeOf(err), code)
		}
	}
}

// A wrong passphrase is told before anything is taken for unreadable and removed; a forgotten one is no dead end.
func TestWrongPassphraseOfTheCache(t *testing.T) {
	k := cacheKeysFor(t, &fakeKeyring{})
	pass := func(text string) string {
		return "passphrase:file:" + writeFile(t, filepath.Join(t.TempDir(), "pass"), text, 0o600)
	}
	right, err := keyOf(k, pass("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyOf(k, pass("battery")); codeOf(err) != exitPermission || !strings.Contains(err.Error(), "wrong passphrase") || !strings.Contains(err.Error(), "cache wipe") {
		t.Errorf("got %v (exit %d)", err, codeOf(err))
	}
	if again, err := keyOf(k, pass("correct horse\n")); err != nil || !bytes.Equal(again.Key, right.Key) {
		t.Errorf("the right one: %v", err)
	}
	if left := k.forget(nil); len(left) > 0 {
		t.Error(left)
	}
	if other, err := keyOf(k, pass("battery")); err != nil || bytes.Equal(other.Key, right.Key) {
		t.Errorf("after a wipe: %v", err)
	}
	for _, text := range []string{"", "{}", `{"schema":1,"scrypt_log2_n":40,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","check":""}`} {
		writeFile(t, k.passphraseFile(), text, 0o600)
		if _, err := keyOf(k, pass("battery")); codeOf(err) != exitConfig {
			t.Errorf("note %q: %v", text, err)
		}
	}
}

// A passphrase that is new is asked for twice: a mistyped one would cost all that is kept.
func TestNewPassphraseOfTheCache(t *testing.T) {
	user, path := terminalPair(t)
	k := cacheKeysFor(t, &fakeKeyring{})
	k.terminal = func() (*os.File, error) { return os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0) }
	questions := []string{"new passphrase for the cache", "the same again"}
	seen := dialog(t, user, questions, []string{"horse\n", "house\n"})
	if _, err := keyOf(k, "passphrase:prompt"); codeOf(err) != exitUsage {
		t.Errorf("two different ones: %v", err)
	}
	<-seen
	seen = dialog(t, user, questions, []string{"horse\n", "horse\n"})
	first, err := keyOf(k, "passphrase:prompt")
	if err != nil {
		t.Fatal(err)
	}
	<-seen
	seen = dialog(t, user, []string{"passphrase of the cache"}, []string{"horse\n"})
	again, err := keyOf(k, "passphrase:prompt")
	if err != nil || !bytes.Equal(again.Key, first.Key) {
		t.Errorf("the second mount: %v", err)
	}
	<-seen
	k.terminal = func() (*os.File, error) { return nil, os.ErrNotExist }
	if _, err := keyOf(k, "passphrase:prompt"); codeOf(err) != exitPermission || !strings.Contains(err.Error(), "passphrase:file:") {
		t.Errorf("without a terminal: %v", err)
	}
}

// Where the kernel keeps no keys, as in most containers, the mount has one of its own, and says what that means.
func TestNoKernelKeyring(t *testing.T) {
	k := cacheKeysFor(t, &fakeKeyring{})
	k.kernel.lock = filepath.Join(writeFile(t, filepath.Join(t.TempDir(), "file"), "", 0o600), "no directory")
	first, err := keyOf(k, "ephemeral")
	if err != nil || len(first.Key) != keySize || !strings.Contains(first.Note, "until unmount") || !strings.Contains(first.Where, "memory") {
		t.Errorf("%+v, %v", first, err)
	}
	if again, err := keyOf(k, "ephemeral"); err != nil || bytes.Equal(again.Key, first.Key) {
		t.Errorf("the same key twice: %v", err)
	}
}

// Wiping destroys the keys that studyfs has made, and only those: a file of the user's may open other things.
func TestForgetCacheKeys(t *testing.T) {
	ring := &fakeKeyring{secrets: map[string]string{"given": strings.Repeat("k", 40)}}
	k := cacheKeysFor(t, ring)
	kernel, _ := kernelKeysFor(t)
	k.kernel = kernel
	name := "test-" + hashOf(kernel.lock, "forget")
	own := writeFile(t, filepath.Join(t.TempDir(), "own"), strings.Repeat("o", 40), 0o600)
	made := filepath.Join(t.TempDir(), "made")
	refs := []string{"ephemeral:" + name, "keyring:given", "keyring:new", "file:" + own, "file:" + made, "passphrase:prompt"}
	before := map[string]*atRestSpec{}
	for _, ref := range refs[:5] {
		var err error
		if before[ref], err = keyOf(k, ref); err != nil {
			t.Fatal(ref, err)
		}
	}
	left := k.forget(refs)
	if len(left) != 1 || !strings.Contains(left[0], own) {
		t.Errorf("said: %q", left)
	}
	for ref, was := range before {
		now, err := keyOf(k, ref)
		stays := ref == "keyring:given" || ref == "file:"+own
		if err != nil || bytes.Equal(now.Key, was.Key) != stays {
			t.Errorf("%s: same key %v (%v); want %v", ref, bytes.Equal(now.Key, was.Key), err, stays)
		}
	}
	k.forget(refs)
}

// Status tells in words where the key is, and why the kernel does not read the files itself.
func TestStatusOfAnEncryptedCache(t *testing.T) {
	on := passthroughStatus{On: true}
	if got := on.of(sourceSpec{}); got != on {
		t.Errorf("in clear: %+v", got)
	}
	if got := on.of(sourceSpec{AtRest: &atRestSpec{}}); got.On || !strings.Contains(got.Why, "encrypted") {
		t.Errorf("encrypted: %+v", got)
	}
	var out bytes.Buffer
	printAtRest(&out, sourceStatus{Dir: "/m", AtRest: atRestStatus{Encrypted: true, Key: "in the kernel's keyring until the next boot"}})
	if !strings.Contains(out.String(), "/m is encrypted on this disk") || !strings.Contains(out.String(), "kernel's keyring") {
		t.Error(out.String())
	}
	text, err := json.Marshal(sourceStatus{})
	if err != nil || !bytes.Contains(text, []byte(`"encrypted":false`)) {
		t.Errorf("%s, %v", text, err)
	}
}
