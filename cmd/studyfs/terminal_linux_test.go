package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/prompt/prompttest"
)

// terminalPair opens a pseudo terminal: what the user types and sees, and the path of the other end.
func terminalPair(t *testing.T) (user *os.File, path string) {
	t.Helper()
	user, shell := prompttest.Terminal(t) // shell holds the terminal between two questions
	return user, shell.Name()
}

// echoes reports whether the terminal shows what is typed.
func echoes(terminal *os.File) bool {
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	return err == nil && state.Lflag&unix.ECHO != 0
}
