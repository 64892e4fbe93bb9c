package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"studyfs/backends"
	"studyfs/backends/beiwe/keyring"
)

// publicData is the answer of whoever has no keys and needs none.
const publicData = "none"

// takeKeys takes what somebody says about keys: a file to take over, a reference, a profile, or that there are none.
func (s *setup) takeKeys(answer string) error {
	info, err := os.Stat(expandHome(answer))
	switch {
	case answer == publicData || answer == "anonymous":
		s.c.Anonymous = true
		return nil
	case isReference(answer):
		if name, is := strings.CutPrefix(answer, "aws-profile:"); is {
			s.c.Profile = name
			return nil
		}
		s.c.Keys = answer
		return nil
	case err == nil && info.Mode().IsRegular():
		return s.takeKeysFile(answer)
	case slices.Contains(s.accounts, answer) && s.c.Kind != kindEmpatica:
		s.c.Profile = answer
		return nil
	}
	f := &failure{What: "setup", Why: quote(answer) + " is neither a file nor a profile of the AWS configuration", Code: exitUsage}
	f.Do = "give the path of the CSV with the keys"
	if s.c.Kind == kindEmpatica {
		f.Why = quote(answer) + " is no file"
		f.Do += ", as the Care Portal lets you download it (Data Access Keys)"
		return f
	}
	if near := nearest(answer, s.accounts); near != "" {
		f.Do = "did you mean " + near + "?\n" + f.Do
	}
	f.Do += ", the name of a profile, or none for public data"
	return f
}

// takeKeysFile takes keys over from where a browser has put them. That others can read that file is no hindrance then.
func (s *setup) takeKeysFile(path string) error {
	full := expandHome(path)
	if _, err := keysInGit(full); err != nil {
		return err
	}
	text, _, err := readKeysFile(full, true)
	if err != nil {
		return err
	}
	if s.c.Kind != kindAzure {
		if err := (&sourceSpec{KeysCSV: text, KeysFrom: path}).checkKeys(); err != nil {
			return err
		}
	}
	s.hand, s.copied = &keysInHand{text: text, from: path}, full
	return nil
}

func (s *setup) gatherEmpatica() error {
	if s.o.keys != "" {
		if err := s.takeKeys(s.o.keys); err != nil {
			return err
		}
	}
	if s.hand != nil || s.c.Keys != "" {
		return nil
	}
	return s.want(question{text: "the Data Access Keys file, as the Care Portal lets you download it", flag: "--keys KEYS.csv", take: s.takeKeys})
}

// hasKeys tells that nobody needs to be asked for keys any more.
func (s *setup) hasKeys() bool {
	return s.c.Anonymous || s.c.Profile != "" || s.hand != nil || s.c.Keys != "" || s.c.Kind == kindHCP && slices.Contains(s.accounts, hcpProfile)
}

// fromEnvironment is the answer that takes the keys that AWS's variables hold.
const fromEnvironment = "environment"

// obviousKeys are those that AWS's own tools would take, "" for none.
func (s *setup) obviousKeys() string {
	switch {
	case s.env.get("AWS_ACCESS_KEY_ID") != "":
		return fromEnvironment
	case slices.Contains(s.accounts, "default"):
		return "default"
	case len(s.accounts) == 1:
		return s.accounts[0]
	}
	return ""
}

// gatherKeys comes by the keys of a bucket.
func (s *setup) gatherKeys() error {
	if s.o.keys != "" {
		return s.takeKeys(s.o.keys)
	}
	if s.hasKeys() {
		return nil
	}
	obvious, text := s.obviousKeys(), "which keys? the path of a CSV, the name of an AWS profile, none for public data"
	if obvious == "" {
		text += " (Enter: type them)"
	}
	typed := false
	err := s.want(question{text: text, fallback: obvious, flag: "--profile NAME, --keys KEYS.csv or --anonymous", take: func(answer string) error {
		switch answer {
		case "":
			typed = true
			return nil
		case obvious:
			if answer == fromEnvironment || answer == "default" { // an S3 source without keys takes these
				return nil
			}
		}
		return s.takeKeys(answer)
	}})
	if err == nil && typed {
		return s.typeKeys()
	}
	return err
}

// typeKeys lets somebody type what a web page shows.
func (s *setup) typeKeys() error {
	var id, secret string
	err := s.want(question{text: "access key ID", flag: "--keys KEYS.csv", take: func(answer string) error { return someKey(answer, &id) }})
	if err == nil {
		err = s.want(question{text: "secret access key (not shown)", flag: "--keys KEYS.csv", hidden: true, take: func(answer string) error { return someKey(answer, &secret) }})
	}
	s.hand = &keysInHand{text: demoKey{id, secret}.csv(""), from: "what was typed"}
	return err
}

func someKey(answer string, into *string) error {
	if answer == "" || strings.ContainsAny(answer, " ,\"\t") {
		return &failure{What: "setup", Why: "that cannot be a key", Do: "copy it whole, without blanks and quotes", Code: exitUsage}
	}
	*into = answer
	return nil
}

func (s *setup) gatherAzureKey() error {
	switch {
	case s.o.keys != "":
		return s.takeKeys(s.o.keys)
	case s.c.Anonymous, s.l.azureKeyFromEnvironment(&sourceSpec{Azure: &azureSpec{}}) == nil:
		return nil
	}
	return s.want(question{
		text: "the file with an account key or a SAS, or none for public data", flag: "--keys FILE or --anonymous", take: s.takeKeys,
	})
}

