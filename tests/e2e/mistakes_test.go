package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// mistake is something that a user gets wrong, and what the program must say to it.
type mistake struct {
	name string
	code int
	says []string // in the message, whatever its case
	args func(t *testing.T, e *harness.Env, srv *s3test.Server, url string) []string
}

// neverShown is what belongs to programmers and not into a message.
var neverShown = []string{"goroutine", "panic", "%!", "StatusCode", "https response", "smithy", "*main.", "*errors.", "sourceSpec", "<nil>", harness.Secret}

func organisation(e *harness.Env, url, address string) []string {
	return []string{"mount", "empatica:" + e.KeysFile(address), "--endpoint-url", url, filepath.Join(e.Home, "mnt")}
}

func typed(args ...string) func(*testing.T, *harness.Env, *s3test.Server, string) []string {
	return func(_ *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
		full := make([]string, 0, len(args))
		for _, arg := range args {
			full = append(full, strings.NewReplacer("HOME", e.Home, "ENDPOINT", url).Replace(arg))
		}
		return full
	}
}

// configured writes a configuration and mounts the source "a" of it.
func configured(text string) func(*testing.T, *harness.Env, *s3test.Server, string) []string {
	return func(t *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
		path := filepath.Join(e.Home, "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"--config", path, "mount", "a", filepath.Join(e.Home, "mnt")}
	}
}

// faulty has every answer of the server go wrong.
func faulty(f s3test.Fault) func(*testing.T, *harness.Env, *s3test.Server, string) []string {
	return func(_ *testing.T, e *harness.Env, srv *s3test.Server, url string) []string {
		srv.Inject(s3test.Rule{Fault: f})
		e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_RETRY=300ms")
		return organisation(e, url, "s3://study/v2/4711/")
	}
}

// keysOfService are mistakes with keys and with what they open.
func keysOfService() []mistake {
	return []mistake{
		{"expired key", 77, []string{"expired", "portal"}, func(_ *testing.T, e *harness.Env, srv *s3test.Server, url string) []string {
			srv.Expire(harness.ID)
			return organisation(e, url, "s3://study/v2/4711/")
		}},
		{"mistyped secret", 77, []string{"secret access key", "keys.csv"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			args := organisation(e, url, "s3://study/v2/4711/")
			path := filepath.Join(e.Home, "keys.csv")
			text, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, []byte(strings.Replace(string(text), harness.Secret, strings.ToUpper(harness.Secret), 1)), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			return args
		}},
		{"clock off by a day", 77, []string{"clock", "timedatectl"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			_, url := harness.Strict(t, "", s3test.Options{Now: func() time.Time { return time.Now().Add(-24 * time.Hour) }})
			return organisation(e, url, "s3://study/v2/4711/")
		}},
		{"keys for another folder", 77, []string{"limited to a folder"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			e.Profile("lab")
			return []string{"mount", "s3://study/other/", "--profile", "lab", "--region", "us-east-1", "--endpoint-url", url, filepath.Join(e.Home, "mnt")}
		}},
		{"no such profile", 77, []string{"profile nosuch", "aws configure"}, typed("mount", "s3://study/v2/", "--profile", "nosuch", "--region", "us-east-1", "--endpoint-url", "ENDPOINT", "HOME/mnt")},
		{"not a keys file", 78, []string{"csv", "access key id"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			path := filepath.Join(e.Home, "thesis.csv")
			if err := os.WriteFile(path, []byte("hello\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{"mount", "empatica:" + path, filepath.Join(e.Home, "mnt")}
		}},
		{"login page in between", 74, []string{"login page"}, faulty(s3test.Garbage)},
		{"overloaded", 75, []string{"overloaded", "later"}, faulty(s3test.SlowDown)},
	}
}

// beiweAccounts are mistakes with mano's keyring.
func beiweAccounts() []mistake {
	const ring = `{"lab": {"URL": "http://127.0.0.1:1", "ACCESS_KEY": "a", "SECRET_KEY": "b"}}`
	from := func(section, passphrase string) func(*testing.T, *harness.Env, *s3test.Server, string) []string {
		return func(_ *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			e.Vars = append(e.Vars, "NRG_KEYRING_PASS="+passphrase)
			return []string{"mount", "beiwe:" + section, "--keyring", e.Keyring(ring, "right"), filepath.Join(e.Home, "mnt")}
		}
	}
	return []mistake{
		{"wrong passphrase", 77, []string{"keyring.enc", "nrg_keyring_pass"}, from("lab", "wrong")},
		{"unknown section", 78, []string{"no section", "did you mean beiwe:lab"}, from("lap", "right")},
		{"no keyring", 78, []string{"--keyring"}, typed("mount", "beiwe:lab", "--keyring", "HOME/none.enc", "HOME/mnt")},
		{"no account", 78, []string{"beiwe_url"}, typed("mount", "beiwe:", "HOME/mnt")},
	}
}

// typingErrors are mistakes on the command line, in the configuration and with places.
func typingErrors() []mistake {
	return []mistake{
		{"misspelled command", 2, []string{"did you mean studyfs mount"}, typed("monut", "s3://study/")},
		{"unknown flag", 2, []string{"--anonimous", "--help"}, typed("mount", "--anonimous", "s3://study/", "HOME/mnt")},
		{"not a size", 2, []string{"lots", "10gib"}, typed("mount", "--cache-size", "lots", "s3://study/", "HOME/mnt")},
		{"directory forgotten", 2, []string{"dir to mount at"}, typed("mount", "s3://study/")},
		{"two slashes", 2, []string{"empty folder name"}, typed("mount", "s3://study//v2/", "HOME/mnt")},
		{"password in the address", 2, []string{"password"}, typed("mount", "s3://study/", "--endpoint-url", "https://me:word@s3.example.org", "HOME/mnt")},
		{"folder of the directory is not there", 73, []string{"mkdir -p"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			args := organisation(e, url, "s3://study/v2/4711/")
			args[len(args)-1] = filepath.Join(e.Home, "no", "such", "mnt")
			return args
		}},
		{"cache where nothing can be", 73, []string{"--cache-dir"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			args := organisation(e, url, "s3://study/v2/4711/")
			return append(args, "--cache-dir", filepath.Join(e.Home, "keys.csv", "cache"))
		}},
		{"configuration is no TOML", 78, []string{"line 1", "config check"}, configured("memory = 1GiB and more\n")},
		{"kind that is none", 78, []string{"one of"}, configured("[source.a]\nkind = \"ftp\"\n")},
		{"writing where nothing can be written", 78, []string{"only s3"}, configured("[source.a]\nkind = \"empatica\"\nkeys = \"file:k.csv\"\nwrite = true\n")},
		{"key itself in the configuration", 78, []string{"keys themselves"}, configured("[source.a]\nkind = \"empatica\"\nkeys = \"AKIA:" + harness.Secret + "\"\n")},
	}
}
