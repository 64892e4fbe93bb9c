package main

import (
	"os"
	"testing"
)

// terminalPair opens a pseudo terminal: what the user types and sees, and the path of the other end.
func terminalPair(t *testing.T) (user *os.File, path string) {
	t.Helper()
	t.Skip("macOS opens pseudo terminals in another way, which was not tried")
	return nil, ""
}

// echoes reports whether the terminal shows what is typed.
func echoes(*os.File) bool { return false }