// takeBeiwe takes a section, a server's address, or a keyring.
func (s *setup) takeBeiwe(where string) error {
	info, err := os.Stat(expandHome(where))
	switch {
	case strings.HasPrefix(where, "https://") || strings.HasPrefix(where, "http://"):
		s.c.URL = where // for the questions: gatherBeiwe puts it where it belongs
	case err == nil && info.Mode().IsRegular():
		path, err := filepath.Abs(expandHome(where))
		if err != nil {
			return &failure{What: where, Why: lastCause(err), Code: exitError}
		}
		s.c.Keyring = path
	default:
		s.c.Section = where
	}
	return nil
}

// gatherBeiwe comes by an account: of a keyring where there is one, of the BEIWE_* variables, or typed.
func (s *setup) gatherBeiwe() error {
	server := s.c.URL
	s.c.URL = ""
	switch {
	case s.o.keys != "":
		return s.referToAccount(s.o.keys)
	case server != "":
		return s.typeAccount(server)
	case s.c.Keyring != "" || s.c.Section != "" || isFile(defaultKeyring):
		return s.gatherSection()
	case s.env.get("BEIWE_ACCESS_KEY") != "":
		account, err := keyring.FromEnvironment(s.env.get)
		if err != nil {
			return &failure{What: "setup", Why: lastCause(err), Do: "set BEIWE_URL, BEIWE_ACCESS_KEY and BEIWE_SECRET_KEY", Code: exitConfig}
		}
		s.hand = s.inHand(account, "the BEIWE_* variables")
		return nil
	}
	err := s.want(question{text: "the server's address, such as https://studies.beiwe.org, or mano's keyring file", flag: "--url https://SERVER, or --keyring FILE", take: s.takeBeiwe})
	if err != nil {
		return err
	}
	if server = s.c.URL; server == "" {
		return s.gatherSection()
	}
	s.c.URL = ""
	return s.typeAccount(server)
}

// referToAccount leaves a keyring in clear where it is.
func (s *setup) referToAccount(where string) error {
	if isReference(where) {
		s.c.Keys = where
		return nil
	}
	path, err := filepath.Abs(expandHome(where))
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	s.c.Keys = "file:" + path
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(expandHome(path))
	return err == nil && info.Mode().IsRegular()
}

func (s *setup) typeAccount(server string) error {
	var access, secret string
	const flag = "--keyring FILE --section NAME, or set BEIWE_URL, BEIWE_ACCESS_KEY and BEIWE_SECRET_KEY"
	err := s.want(question{text: "access key, of the page Manage My Credentials", flag: flag, take: func(answer string) error { return someKey(answer, &access) }})
	if err == nil {
		err = s.want(question{text: "secret key (not shown)", flag: flag, hidden: true, take: func(answer string) error { return someKey(answer, &secret) }})
	}
	s.hand = s.inHand(keyring.Account{URL: server, AccessKey: backends.NewSecret(access), SecretKey: backends.NewSecret(secret)}, "what was typed")
	return err
}

// inHand is an account as a keyring in clear.
func (s *setup) inHand(a keyring.Account, from string) *keysInHand {
	section := cmp.Or(s.c.Section, kindBeiwe)
	text, err := json.Marshal(map[string]any{section: map[string]string{"URL": a.URL, "ACCESS_KEY": a.AccessKey.Reveal(), "SECRET_KEY": a.SecretKey.Reveal()}})
	if err != nil {
		text = nil // strings can be written
	}
	return &keysInHand{text: text, from: from}
}

// gatherSection finds the section of a keyring. It stays where it is: the account is only tried.
func (s *setup) gatherSection() error {
	ring, path, err := openRing(s.c, func(what string) (passphrase backends.Secret, err error) {
		if text := s.env.get(envKeyringPass); text != "" {
			return backends.NewSecret(text), nil
		}
		err = s.want(question{text: "passphrase of " + what + " (not shown)", hidden: true, flag: "the variable " + envKeyringPass, take: func(answer string) error {
			passphrase = backends.NewSecret(answer)
			return nil
		}})
		return passphrase, err
	})
	if err != nil {
		return err
	}
	if all := ring.Sections(); s.c.Section == "" {
		switch len(all) {
		case 0:
			return &failure{What: path, Why: "it has no section with the URL of a Beiwe server", Do: "studyfs config keyring show " + quote(path), Code: exitConfig}
		case 1:
			s.c.Section = all[0]
		default:
			if err := s.want(question{text: "which section? " + strings.Join(all, ", "), fallback: all[0], flag: "--section NAME", take: func(answer string) error {
				_, err := accountOf(ring, path, answer)
				s.c.Section = answer
				return err
			}}); err != nil {
				return err
			}
		}
	}
	account, err := accountOf(ring, path, s.c.Section)
	s.proof = s.inHand(account, "section "+s.c.Section+" of "+path)
	return err
}

// awsProfiles are the profiles that AWS's own tools know, in the order of the files.
func awsProfiles(env environment) []string {
	var all []string
	for _, f := range []struct{ variable, name string }{{"AWS_SHARED_CREDENTIALS_FILE", "credentials"}, {"AWS_CONFIG_FILE", "config"}} {
		path := env.get(f.variable)
		if path == "" {
			path = filepath.Join(env.get("HOME"), ".aws", f.name)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(raw))
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			name, ok := strings.CutSuffix(strings.TrimPrefix(line, "["), "]")
			if !ok || !strings.HasPrefix(line, "[") || strings.HasPrefix(name, "sso-session ") || strings.HasPrefix(name, "services ") {
				continue
			}
			if name = strings.TrimSpace(strings.TrimPrefix(name, "profile ")); !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}
