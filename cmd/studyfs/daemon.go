package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// Files that the serving process inherits.
const (
	fdSpec  = 3 // a mountSpec; its other end is the leash
	fdReady = 4 // a readiness
)

// serveCommand is the hidden command that the serving process runs.
const serveCommand = "serve-mount"

// endPatience is how long a serving process may take to end after it was told to: 10 s is promised.
const endPatience = 15 * time.Second

// readiness is what the serving process tells the one that started it, once.
type readiness struct {
	Failure *failure `json:"failure,omitempty"`
	Notices []string `json:"notices,omitempty"`
	Partial bool     `json:"partial,omitempty"` // mounted, but not every source answered
	Page    string   `json:"page,omitempty"`    // address of the live page; it is a secret
}

// server is a serving process as the one that started it sees it. Every mount has one: a process must not use a file
// system that it serves itself, a page fault of its own could wait for itself for ever.
type server struct {
	cmd   *exec.Cmd
	leash *os.File
	ready *os.File
	ended chan struct{} // closed when the process is gone; then err is set
	err   error
}

// start starts the serving process of m in a session of its own, so that Ctrl-C reaches us only, and sends it m.
func start(m *mountSpec) (*server, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("own program: %w", err)
	}
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	readyRead, readyWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	cmd := exec.Command(exe, serveCommand) //nolint:noctx // outlives us, or is told to end by its leash
	cmd.ExtraFiles = []*os.File{specRead, readyWrite}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	output := os.Stderr
	if m.Log != "" {
		if output, err = openLog(m.Log); err != nil {
			return nil, &failure{What: "cannot write the log", Why: lastCause(err), Do: "choose another place with --state-dir", Code: exitCannotCreate}
		}
		defer output.Close() //nolint:errcheck // the child has its own
	}
	cmd.Stdout, cmd.Stderr = output, output
	err = cmd.Start()
	specRead.Close()   //nolint:errcheck // the child has its own
	readyWrite.Close() //nolint:errcheck // the child has its own
	if err != nil {
		return nil, fmt.Errorf("start the serving process: %w", err)
	}
	s := &server{cmd: cmd, leash: specWrite, ready: readyRead, ended: make(chan struct{})}
	go func() { // ends with the process
		s.err = cmd.Wait()
		close(s.ended)
	}()
	if err := json.NewEncoder(specWrite).Encode(m); err != nil {
		s.stop()
		return nil, fmt.Errorf("tell the serving process: %w", err)
	}
	return s, nil
}

// wait returns when the mount can be used, or why it cannot.
func (s *server) wait(m *mountSpec) (readiness, error) {
	var r readiness
	err := json.NewDecoder(bufio.NewReader(s.ready)).Decode(&r)
	s.ready.Close() //nolint:errcheck // only read
	if err != nil {
		<-s.ended
		f := &failure{What: m.Dir, Why: "the serving process ended early", Code: exitError}
		if errors.Is(err, io.EOF) && m.Log != "" {
			f.Do = "its log: " + m.Log
		}
		return r, f
	}
	if r.Failure != nil {
		<-s.ended
		return r, r.Failure
	}
	if _, err := os.ReadDir(m.Dir); err != nil && !r.Partial { // what ls does, and from the listing that the server just got
		s.stop()
		return r, &failure{What: m.Dir, Why: "the mount does not answer (" + lastCause(err) + ")", Code: exitIO}
	}
	return r, nil
}

// stay returns when the mount is gone: the user has had enough (ctx), or someone unmounted it. It calls leaving before it ends the mount.
func (s *server) stay(ctx context.Context, leaving func()) {
	select {
	case <-ctx.Done():
	case <-s.ended:
	}
	leaving()
	s.stop()
}

// pass passes SIGHUP on to the serving process, which reads the configuration again, until that has ended.
func (s *server) pass(hangups <-chan os.Signal) {
	for {
		select {
		case <-hangups:
			s.cmd.Process.Signal(syscall.SIGHUP) //nolint:errcheck // gone already is fine
		case <-s.ended:
			return
		}
	}
}

// hasTerminal tells whether this process was started at a terminal.
func hasTerminal() bool {
	tty, err := openTerminal()
	if err == nil {
		tty.Close() //nolint:errcheck // only opened
	}
	return err == nil
}

// stop ends the serving process, which unmounts first.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // gone already is fine
	select {
	case <-s.ended:
	case <-time.After(endPatience):
		s.cmd.Process.Kill() //nolint:errcheck // gone already is fine
		<-s.ended
	}
	s.leash.Close() //nolint:errcheck // nothing is written to it any more
}

// interruptible returns a context that ends with the first Ctrl-C, SIGTERM or SIGHUP. Further ones are swallowed until
// release: "go run" and a terminal both deliver the first, and what then runs is the cleaning up.
func interruptible() (ctx context.Context, release func()) { return interruptibleBut(nil) }

// interruptibleBut is interruptible without SIGHUP, where hangups is not nil: they go there.
func interruptibleBut(hangups chan os.Signal) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	if signal.Notify(signals, os.Interrupt, syscall.SIGTERM); hangups != nil {
		signal.Notify(hangups, syscall.SIGHUP)
	} else {
		signal.Notify(signals, syscall.SIGHUP)
	}
	done := make(chan struct{})
	go func() { // ends with release
		for {
			select {
			case <-signals:
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
