package mounts

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"studyfs/tests/bench/store"
	"studyfs/tests/harness"
)

// Study is studyfs itself, built at Program.
type Study struct{ Program string }

// Name is that of the program.
func (Study) Name() string { return Studyfs }

// Version is what the program says.
func (s Study) Version() (string, error) { return say(s.Program, "version") }

// Mount runs `studyfs mount` with all that is not said here as it comes.
func (s Study) Mount(ctx context.Context, p Place) (*Mount, error) {
	args := []string{"mount", "s3://" + p.Bucket + "/", "--endpoint-url", p.URL, "--region", "us-east-1", "--profile", "lab"}
	if p.Store == store.Beiwe {
		args = []string{"mount", "beiwe:"}
	}
	if p.Write {
		args = append(args, "--write", "--quiet", WriteBack.String())
	}
	if err := s.prepare(p); err != nil {
		return nil, err
	}
	if _, err := s.run(ctx, p, append(args, p.Dir)...); err != nil {
		return nil, err
	}
	m := &Mount{Dir: p.Dir, end: func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 45*time.Second) // also when the laboratory is interrupted
		defer cancel()
		_, err := s.run(ctx, p, "umount", p.Dir)
		return err
	}}
	out, err := s.run(ctx, p, "status", "--json", p.Dir)
	var report struct {
		Mounts []struct {
			PID int `json:"pid"`
		} `json:"mounts"`
	}
	if err == nil {
		err = json.Unmarshal(out, &report)
	}
	if err != nil || len(report.Mounts) != 1 {
		m.Unmount()
		return nil, fmt.Errorf("status: %w", err)
	}
	m.PID = report.Mounts[0].PID
	return m, nil
}

// prepare writes what a home must hold, once.
func (s Study) prepare(p Place) error {
	key := filepath.Join(p.Home, "cache.key")
	if _, err := os.Stat(key); err == nil {
		return nil
	}
	if err := os.WriteFile(key, []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	aws := filepath.Join(p.Home, ".aws")
	if err := os.MkdirAll(aws, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf("[lab]\naws_access_key_id = %s\naws_secret_access_key = %s\n", harness.ID, harness.Secret)
	return os.WriteFile(filepath.Join(aws, "credentials"), []byte(text), 0o600)
}

func (s Study) run(ctx context.Context, p Place, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.Program, args...)
	cmd.Dir = p.Home
	cmd.Env = append(home(p),
		"STUDYFS_CACHE_KEY=file:"+filepath.Join(p.Home, "cache.key"), "DBUS_SESSION_BUS_ADDRESS=disabled:",
		"BEIWE_URL="+p.URL, "BEIWE_ACCESS_KEY="+harness.BeiweAccess, "BEIWE_SECRET_KEY="+harness.BeiweSecret)
	var errs bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &errs, time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(errs.Bytes()))
	}
	return out, nil
}
