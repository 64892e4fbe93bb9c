// Package setup runs what people do first, at a terminal: from an empty home to the first ls.
package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// Somebody with an empty home and one of the three commonest sources sees its files after three typed lines at most, and a command line is
// one of them.
func TestFromNothingToTheFirstListing(t *testing.T) {
	s := harness.StartDemo(t)
	for _, c := range []struct {
		name  string
		args  []string
		home  func(t *testing.T, e *harness.Env)
		lines []string
		dir   string
		has   string
	}{
		{"empatica, asked", nil, nil, []string{s.Empatica.KeysCSV, ""}, "empatica", "1"},
		{"empatica, told", []string{"empatica", s.Empatica.KeysCSV}, nil, []string{""}, "empatica", "1"},
		{"beiwe", []string{"beiwe"}, func(t *testing.T, e *harness.Env) {
			raw, err := os.ReadFile(s.Beiwe.Keyring)
			if err == nil {
				err = os.WriteFile(filepath.Join(e.Home, ".nrg-keyring.enc"), raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, []string{s.Beiwe.Passphrase, ""}, "beiwe", "Sleep and Mood"},
		{"s3", []string{"s3://bids-demo/"}, func(t *testing.T, e *harness.Env) {
			text := "[lab]\naws_access_key_id = " + s.S3.AccessKey + "\naws_secret_access_key = " + s.S3.SecretKey + "\n"
			if err := os.WriteFile(filepath.Join(e.Home, ".aws", "credentials"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"lab", "yes"}, "bids-demo", "dataset_description.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := harness.New(t)
			if c.home != nil {
				c.home(t, e)
			}
			dir := filepath.Join(e.Home, "Studies", c.dir)
			e.UnmountAtEnd(dir)
			args := append([]string{"setup"}, c.args...)
			if c.dir != "beiwe" {
				args = append(args, "--endpoint-url", s.S3.Endpoint)
			}
			begun := time.Now()
			r, typed := e.AtTerminal(c.lines, args...)
			t.Logf("%d lines typed, and the command; %s", typed, time.Since(begun).Round(time.Millisecond))
			if r.Code != 0 || typed != len(c.lines) || typed+1 > 3 {
				t.Fatalf("exit %d after %d lines\n%s%s", r.Code, typed, r.Err, r.Out)
			}
			if !strings.Contains(r.Out, c.has+"\n") || strings.Count(r.Err, "\n  ") < 3 {
				t.Errorf("no listing, or no word of what to do next\n%s%s", r.Err, r.Out)
			}
			if _, err := os.Stat(filepath.Join(dir, c.has)); err != nil {
				t.Error(err)
			}
			if strings.Contains(r.Err+r.Out, s.Beiwe.Passphrase) {
				t.Error("the passphrase was shown")
			}
			if r := e.Run("config", "check"); r.Code != 0 {
				t.Errorf("the configuration: exit %d\n%s", r.Code, r.Err)
			}
			again, _ := e.AtTerminal(c.lines, append(args, "--then", "nothing")...)
			if again.Code != 0 || !strings.Contains(again.Err, "already") {
				t.Errorf("again: exit %d\n%s", again.Code, again.Err)
			}
			e.Unmount(dir)
		})
	}
}
