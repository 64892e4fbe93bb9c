package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"studyfs/cache"
)

// How cache-key names where a key lies.
const (
	refEphemeral  = "ephemeral"
	refPassphrase = "passphrase"
	refKeyring    = "keyring"
)

// minCacheKey is the least number of characters that may serve as a key. What is shorter is something to remember, and has to be stretched.
const minCacheKey = 16

// madeKey begins what we have put into files and keyrings as the key of a cache; wiping removes only that.
const madeKey = "studyfs-cache-key:"

// atRestSpec is what a sourceSpec holds of a source whose cache is encrypted on this disk.
type atRestSpec struct {
	Ref   string `json:"ref"`             // where the key lies, as the configuration writes it
	Key   []byte `json:"key,omitempty"`   // travels through the pipe, and nowhere else
	Where string `json:"where,omitempty"` // where the key lies, for people
	Note  string `json:"note,omitempty"`  // what whoever mounts should know of it
}

// secrets lists what must not be seen.
func (a *atRestSpec) secrets() []string {
	if a == nil || len(a.Key) == 0 {
		return nil
	}
	return []string{string(a.Key), base64.StdEncoding.EncodeToString(a.Key)}
}

// encryptedByDefault tells the kinds that hold participants' data for certain.
func encryptedByDefault(kind string) bool {
	return slices.Contains([]string{kindEmpatica, kindBeiwe, kindEcog}, kind)
}

// buildAtRest says how the cache of a source is encrypted, nil for not at all. It reads no key yet.
func buildAtRest(c sourceConfig) (*atRestSpec, error) {
	on := encryptedByDefault(c.Kind)
	if c.EncryptCache != nil {
		on = *c.EncryptCache
	}
	if !on {
		return nil, nil //nolint:nilnil // said above
	}
	ref := c.CacheKey
	if ref == "" {
		ref = refEphemeral
	}
	switch scheme, rest, _ := strings.Cut(ref, ":"); scheme {
	case refEphemeral:
		return &atRestSpec{Ref: ref}, nil
	case refPassphrase:
		if rest == "" {
			rest = "prompt"
		}
		where, err := secretRef("cache-key", rest, "file", "cmd", refKeyring, "prompt")
		return &atRestSpec{Ref: refPassphrase + ":" + where}, err
	}
	ref, err := secretRef("cache-key", ref, "file", "cmd", refKeyring)
	if f, ok := errors.AsType[*failure](err); ok {
		f.Do = "write ephemeral, file:PATH, cmd:COMMAND, keyring:NAME or passphrase; the key itself does not belong here"
	}
	return &atRestSpec{Ref: ref}, err
}

// seal says what of a source must be encrypted on this disk: all of it, or what the user locks of a Beiwe source whose cache is clear otherwise.
// The key of the latter comes from the account's own: who has that may read the data anyway, and without it a stolen disk tells nothing.
// New keys make what was kept unreadable, which is a miss.
func (s sourceSpec) seal() *cache.Seal {
	switch {
	case s.AtRest != nil:
		return &cache.Seal{Key: s.AtRest.Key}
	case s.Beiwe != nil && len(s.Beiwe.Lock) > 0:
		label := strings.Join(slices.Sorted(slices.Values(s.Beiwe.Lock)), ",")
		return &cache.Seal{Key: []byte(s.Beiwe.SecretKey), Covers: s.Beiwe.locked, Label: label}
	}
	return nil
}

// cacheKeys finds the keys of encrypted caches.
type cacheKeys struct {
	env      environment
	places   places
	kernel   kernelKeys
	desktop  secretStore
	terminal func() (*os.File, error)
	cost     int // of the passphrase, for a new one

	found map[string]atRestSpec
}

func newCacheKeys(env environment, p places) *cacheKeys {
	return &cacheKeys{
		env: env, places: p, kernel: kernelKeys{filepath.Join(p.state, "keys.lock")}, desktop: newDesktopKeys(env),
		terminal: openTerminal, cost: passphraseCost, found: map[string]atRestSpec{},
	}
}

// fill gets the keys of all sources; one that several refer to is asked for once.
func (k *cacheKeys) fill(sources []sourceSpec) error {
	for i := range sources {
		spec := sources[i].AtRest
		if spec == nil {
			continue
		}
		got, ok := k.found[spec.Ref]
		if !ok {
			var err error
			if got, err = k.find(spec.Ref); err != nil {
				return err
			}
		}
		sources[i].AtRest = &got
		again := got
		again.Note = "" // said once
		k.found[spec.Ref] = again
	}
	return nil
}

