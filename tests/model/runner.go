package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"studyfs/tests/harness"
)

// runnerVar makes a test process a runner.
const runnerVar = "STUDYFS_TEST_RUNNER"

// runner starts programs for a process that has files open on a mount. A process that forks has them twice, and exec closes them in the
// child: for the mount that is a close like any other, and files that histories leave open would be sealed with each command.
type runner struct {
	ask    *json.Encoder
	answer *json.Decoder
}

type command struct {
	Args, Env []string
	Dir       string
}

// newRunner starts a runner, which ends with the test. Nothing may be open on a mount.
func newRunner(t testing.TB) *runner {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), runnerVar+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait() // it ends with its input
	})
	return &runner{json.NewEncoder(in), json.NewDecoder(out)}
}

// run runs a program to its end.
func (r *runner) run(t testing.TB, e *harness.Env, args ...string) (x harness.Result) {
	t.Helper()
	if err := r.ask.Encode(command{append([]string{harness.Program(t)}, args...), e.Vars, e.Home}); err != nil {
		t.Fatal(err)
	}
	if err := r.answer.Decode(&x); err != nil {
		t.Fatal(err)
	}
	return x
}

// serveCommands is the whole of a runner.
func serveCommands() error {
	ask, answer := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c command
		if err := ask.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("runner: %w", err)
		}
		if err := answer.Encode(c.run()); err != nil {
			return fmt.Errorf("runner: %w", err)
		}
	}
}

func (c command) run() harness.Result {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = c.Env, c.Dir, time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return harness.Result{Err: err.Error(), Code: -1}
	}
	return harness.Result{Out: out.String(), Err: errs.String(), Code: cmd.ProcessState.ExitCode()}
}
