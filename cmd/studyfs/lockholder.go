package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"studyfs/cmd/studyfs/host"
)

// lockHolder finds who holds the lock of a stage, which notes down its number there; 0 if that cannot be told.
func lockHolder(dir string) (pid int, name string) {
	text, err := os.ReadFile(filepath.Join(dir, "lock"))
	if err != nil {
		return 0, ""
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil || pid <= 0 {
		return 0, ""
	}
	return pid, commandOf(pid)
}

// commandOf is what a process was started as, without all but the first argument: they may name participants.
func commandOf(pid int) string {
	args := host.Arguments(pid)
	if len(args) == 0 {
		return "of another machine or container"
	}
	args[0] = filepath.Base(args[0])
	return strings.Join(args[:min(len(args), 2)], " ")
}
