package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/prompt/prompttest"
)

// Typist is a person at a terminal, who answers questions as they appear.
type Typist struct {
	user *os.File

	mu    sync.Mutex // guards what follows
	seen  strings.Builder
	typed int
	lines []string
}

// AtTerminal runs studyfs at a terminal of its own, where each line is typed when the program asks for one (a question ends in ": "). It
// returns what was printed to standard output, what the terminal showed, and how many lines were typed.
func (e *Env) AtTerminal(lines []string, args ...string) (Result, int) {
	e.t.Helper()
	return e.ExecAtTerminal(lines, Program(e.t), args...)
}

// ExecAtTerminal is AtTerminal of any program: a shell whose prompt ends in ": " is typed to as well.
func (e *Env) ExecAtTerminal(lines []string, name string, args ...string) (Result, int) {
	e.t.Helper()
	user, program := prompttest.Terminal(e.t)
	defer user.Close()
	p := &Typist{user: user, lines: slices.Clone(lines)}
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = e.Vars, e.Home
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, &out, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	done := make(chan struct{})
	go func() {
		p.sit()
		close(done)
	}()
	cmd.Wait()      // its code is below
	program.Close() // a serving process that it has started has other output: the last one that has the terminal open
	select {
	case <-done:
	case <-time.After(time.Minute):
		e.t.Error("somebody keeps the terminal open")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return Result{Out: out.String(), Err: p.seen.String(), Code: cmd.ProcessState.ExitCode()}, p.typed
}

// sit answers until the terminal is closed.
func (p *Typist) sit() {
	buf := make([]byte, 4096)
	for {
		n, err := p.user.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.seen.Write(buf[:n])
		text, typed := p.seen.String(), p.typed
		p.mu.Unlock()
		if !strings.HasSuffix(text, ": ") || typed == len(p.lines) {
			continue
		}
		if strings.Contains(text[strings.LastIndexByte(text, '\n')+1:], "(not shown)") {
			p.awaitSilence()
		}
		p.mu.Lock()
		p.typed++
		p.mu.Unlock()
		fmt.Fprintln(p.user, p.lines[typed])
	}
}

// awaitSilence waits until the terminal does not show what is typed.
func (p *Typist) awaitSilence() {
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(time.Millisecond) {
		state, err := unix.IoctlGetTermios(int(p.user.Fd()), unix.TCGETS)
		if err != nil || state.Lflag&unix.ECHO == 0 {
			return
		}
	}
}
