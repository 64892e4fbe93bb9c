package main

import (
	"fmt"
	"strconv"
	"strings"

	"studyfs/cmd/studyfs/manual"
)

// The exit codes are a promise to scripts. They follow sysexits where that has a fitting number.
const (
	exitOK           = 0
	exitError        = 1
	exitUsage        = 2
	exitPartial      = 3   // some of several things were done
	exitUnreachable  = 69  // no answer and nothing stored to start from; or the system lacks what a mount needs
	exitCannotCreate = 73  // the mount point, a directory
	exitIO           = 74  // a local disk, or a service that answers nonsense
	exitTryAgain     = 75  // unfinished, busy or locked
	exitPermission   = 77  // keys, rights
	exitConfig       = 78  // the configuration, or what it names, is wrong
	exitInterrupted  = 130 // by Ctrl-C
)

const signalBase = 128 // a shell's code for a program that died of signal n is 128+n

// exitCode is one row of what help and manual tell of exit codes.
type exitCode struct {
	code  int
	means string
}

func exitCodes() []exitCode {
	return []exitCode{
		{exitOK, "ok"},
		{exitError, "error"},
		{exitUsage, "usage"},
		{exitPartial, "partial"},
		{exitUnreachable, "unreachable or not installed"},
		{exitCannotCreate, "cannot create"},
		{exitIO, "I/O"},
		{exitTryAgain, "unfinished, busy or locked"},
		{exitPermission, "keys or permission"},
		{exitConfig, "configuration"},
		{exitInterrupted, "interrupted"},
	}
}

// exitHelp is the table in a sentence.
func exitHelp() string {
	rows := make([]string, 0, len(exitCodes()))
	for _, e := range exitCodes() {
		rows = append(rows, fmt.Sprintf("%d %s", e.code, e.means))
	}
	return "Exit codes: " + strings.Join(rows, ", ") + "."
}

// exitSection is the table on manual pages.
func exitSection() manual.Section {
	s := manual.Section{Title: "Exit status", Text: "What runs a command (run, demo) ends with that command's code."}
	for _, e := range exitCodes() {
		s.Entries = append(s.Entries, manual.Entry{Term: strconv.Itoa(e.code), Text: e.means})
	}
	return s
}

// statusError ends the program with a code and without a message: what is to be said has been said, by us or by the
// command that we ran.
type statusError int

func (e statusError) Error() string { return "exit status " + strconv.Itoa(int(e)) }
