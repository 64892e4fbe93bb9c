package main

// The rules of our messages: they go to standard error, begin with "studyfs: ", say what, why and on a second line what
// to do; lower case, no full stop, no stack, no service's bare error code, no secret.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"studyfs/backends"
	"studyfs/backends/beiwe"
	"studyfs/backends/s3"
)

// failure is an error as the user sees it. It travels from the serving process to the one that waits for it.
type failure struct {
	What string `json:"what"`           // what was being done, or to what
	Why  string `json:"why"`            // what went wrong
	Do   string `json:"do,omitempty"`   // what to do about it
	Code int    `json:"code,omitempty"` // exit code
}

func (f *failure) Error() string {
	text := f.What
	if f.Why != "" {
		text += ": " + f.Why
	}
	if f.Do != "" {
		text += "\n  " + strings.ReplaceAll(f.Do, "\n", "\n  ")
	}
	return text
}

func usagef(format string, args ...any) error {
	return &failure{What: fmt.Sprintf(format, args...), Do: "studyfs --help shows how it is used", Code: exitUsage}
}

// report prints err in our form and returns the exit code it stands for.
func report(w io.Writer, err error) int {
	var status statusError
	var f *failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &f):
		fmt.Fprintln(w, "studyfs: "+f.Error()) //nolint:errcheck // nowhere left to say it
		return f.Code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	fmt.Fprintln(w, "studyfs: "+err.Error()) //nolint:errcheck // nowhere left to say it
	return exitError
}

// explainSource turns what a source answered first into a message. It is the only place that does.
func explainSource(s sourceSpec, err error) *failure {
	if f := explainPlace(s, err); f != nil {
		return f
	}
	f := &failure{What: s.describe(), Code: exitIO}
	switch {
	case errors.Is(err, backends.ErrAuth):
		f.Why, f.Do, f.Code = "the service refused the keys: "+whatOfKeys(err), s.newKeysHint(), exitPermission
	case errors.Is(err, s3.ErrClock):
		f.Why, f.Do, f.Code = "the service refused the request: this machine's clock is wrong", "sudo timedatectl set-ntp true; studyfs doctor tells how far it is off", exitPermission
	case errors.Is(err, backends.ErrPermission):
		f.Why, f.Do, f.Code = "the keys are good but may not list this place", s.permissionHint(), exitPermission
	case errors.Is(err, backends.ErrNotExist):
		f.Code = exitConfig
		f.Why, f.Do = notThere(s)
	case errors.Is(err, backends.ErrBusy):
		f.Why, f.Do, f.Code = "the service is overloaded and asks to come later", "try again in a few minutes", exitTryAgain
	case isUnreachable(err):
		f.Why, f.Code = "the service cannot be reached"+because(err, backends.ErrUnreachable), exitUnreachable
		if cause := lastCause(err); strings.HasPrefix(cause, "HTTP ") {
			f.Why = "the server cannot answer now (" + cause + ")"
		}
		f.Do = "check the network" + s.endpointHint() + "; nothing is stored yet from an earlier mount to start from"
	case errors.Is(err, backends.ErrBadAnswer):
		f.Why, f.Do, f.Code = wrongAnswer(s, err)
	case errors.Is(err, syscall.ENOSPC):
		f.Why, f.Do = "the disk of the cache is full", "free some space, or choose another place with --cache-dir"
	default:
		f.Why, f.Do = err.Error(), "see the log (studyfs status shows where), or try again with --log-level debug"
	}
	return f
}

// whatOfKeys tells what is wrong with refused keys, as far as the service does.
func whatOfKeys(err error) string {
	switch {
	case errors.Is(err, s3.ErrKeyExpired):
		return "they have expired"
	case errors.Is(err, s3.ErrKeyUnknown):
		return "it does not know the access key ID, which is revoked or mistyped"
	case errors.Is(err, s3.ErrSignature):
		return "the secret access key does not belong to the access key ID, it is mistyped or cut off"
	}
	return "they are revoked, expired or mistyped"
}

// explainPlace explains what is not about a service: an error that has been explained, one of several targets, a directory. nil: none of these.
func explainPlace(s sourceSpec, err error) *failure {
	if at, ok, cause := s.targetOf(err); ok {
		return explainSource(at, cause)
	}
	if known, ok := errors.AsType[*failure](err); ok {
		return known
	}
	if s.Dir == nil {
		return nil
	}
	if why, do := explainDir(s, err); why != "" {
		return &failure{What: s.describe(), Why: why, Do: do, Code: exitUnreachable}
	}
	return nil
}

// notThere explains that a source as a whole does not exist.
func notThere(s sourceSpec) (why, do string) {
	switch {
	case s.Beiwe != nil:
		return "this is not the address of a Beiwe server: it does not know what was asked", "check URL in " + s.KeysFrom
	case s.Azure != nil && s.Anonymous:
		return "there is no such container, or it is not public", "check the names of account and container, or leave out --anonymous and give a key"
	case s.Azure != nil:
		return "there is no such container", "check the names of account and container in " + s.url()
	}
	return "there is no such bucket", "check the bucket's name in " + s.origin()
}

// wrongAnswer explains an answer that was refused.
func wrongAnswer(s sourceSpec, err error) (why, do string, code int) {
	switch {
	case errors.Is(err, beiwe.ErrRedirect):
		return lastCause(err), "correct the address in " + s.KeysFrom, exitIO
	case errors.Is(err, s3.ErrRegion):
		return "the bucket is not in " + cmp.Or(s.Region, "the region that was asked for") + ", and the service does not say in which region it is",
			"leave out --region and region: it is found by asking", exitConfig
	}
	do = "check" + strings.TrimPrefix(s.endpointHint(), " and") + " that no login page of a network stands between"
	if s.endpointHint() == "" {
		do = "check that no login page of a network stands between"
	}
	return "what answered does not speak " + s.protocol() + " as it should" + because(err, backends.ErrBadAnswer), do, exitIO
}

// noKeys says that there are none to be refused.
func noKeys(s sourceSpec) *failure {
	f := &failure{What: s.describe(), Why: "no keys were found in ~/.aws or the environment", Code: exitPermission}
	f.Do = "choose keys with --profile, or read public data with --anonymous"
	if s.Profile != "" {
		f.Why = "no keys were found for the profile " + s.Profile
		f.Do = "aws configure --profile " + quote(s.Profile)
	}
	return f
}

func isUnreachable(err error) bool {
	return errors.Is(err, backends.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded)
}

// because shows the innermost cause, unless that is only what has been said already.
func because(err, said error) string {
	if cause := lastCause(err); cause != said.Error() {
		return " (" + cause + ")"
	}
	return ""
}

// lastCause is the innermost text of a chain of errors: of "list x: send request: dial tcp: connection refused" only
// the end tells a user something.
func lastCause(err error) string {
	for {
		var next error
		switch e := err.(type) { //nolint:errorlint // walks the chain itself
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				next = all[len(all)-1]
			}
		}
		if next == nil {
			return err.Error()
		}
		err = next
	}
}
