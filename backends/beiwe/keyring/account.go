package keyring

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"studyfs/backends"
)

// detailError tells what is wrong with something; that it is is kind. It wraps nothing, so that who shows only the innermost
// error of a chain shows the detail.
type detailError struct {
	kind error
	text string
}

func (e *detailError) Error() string { return e.text }

// Is makes errors.Is find the kind.
func (e *detailError) Is(target error) bool { return target == e.kind }

func notAccount(format string, args ...any) error {
	return &detailError{ErrAccount, fmt.Sprintf(format, args...)}
}

// The variables that mano reads where no keyring is named.
const (
	envURL       = "BEIWE_URL"
	envUsername  = "BEIWE_USERNAME"
	envPassword  = "BEIWE_PASSWORD"
	envAccessKey = "BEIWE_ACCESS_KEY"
	envSecretKey = "BEIWE_SECRET_KEY"
)

// FromEnvironment returns the account that BEIWE_URL, BEIWE_ACCESS_KEY and BEIWE_SECRET_KEY tell of; BEIWE_USERNAME and
// BEIWE_PASSWORD may be missing. There is no variable for the secrets of studies. get returns "" for what is not set. The
// error is ErrAccount and names the variables that are missing or wrong.
func FromEnvironment(get func(string) string) (Account, error) {
	var missing []string
	for _, name := range []string{envURL, envAccessKey, envSecretKey} {
		if get(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return Account{}, fmt.Errorf("environment: %w", notAccount("%s not set", strings.Join(missing, " and ")))
	}
	a := Account{
		URL: get(envURL), Username: get(envUsername), Password: backends.NewSecret(get(envPassword)),
		AccessKey: backends.NewSecret(get(envAccessKey)), SecretKey: backends.NewSecret(get(envSecretKey)),
		Secrets: map[string]backends.Secret{},
	}
	if err := a.check(labels{envURL, envAccessKey, envSecretKey}); err != nil {
		return Account{}, fmt.Errorf("environment: %w", err)
	}
	return a, nil
}

// fields are a section's. Names are matched exactly, as mano does; encoding/json would also take "url" for "URL".
type fields map[string]json.RawMessage

func fieldsOf(raw json.RawMessage) (fields, error) {
	var f fields
	if json.Unmarshal(raw, &f) != nil || f == nil {
		return nil, notAccount("it is not a JSON object")
	}
	return f, nil
}

// has reports whether there is such a field, and more than null in it.
func (f fields) has(name string) bool {
	raw, ok := f[name]
	return ok && string(raw) != "null"
}

// text reads a field; where it may be missing, that is "".
func (f fields) text(name string, required bool) (string, error) {
	var text string
	switch {
	case !f.has(name):
		if required {
			return "", notAccount("%s is missing", name)
		}
		return "", nil
	case json.Unmarshal(f[name], &text) != nil:
		return "", notAccount("%s is not a text", name)
	}
	return text, nil
}

func (f fields) secrets(name string) (map[string]backends.Secret, error) {
	all := map[string]backends.Secret{}
	if !f.has(name) {
		return all, nil
	}
	byStudy, err := fieldsOf(f[name])
	if err != nil {
		return nil, notAccount("%s is not a JSON object", name)
	}
	for _, study := range slices.Sorted(maps.Keys(byStudy)) {
		text, err := byStudy.text(study, false)
		if err != nil {
			return nil, notAccount("the passphrase of %s in %s is not a text", strconv.Quote(study), name)
		}
		if text != "" {
			all[study] = backends.NewSecret(text)
		}
	}
	return all, nil
}

func readAccount(raw json.RawMessage) (Account, error) {
	f, err := fieldsOf(raw)
	if err != nil {
		return Account{}, err
	}
	var texts [5]string
	for i, name := range []string{"URL", "ACCESS_KEY", "SECRET_KEY", "USERNAME", "PASSWORD"} {
		if texts[i], err = f.text(name, i < 3); err != nil {
			return Account{}, err
		}
	}
	a := Account{
		URL: texts[0], AccessKey: backends.NewSecret(texts[1]), SecretKey: backends.NewSecret(texts[2]),
		Username: texts[3], Password: backends.NewSecret(texts[4]),
	}
	if a.Secrets, err = f.secrets("SECRETS"); err != nil {
		return Account{}, err
	}
	err = a.check(labels{"URL", "ACCESS_KEY", "SECRET_KEY"})
	return a, err
}

// labels say what the fields are called where they come from.
type labels struct{ url, accessKey, secretKey string }

func (a *Account) check(l labels) error {
	if wrong := wrongURL(a.URL); wrong != "" {
		return notAccount("%s %s", l.url, wrong)
	}
	if wrong := wrongKey(a.AccessKey); wrong != "" {
		return notAccount("%s %s", l.accessKey, wrong)
	}
	if wrong := wrongKey(a.SecretKey); wrong != "" {
		return notAccount("%s %s", l.secretKey, wrong)
	}
	a.URL = strings.TrimRight(a.URL, "/")
	return nil
}

// wrongURL says what is wrong with an address without showing it.
func wrongURL(address string) string {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return "is empty"
	case err != nil:
		return "is not an address"
	case u.User != nil:
		return "must not hold a user or a password"
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return "is not an address such as https://studies.beiwe.org"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "must be the address of the site alone, without ? or #"
	case u.Scheme == "http" && !backends.Loopback(u.Hostname()):
		return "begins with http, which would send the keys over the network in clear: use https"
	}
	return ""
}

// wrongKey looks at the characters only: keys have 64 of them today, which is the server's affair.
func wrongKey(key backends.Secret) string {
	strange := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '/'
	}
	switch {
	case key.Empty():
		return "is empty"
	case strings.ContainsFunc(key.Reveal(), strange):
		return "holds a character that keys do not have (letters, digits, + and /): was a space or a quote copied with it?"
	}
	return ""
}
