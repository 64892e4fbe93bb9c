package main

import "strconv"

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

// statusError ends the program with a code and without a message: what is to be said has been said, by us or by the
// command that we ran.
type statusError int

func (e statusError) Error() string { return "exit status " + strconv.Itoa(int(e)) }
