package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"studyfs/backends/s3"
)

const (
	maxKeysFile = 1 << 20
	gitTimeout  = 10 * time.Second
	cmdTimeout  = 2 * time.Minute // someone may have to type a passphrase
)

// readKeys fetches what c.Keys refers to. The keys go into s.KeysCSV and nowhere else.
func (s *sourceSpec) readKeys(c sourceConfig) (notices []string, err error) {
	if c.inHand != nil {
		s.KeysFrom, s.KeysCSV = c.inHand.from, c.inHand.text
		return nil, s.checkKeys()
	}
	scheme, rest, ok := strings.Cut(c.Keys, ":")
	if !ok {
		scheme, rest = "file", c.Keys
	}
	s.KeysFrom, s.KeysRef = rest, scheme+":"+rest
	switch scheme {
	case "file":
		if path, err := filepath.Abs(expandHome(rest)); err == nil {
			s.KeysRef = "file:" + path
		}
		s.KeysCSV, notices, err = readKeysFile(expandHome(rest), c.InsecureKeys)
	case "cmd":
		s.KeysFrom = "the output of " + rest
		s.KeysCSV, err = keysFromCommand(rest)
	case refKeyring:
		s.KeysFrom = "the desktop's keyring (" + rest + ")"
		s.KeysCSV, err = fromKeyring(newDesktopKeys(processEnvironment()), rest)
	case "aws-profile":
		s.KeysFrom, s.KeysRef, s.Profile = "", "", rest
		return nil, nil
	default:
		return nil, &failure{
			What: "keys", Why: "does not say where the keys are", // what it says may be a key: not shown
			Do: "write file:KEYS.csv, keyring:NAME, aws-profile:NAME or cmd:COMMAND; the keys themselves do not belong here", Code: exitConfig,
		}
	}
	if err == nil {
		err = s.checkKeys()
	}
	if err != nil {
		return nil, err
	}
	return notices, nil
}

// checkKeys refuses what is no keys file.
func (s *sourceSpec) checkKeys() error {
	if _, err := s3.ReadKeys(bytes.NewReader(s.KeysCSV)); err != nil {
		return &failure{
			What: s.KeysFrom, Why: lastCause(err),
			Do: "it must be the Data Access Keys CSV as the portal gives it, with access key ID, secret access key and S3 access URL", Code: exitConfig,
		}
	}
	return nil
}

// keyWatch reads keys again, and tells when they are others.
type keyWatch struct {
	path    string
	changed func()

	mu   sync.Mutex // guards last
	last string     // the id of the key
}

func (k *keyWatch) read() (s3.Keys, error) {
	keys, err := rereadKeys(k.path)
	if err != nil {
		return keys, err
	}
	k.mu.Lock()
	news := k.last != keys.AccessKey
	k.last = keys.AccessKey
	k.mu.Unlock()
	if news {
		k.changed()
	}
	return keys, nil
}

// rereadKeys reads a keys file that has changed while it was in use. One that others can read by now is not taken.
func rereadKeys(path string) (s3.Keys, error) {
	text, _, err := readKeysFile(path, false)
	if err != nil {
		return s3.Keys{}, err
	}
	return s3.ReadKeys(bytes.NewReader(text))
}

// keysURL is the S3 access URL in the keys file.
func (s *sourceSpec) keysURL() (string, error) {
	keys, err := s3.ReadKeys(bytes.NewReader(s.KeysCSV))
	if err == nil && keys.URL == "" {
		err = errors.New("it holds no S3 access URL")
	}
	if err != nil {
		return "", &failure{
			What: s.KeysFrom, Why: lastCause(err),
			Do: "add the column S3 ACCESS URL as the portal shows it, or give url = \"s3://...\" in the configuration", Code: exitConfig,
		}
	}
	return keys.URL, nil
}

// readKeysFile refuses a file that others can read, as ssh does with its keys: whoever made it so does not know it, and
// the keys open the data of all participants.
func readKeysFile(path string, insecure bool) (text []byte, notices []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		why := &failure{What: path, Why: lastCause(err), Do: "give the path of the Data Access Keys CSV that the portal lets you download", Code: exitConfig}
		if errors.Is(err, os.ErrPermission) {
			why.Do, why.Code = "it must be yours: chown, chmod 600", exitPermission
		}
		return nil, nil, why
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("keys file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &failure{What: path, Why: "not a file", Do: "give the path of the Data Access Keys CSV", Code: exitConfig}
	}
	var problems []error
	if err := keysMode(path, info); err != nil {
		problems = append(problems, err)
	}
	notice, err := keysInGit(path)
	if err != nil {
		problems = append(problems, err)
	}
	if notice != "" {
		notices = append(notices, notice)
	}
	if len(problems) > 0 && !insecure {
		return nil, nil, problems[0]
	}
	for _, p := range problems {
		notices = append(notices, "accepted because of --insecure-keys-file: "+firstLine(p.Error()))
	}
	if text, err = io.ReadAll(io.LimitReader(f, maxKeysFile)); err != nil {
		return nil, nil, &failure{What: path, Why: lastCause(err), Code: exitIO}
	}
	return text, notices, nil
}

func keysMode(path string, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(stat.Uid) != os.Geteuid() && stat.Uid != 0 && os.Geteuid() != 0 {
		return &failure{What: path, Why: "the keys file belongs to another user", Do: "make a copy of your own and chmod 600 it", Code: exitPermission}
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return &failure{
			What: path, Why: fmt.Sprintf("others on this machine can read the keys (mode %04o)", mode),
			Do: "chmod 600 " + quote(path) + "\nwhere that is not possible: --insecure-keys-file", Code: exitPermission,
		}
	}
	return nil
}

// keysInGit refuses keys that git keeps, and warns of keys that the next "git add" would add: keys in published
// repositories are the commonest leak there is.
func keysInGit(path string) (notice string, err error) {
	file, err := filepath.EvalSymlinks(path)
	if err == nil {
		file, err = filepath.Abs(file)
	}
	if err != nil {
		return "", fmt.Errorf("keys file: %w", err)
	}
	dir := filepath.Dir(file)
	if !inWorkTree(dir) {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), gitTimeout)
	defer cancel()
	git := func(args ...string) error {
		// A repository's own configuration may name a program to run at every command: not for us.
		return exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.fsmonitor=false"}, args...)...).Run()
	}
	switch {
	case git("ls-files", "--error-unmatch", "--", file) == nil:
		return "", &failure{
			What: path, Why: "the keys file is kept in a git repository: whoever can read that has the keys",
			Do:   "revoke these keys in the portal, create new ones and keep them outside (git rm --cached " + quote(filepath.Base(path)) + ")",
			Code: exitPermission,
		}
	case git("check-ignore", "-q", "--", file) == nil:
		return "", nil
	}
	return path + " lies in a git repository that does not ignore it: move it out, or add it to .gitignore", nil
}

// inWorkTree reports whether dir or a parent has a .git.
func inWorkTree(dir string) bool {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return false
		}
		dir = up
	}
}

func keysFromCommand(command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cmdTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, &failure{What: "the command that prints the keys", Why: err.Error(), Do: "try it by hand: " + command, Code: exitPermission}
	}
	return text, nil
}

func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

// quote makes a path safe to paste into a shell.
func quote(path string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,@%", r)
	}
	if path != "" && !strings.ContainsFunc(path, func(r rune) bool { return !safe(r) }) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
