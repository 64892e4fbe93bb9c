package azure

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"studyfs/backends"
)

// Key is what opens an account or a part of it: the account's key, a shared access signature (SAS), or an access token of an identity.
type Key struct {
	text    backends.Secret
	sas     bool
	token   bool
	expires time.Time // of a token; zero where it does not tell
}

// ErrKey says that a text is no key. What the text is, no error says.
var ErrKey = errors.New("neither an account key, nor a shared access signature (SAS), nor an access token")

// ParseKey reads a key as the portal shows it: an account key, a SAS token, a SAS URL, or a connection string with one of them. Or an access
// token of Microsoft Entra, as it is or as "az account get-access-token" prints it.
func ParseKey(text string) (Key, error) {
	text = strings.Trim(strings.TrimSpace(text), `"`)
	if k, ok := parseToken(text); ok {
		return k, nil
	}
	for part := range strings.SplitSeq(text, ";") {
		name, value, found := strings.Cut(part, "=")
		if found && (name == "AccountKey" || name == "SharedAccessSignature") {
			return ParseKey(value)
		}
	}
	if _, query, isURL := strings.Cut(text, "?"); isURL {
		text = query
	}
	if values, err := url.ParseQuery(text); err == nil && values.Get("sig") != "" && values.Get("sv") != "" {
		return Key{text: backends.NewSecret(text), sas: true}, nil
	}
	if raw, err := base64.StdEncoding.DecodeString(text); err != nil || len(raw) < 32 {
		return Key{}, ErrKey
	}
	return Key{text: backends.NewSecret(text)}, nil
}

// IsSAS tells a shared access signature from an account's key.
func (k Key) IsSAS() bool { return k.sas }

// IsToken tells an access token, which ends within a day, from the others.
func (k Key) IsToken() bool { return k.token }

// Reveal returns the key as ParseKey takes it, without what stood around it: for whoever passes it on or keeps it out of logs.
func (k Key) Reveal() string { return k.text.Reveal() }

// Credentials are a way to come by a key. The zero value is Anonymous.
type Credentials struct {
	key  Key
	path string // of the file that the key is from; "" for none
	read func() (Key, error)
}

// Anonymous shows no key.
func Anonymous() Credentials { return Credentials{} }

// Static uses the given key.
func Static(k Key) Credentials { return Credentials{key: k} }

// StaticFrom uses the given key, which read has read from the file at path. When the file has changed, read is called again, so that
// whoever puts a new key there need not mount again; should it fail, the key that there is stays. read may be called from any
// goroutine, never twice at once.
func StaticFrom(k Key, path string, read func() (Key, error)) Credentials {
	return Credentials{key: k, path: path, read: read}
}

// Renewed uses the given token, and asks read for another one shortly before it ends. read may take its time, and may be called from any
// goroutine, never twice at once. Should it fail, requests fail with backends.ErrAuth from the end of the token on.
func Renewed(k Key, read func() (Key, error)) Credentials { return Credentials{key: k, read: read} }

// Rekey shows the key of c from now on, in the place of that which Options named. Requests that are under way end with the old one. After
// an error, backends.ErrAuth, nothing has changed. It is safe for concurrent use.
func (s *Source) Rekey(c Credentials) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.o.Credentials
	s.o.Credentials = c
	client, err := s.dial(c.key)
	if err != nil {
		s.o.Credentials = before
		return err
	}
	s.client, s.looked, s.stamp = client, s.o.Now(), ""
	if c.path != "" {
		s.stamp = stampOf(c.path)
	}
	return nil
}

// rekeyEvery is how often the file that holds a key is looked at, while there are requests.
const rekeyEvery = 2 * time.Second

// fresh returns the key that the file holds, if it has changed since the last look. The caller holds mu.
func (s *Source) fresh() (Key, bool) {
	c, now := s.o.Credentials, s.o.Now()
	if c.path == "" || now.Sub(s.looked) < rekeyEvery {
		return Key{}, false
	}
	s.looked = now
	stamp := stampOf(c.path)
	if stamp == s.stamp {
		return Key{}, false
	}
	k, err := c.read()
	if err != nil { // half written, or gone: the next look may be luckier
		return Key{}, false
	}
	s.stamp = stamp
	return k, true
}

// stampOf changes when the file does.
func stampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}
