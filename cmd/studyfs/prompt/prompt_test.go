//go:build linux

package prompt

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"studyfs/cmd/studyfs/prompt/prompttest"
)

// pair opens a pseudo terminal: what the user types and sees, and the path of the other end.
func pair(t *testing.T) (user *os.File, path string) {
	t.Helper()
	user, program := prompttest.Terminal(t)
	return user, program.Name()
}

func at(path string) *Terminal {
	return New(func() (*os.File, error) { return os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0) })
}

// Enter takes what is offered, an answer that is typed wins, and Ctrl-D is no answer.
func TestLine(t *testing.T) {
	user, path := pair(t)
	term := at(path)
	defer term.Close()
	if err := term.Ready(); err != nil {
		t.Fatal(err)
	}
	user.WriteString("\n  two  \n\x04")
	if got, err := term.Line(t.Context(), "first\x1b[2J", "one"); err != nil || got != "one" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := term.Line(t.Context(), "second", "one"); err != nil || got != "two" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := term.Line(t.Context(), "third", "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("%q, %v", got, err)
	}
	buf := make([]byte, 4096)
	n, err := user.Read(buf)
	if err != nil || strings.Contains(string(buf[:n]), "\x1b") || term.Asked() != 3 {
		t.Errorf("%q, %v, %d questions", buf[:n], err, term.Asked())
	}
}

// Whoever leaves a question with Ctrl-C gets a terminal back that shows what is typed.
func TestHiddenIsInterrupted(t *testing.T) {
	user, path := pair(t)
	term := at(path)
	defer term.Close()
	if err := term.Ready(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := term.Hidden(ctx, "secret"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	user.WriteString("\n") // lets the read end
}

func TestNobodyToAsk(t *testing.T) {
	term := New(func() (*os.File, error) { return nil, os.ErrNotExist })
	if _, err := term.Line(t.Context(), "x", "fallback"); !errors.Is(err, ErrNoTerminal) {
		t.Errorf("%v", err)
	}
	if term.Asked() != 0 || term.Close() != nil {
		t.Error("asked nobody, and cannot be closed")
	}
}
