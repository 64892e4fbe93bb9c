package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"studyfs/backends/azure"
)

// azureSpec is what a sourceSpec holds of an Azure container. The key travels with it through the pipe, and nowhere else.
type azureSpec struct {
	Account   string `json:"account"`
	Container string `json:"container"`
	Key       string `json:"key,omitempty"` // as the user's file has it: an account key, a SAS or an access token; "" where Anonymous
}

// buildAzure makes a source of its settings.
func (l *loaded) buildAzure(name string, c sourceConfig, wrongURL int) (s sourceSpec, notices []string, err error) {
	s = sourceSpec{Name: name, Kind: kindAzure, Endpoint: c.EndpointURL, Anonymous: c.Anonymous}
	if err := checkEndpoint(c.EndpointURL); err != nil {
		return s, nil, err
	}
	var added bool
	if s.Azure, s.Prefix, added, err = splitAzure(c.URL); err != nil {
		return s, nil, &failure{What: s.describeName(), Why: err.Error(), Do: "an Azure address looks like azure://account/container/prefix/", Code: wrongURL}
	}
	if !c.Anonymous {
		if notices, err = l.azureKey(&s, c); err != nil {
			return s, nil, err
		}
	}
	if added {
		notices = append(notices, "added the missing slash at the end of "+s.url())
	}
	if s.Name == "" {
		s.Name = s.deriveName()
	}
	return s, notices, nil
}

// splitAzure reads azure://account/container/prefix/. A prefix ends in a slash, as it does in splitURL.
func splitAzure(address string) (a *azureSpec, prefix string, added bool, err error) {
	rest, ok := strings.CutPrefix(address, "azure://")
	account, rest, _ := strings.Cut(rest, "/")
	container, prefix, _ := strings.Cut(rest, "/")
	switch {
	case !ok:
		return nil, "", false, fmt.Errorf("%q does not begin with azure://", address)
	case strings.Contains(address, "?"): // what follows is a signature, and addresses are seen in status and logs
		return nil, "", false, errors.New("an address must not hold a signature")
	case !azure.ValidAccount(account):
		return nil, "", false, fmt.Errorf("%q cannot be a storage account's name", account)
	case container == "":
		return nil, "", false, fmt.Errorf("%q names no container", address)
	case !azure.ValidContainer(container):
		return nil, "", false, fmt.Errorf("%q cannot be a container's name", container)
	case strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//"):
		return nil, "", false, fmt.Errorf("%q has an empty folder name between two slashes", address)
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix, added = prefix+"/", true
	}
	return &azureSpec{Account: account, Container: container}, prefix, added, nil
}

// azureKey finds the key: where the configuration says, else in the variables of Azure's own tools.
func (l *loaded) azureKey(s *sourceSpec, c sourceConfig) (notices []string, err error) {
	if c.inHand != nil {
		s.KeysFrom = c.inHand.from
		return nil, s.takeAzureKey(string(c.inHand.text))
	}
	if c.Keys == "" {
		return nil, l.azureKeyFromEnvironment(s)
	}
	scheme, rest, ok := strings.Cut(c.Keys, ":")
	if !ok {
		scheme, rest = "file", c.Keys
	}
	var text []byte
	switch scheme {
	case "file":
		s.KeysFrom = rest
		path, err := filepath.Abs(expandHome(rest))
		if err != nil {
			return nil, fmt.Errorf("keys file: %w", err)
		}
		s.KeysRef = "file:" + path
		if text, notices, err = readKeysFile(path, c.InsecureKeys); err != nil {
			return nil, azureKeyFile(err)
		}
	case "cmd":
		s.KeysFrom, s.KeysRef = "the output of "+rest, c.Keys
		if text, err = keysFromCommand(rest); err != nil {
			return nil, err
		}
	case refKeyring:
		s.KeysFrom, s.KeysRef = "the desktop's keyring ("+rest+")", c.Keys
		if text, err = fromKeyring(newDesktopKeys(l.env), rest); err != nil {
			return nil, err
		}
	default:
		return nil, &failure{
			What: "keys", Why: "does not say where the key is", // what it says may be a key: not shown
			Do: "write file:PATH, keyring:NAME or cmd:COMMAND; the key itself does not belong here", Code: exitConfig,
		}
	}
	return notices, s.takeAzureKey(string(text))
}

// azureCredentials are the key, and how to come by the next one: a file is read again when it changes, a command or a keyring is asked when
// a token ends.
func azureCredentials(key azure.Key, ref string) azure.Credentials {
	scheme, rest, _ := strings.Cut(ref, ":")
	switch {
	case scheme == "file":
		return azure.StaticFrom(key, rest, func() (azure.Key, error) { return rereadAzureKey(rest) })
	case scheme == "cmd" && key.IsToken():
		return azure.Renewed(key, func() (azure.Key, error) {
			text, err := keysFromCommand(rest)
			if err != nil {
				return azure.Key{}, err
			}
			return azure.ParseKey(string(text))
		})
	}
	return azure.Static(key)
}

