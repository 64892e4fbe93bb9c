package model

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/tests/harness"
)

func TestMain(m *testing.M) {
	if os.Getenv(runnerVar) != "" {
		if err := serveCommands(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	unix.Umask(0o022)
	harness.Main(m)
}

// sideBySide is how many histories share a mount.
const sideBySide = 20

// Programs make, write, rename and remove files, directories and links, and keep some open; others change the same names at the server; the
// server fails; the process that serves the mount is killed, between calls and in the middle of them, ended in good order, and mounted again. At each
// step the mount shows what the model says, and in the end the bucket holds it, and a mount with an empty cache shows it again.
func TestHistories(t *testing.T) {
	harness.NeedWrites(t)
	s := newStand(t)
	for i := range (histories() + sideBySide - 1) / sideBySide {
		seed := setting("STUDYFS_MODEL_SEED", 1) + i
		began := time.Now()
		m := s.play(genCampaign(sideBySide).Example(seed))
		t.Logf("seed %d: %v, %d histories", seed, time.Since(began).Round(time.Millisecond), s.count.histories)
		if len(m.wrong) > 0 {
			t.Fatalf("seed %d (STUDYFS_MODEL_SEED), %d wrong:\n%s\nall that is known of it: %s", seed, len(m.wrong), strings.Join(m.wrong[:min(len(m.wrong), 5)], "\n"), m.save())
		}
	}
	t.Logf("%+v", s.count)
	if s.count.kills == 0 {
		t.Error("nothing was killed: the test proves less than it should")
	}
}

// histories is how many are played: STUDYFS_HISTORIES sets it.
func histories() int { return setting("STUDYFS_HISTORIES", harness.Sized(40, 2000)) }

// setting is a number from the environment.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}