func (k *cacheKeys) find(ref string) (atRestSpec, error) {
	spec := atRestSpec{Ref: ref}
	scheme, rest, _ := strings.Cut(ref, ":")
	var err error
	switch scheme {
	case refEphemeral:
		k.ephemeral(&spec, rest)
		return spec, nil
	case refPassphrase:
		spec.Where = "made of a passphrase"
		spec.Key, err = k.passphrase(rest)
		return spec, err
	case refKeyring:
		spec.Where = "in the desktop's keyring as " + rest
		spec.Key, spec.Note, err = k.inKeyring(rest)
	case "file":
		spec.Where = "in " + rest
		spec.Key, spec.Note, err = k.inFile(rest)
	default:
		spec.Where = "from a command"
		spec.Key, err = followRef(k.env, ref, "the key of the cache")
	}
	if err != nil {
		return spec, err
	}
	if spec.Key = []byte(strings.TrimSpace(string(spec.Key))); len(spec.Key) < minCacheKey {
		return spec, &failure{
			What: "cache-key", Why: fmt.Sprintf("the key %s is too short: %d characters", spec.Where, len(spec.Key)),
			Do: "a key is random: head -c 32 /dev/urandom | base64. Something to remember is a passphrase: cache-key = \"passphrase\"", Code: exitConfig,
		}
	}
	return spec, nil
}

// ephemeral takes the key that the kernel keeps until the next boot, or where it keeps none, one for this mount alone.
func (k *cacheKeys) ephemeral(spec *atRestSpec, name string) {
	key, err := k.kernel.get(kernelName(name))
	if err == nil {
		spec.Key, spec.Where = key, "in the kernel's keyring until the next boot"
		return
	}
	spec.Key = make([]byte, keySize)
	rand.Read(spec.Key)
	spec.Where = "in the memory of this mount only"
	spec.Note = "the kernel keeps no keys here (" + lastCause(err) + "): what is fetched now can be read until unmount only. cache-key = \"file:PATH\" keeps it longer"
}

func kernelName(name string) string {
	if name == "" {
		return kernelKey
	}
	return kernelKey + ":" + name
}

func (k *cacheKeys) inKeyring(name string) (key []byte, note string, err error) {
	secret, err := k.desktop.get(name)
	if errors.Is(err, errNoSecret) {
		secret = newKeyText()
		if err = k.desktop.set(name, secret); err == nil {
			secret, err = k.desktop.get(name)
			note = "made a key for the cache in the desktop's keyring: " + name
		}
	}
	if err != nil {
		_, err = fromKeyring(failedStore{k.desktop, err}, name)
	}
	return []byte(secret), note, err
}

// failedStore answers what was answered already.
type failedStore struct {
	secretStore
	err error
}

func (s failedStore) get(string) (string, error) { return "", s.err }

func (k *cacheKeys) inFile(path string) (key []byte, note string, err error) {
	for _, dir := range []string{k.places.cache, k.places.state} {
		if below, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(below) {
			return nil, "", &failure{
				What: "cache-key", Why: path + " lies beside what it protects",
				Do: "keep it elsewhere, such as in " + quote("file:~/.config/studyfs/cache.key"), Code: exitConfig,
			}
		}
	}
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		made, err := writeNew(path, []byte(newKeyText()+"\n"))
		if err != nil {
			return nil, "", &failure{What: "cannot make the key of the cache, " + path, Why: lastCause(err), Do: "give another place with cache-key", Code: exitCannotCreate}
		}
		if made {
			note = "made a key for the cache: " + path
		}
	}
	key, err = readSecretFile(path)
	return key, note, err
}

func newKeyText() string {
	key := make([]byte, keySize)
	rand.Read(key)
	return madeKey + base64.StdEncoding.EncodeToString(key)
}

// forget destroys the keys that are only good for caches, so that copies of what was removed, in backups or in the unused blocks of a disk, cannot
// be read either. It tells what it could not, or must not, destroy.
func (k *cacheKeys) forget(refs []string) (left []string) {
	os.Remove(k.passphraseFile()) //nolint:errcheck // it holds no key; without it another passphrase can be chosen
	for _, ref := range refs {
		scheme, rest, _ := strings.Cut(ref, ":")
		var err error
		switch scheme {
		case refEphemeral:
			err = k.kernel.remove(kernelName(rest))
			if noKernelKeys(err) {
				err = nil
			}
		case refKeyring:
			secret, getErr := k.desktop.get(rest)
			if getErr != nil || !strings.HasPrefix(secret, madeKey) {
				continue
			}
			err = k.desktop.remove(rest)
		case "file":
			text, readErr := readSecretFile(rest)
			switch {
			case readErr != nil:
				continue
			case !strings.HasPrefix(string(text), madeKey):
				left = append(left, "the key in "+rest+" was not made by studyfs, and stays")
				continue
			}
			err = os.Remove(rest)
		}
		if err != nil {
			left = append(left, "the key "+ref+" could not be destroyed: "+lastCause(err))
		}
	}
	return left
}

// cacheKeyRefs lists where the configuration has keys of caches, and where it has them without one.
func (l *loaded) cacheKeyRefs() []string {
	refs := map[string]bool{refEphemeral: true}
	for _, name := range append(slices.Sorted(maps.Keys(l.Source)), "") {
		c, err := l.source(name)
		if err != nil || c.CacheKey == "" {
			continue
		}
		on := true
		c.EncryptCache = &on
		if spec, err := buildAtRest(c); err == nil {
			refs[spec.Ref] = true
		}
	}
	return slices.Sorted(maps.Keys(refs))
}
