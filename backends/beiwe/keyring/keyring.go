// Package keyring reads the encrypted keyrings of mano, the Python client of Beiwe: where a deployment is, which keys open
// it, and the passphrases that studies lock their files with.
//
// A keyring is a container of package cryptease around a JSON object of sections, one per deployment:
//
//	{"beiwe.onnela": {"URL": "https://studies.beiwe.org", "USERNAME": "u", "PASSWORD": "p",
//	                  "ACCESS_KEY": "…", "SECRET_KEY": "…", "SECRETS": {"name of a study": "passphrase"}}}
//
// URL and the two keys are what data needs; the rest may be missing. Sections of other programs may stand beside them.
//
// No error of this package holds anything of a value: not of a key, and not of an address, in which a password may stand. The
// innermost error of a chain tells the whole reason; errors.Is tells which of the Err… it is.
package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"studyfs/backends"
	"studyfs/backends/crypt/cryptease"
)

var (
	// ErrPassphrase says that a container does not hold a keyring under this passphrase. Which of the two is wrong cannot
	// be told, since the format has no check of its own.
	ErrPassphrase = errors.New("wrong passphrase, or not a keyring")
	// ErrSyntax says that a text is not a JSON object.
	ErrSyntax = errors.New("not a keyring: it has to be a JSON object of sections")
	// ErrNoSection says that a keyring has no section of a name.
	ErrNoSection = errors.New("no such section in the keyring")
	// ErrAccount says that what a section or the environment tells of a deployment cannot be used.
	ErrAccount = errors.New("not a complete Beiwe account")
)

// Account is what opens one Beiwe deployment. Every way of printing it hides what is secret.
type Account struct {
	URL       string // absolute, https or (to this machine) http, without a slash at the end
	Username  string // of the web site; may be empty, as Password may
	AccessKey backends.Secret
	SecretKey backends.Secret
	Password  backends.Secret
	Secrets   map[string]backends.Secret // what studies lock files with, by the study's name; never nil
}

// Keyring is a decrypted keyring. It does not change, and printing it shows no more than the names of its deployments.
type Keyring struct {
	// A function, since printing a struct around a Keyring follows its fields, even pointers, and asks no method.
	sections func() map[string]json.RawMessage
}

// Read decrypts a keyring file. The error is ErrPassphrase, or cryptease.ErrFormat or ErrRandomKey where the file is no
// container that a passphrase could open.
func Read(file []byte, passphrase backends.Secret) (*Keyring, error) {
	plain, err := Decrypt(file, passphrase)
	if err != nil {
		return nil, err
	}
	return Parse(plain)
}

// Decrypt returns the JSON in a keyring file as it was written, with Read's errors. All of it is secret.
func Decrypt(file []byte, passphrase backends.Secret) ([]byte, error) {
	var plain bytes.Buffer
	if err := cryptease.Decrypt(&plain, bytes.NewReader(file), []byte(passphrase.Reveal())); err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	if _, err := Parse(plain.Bytes()); err != nil {
		return nil, fmt.Errorf("open keyring: %w", ErrPassphrase)
	}
	return plain.Bytes(), nil
}

// Parse reads the JSON of a keyring. The error is ErrSyntax and says where the text is wrong; it holds nothing of it.
func Parse(plain []byte) (*Keyring, error) {
	var raw map[string]json.RawMessage
	err := json.Unmarshal(plain, &raw)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := plain[:min(max(syntax.Offset-1, 0), int64(len(plain)))]
		column := len(before) - bytes.LastIndexByte(before, '\n')
		return nil, &detailError{ErrSyntax, fmt.Sprintf("not JSON (line %d, column %d)", bytes.Count(before, []byte("\n"))+1, column)}
	}
	if err != nil || raw == nil { // null is no object
		return nil, ErrSyntax
	}
	return &Keyring{func() map[string]json.RawMessage { return raw }}, nil
}

// Sections returns the names of the sections that look like Beiwe deployments, which have a URL, sorted.
func (k *Keyring) Sections() []string {
	var names []string
	all := k.sections()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if f, err := fieldsOf(all[name]); err == nil && f.has("URL") {
			names = append(names, name)
		}
	}
	return names
}

// Account returns what a section tells. The error is ErrNoSection and names the sections there are, or ErrAccount and
// tells which field is missing or wrong.
func (k *Keyring) Account(section string) (Account, error) {
	raw, ok := k.sections()[section]
	if !ok {
		return Account{}, &detailError{ErrNoSection, "no section " + strconv.Quote(section) + " in the keyring: " + k.offer()}
	}
	a, err := readAccount(raw)
	if err != nil {
		return Account{}, fmt.Errorf("section %s: %w", strconv.Quote(section), err)
	}
	return a, nil
}

func (k *Keyring) offer() string {
	names := k.Sections()
	if len(names) == 0 {
		return "it has none of a Beiwe deployment"
	}
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return "it has " + strings.Join(names, ", ")
}

// String tells the names of the deployments.
func (k *Keyring) String() string { return "keyring: " + k.offer() }

// GoString is String.
func (k *Keyring) GoString() string { return k.String() }

// LogValue is String.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText is String, for JSON and whatever else encodes text.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
