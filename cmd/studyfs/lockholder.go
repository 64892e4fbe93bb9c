package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return "of another machine or container"
	}
	args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	args[0] = filepath.Base(args[0])
	return strings.Join(args[:min(len(args), 2)], " ")
}