// azureKeyFile has readKeysFile's messages speak of Azure.
func azureKeyFile(err error) error {
	var f *failure
	if errors.As(err, &f) && strings.Contains(f.Do, "CSV") {
		f.Do = "give the path of a file that holds an account key or a SAS, and nothing else"
	}
	return err
}

// azureKeyFromEnvironment takes the variables that Azure's command line takes, unless they are meant for another account.
func (l *loaded) azureKeyFromEnvironment(s *sourceSpec) error {
	if account := l.env.get("AZURE_STORAGE_ACCOUNT"); account == "" || account == s.Azure.Account {
		for _, name := range []string{"AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"} {
			if text := l.env.get(name); text != "" {
				s.KeysFrom = name
				return s.takeAzureKey(text)
			}
		}
	}
	return &failure{
		What: s.describe(), Why: "no key was given",
		Do: "set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN,\nname a file that holds one with keys = \"file:PATH\" in the configuration,\n" +
			"or read public data with --anonymous", Code: exitPermission,
	}
}

func (s *sourceSpec) takeAzureKey(text string) error {
	key, err := azure.ParseKey(text)
	if err != nil {
		return &failure{What: s.KeysFrom, Why: err.Error(), Do: "it must hold the key as the Azure portal shows it, and nothing else", Code: exitConfig}
	}
	if s.Azure.Key = strings.TrimSpace(text); key.IsToken() {
		s.Azure.Key = key.Reveal()
	}
	return nil
}

// connectAzure opens a container. That sends nothing.
func (m *mountServer) connectAzure(s *liveSource) error {
	o, err := azureOptions(s.spec, m.spec.Timeouts, m.log)
	if err != nil {
		return err
	}
	m.remember(s.spec, func(*known) {})
	remote, err := azure.Open(o)
	if err != nil {
		return err
	}
	s.rekey = m.rekeyAzure(remote)
	near, end, err := decrypted(remote, s.spec, m.spec.places())
	if err != nil {
		return notDecrypted(s.spec, err)
	}
	s.remote, s.end = near, end
	return nil
}

func azureOptions(s sourceSpec, t timeouts, log *slog.Logger) (azure.Options, error) {
	o := azure.Options{
		Account: s.Azure.Account, Container: s.Azure.Container, Prefix: s.Prefix, Endpoint: s.Endpoint,
		Timeouts: azure.Timeouts{Dial: t.Dial, FirstByte: t.Answer, Progress: t.Progress, Retry: t.Retry}, Log: log, Now: time.Now,
		MaxInFlight: s.MaxRequests,
	}
	if s.Anonymous {
		return o, nil
	}
	key, err := azure.ParseKey(s.Azure.Key)
	if err != nil {
		return o, fmt.Errorf("keys: %w", err)
	}
	o.Credentials = azureCredentials(key, s.KeysRef)
	return o, nil
}

// rereadAzureKey reads a key's file that has changed while it was in use. One that others can read by now is not taken.
func rereadAzureKey(path string) (azure.Key, error) {
	text, _, err := readKeysFile(path, false)
	if err != nil {
		return azure.Key{}, err
	}
	return azure.ParseKey(string(text))
}

// secrets are the parts of the key that must not be seen: all of it, and of a SAS or a connection string what makes it valid.
func (a *azureSpec) secrets() (secrets []string) {
	if a == nil {
		return nil
	}
	for part := range strings.FieldsFuncSeq(a.Key, func(r rune) bool { return strings.ContainsRune("?&;\r\n\"", r) }) {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "sig", "AccountKey":
			secrets = append(secrets, value)
		}
	}
	if len(secrets) == 0 && a.Key != "" {
		secrets = append(secrets, a.Key)
	}
	return secrets
}

// permissionHint also thinks of wrong keys: not every service tells them from good ones that may not do this.
func (a *azureSpec) permissionHint(from string) string {
	firewall := " or a firewall of the account refuses this network"
	if key, err := azure.ParseKey(a.Key); err == nil && key.IsSAS() {
		return "the SAS in " + from + " must be valid now, for this container or folder, with the permissions to read and to list (sp=rl), from this address and over this protocol;\n" + strings.TrimSpace(firewall)
	}
	return "check that " + from + " holds the key of account " + a.Account + ";" + firewall
}

func (a *azureSpec) newKeyHint(from string) string {
	return "put a valid account key or SAS of " + a.Account + " into " + cmp.Or(from, "the configuration")
}
