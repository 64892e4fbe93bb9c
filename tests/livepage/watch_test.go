package livepage

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/cmd/studyfs/prompt/prompttest"
	"studyfs/tests/harness"
)

// status --watch draws over its last picture on a terminal, writes one after the other elsewhere, and ends with Ctrl-C, without an error.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	s := mounted(t)
	ours, theirs := prompttest.Terminal(t)
	pipeOurs, pipeTheirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for name, ends := range map[string][2]*os.File{"terminal": {ours, theirs}, "pipe": {pipeOurs, pipeTheirs}} {
		cmd := exec.Command(harness.Program(t), "status", "--watch", s.dir)
		cmd.Env, cmd.Stdout, cmd.Stderr = s.Vars, ends[1], ends[1]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ends[1].Close()
		kill := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		var text bytes.Buffer
		buf := make([]byte, 4096)
		for strings.Count(text.String(), "live page:") < 2 {
			n, err := ends[0].Read(buf)
			text.Write(buf[:n])
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text.String())
			}
		}
		cmd.Process.Signal(syscall.SIGINT)
		io.Copy(io.Discard, ends[0]) // a terminal ends with an error
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: after Ctrl-C: %v", name, err)
		}
		kill.Stop()
		ends[0].Close()
		all := text.String()
		if clears, home := strings.Count(all, "\x1b[2J"), strings.Count(all, "\x1b[H"); name == "terminal" && (clears != 1 || home < 2) || name == "pipe" && clears+home > 0 {
			t.Errorf("%s: the screen is cleared %d times, and drawn over %d times:\n%q", name, clears, home, all)
		}
	}
}
