package stage

import (
	"context"
	"errors"

	"studyfs/backends"
)

// ending is how a job ends.
type ending uint8

const (
	endAgain    ending = iota // back into the queue, for later
	endStored                 // the target has it
	endConflict               // the target has something else: people decide
	endFailed                 // it cannot go as it is; the stage has it tried again now and then
	endPaused                 // the target wants nothing: no other is tried
	endMoot                   // there is nothing any more of which to change the metadata
	endReleased               // somebody here wants it back, or the process ends
)

// verdict is what is made of how an upload ended.
type verdict struct {
	how  ending
	busy bool   // the target said that it is too much
	down bool   // the target does not answer
	soon bool   // nothing is wrong: at once
	why  string // for people
	err  error  // nil where how is endStored
}

// localTries is how often a staged file may fail to be read before it is given up.
const localTries = 5

const resolveHint = `nothing was overwritten, and your version is kept here. Choose with "studyfs uploads resolve": --mine, --theirs or --both`

// verdictOf turns the error of an upload into what becomes of the job. local is what reading the staged file said; tries counts those
// before this one.
func verdictOf(j *Job, err, local error, tries int) verdict {
	is := func(target error) bool { return errors.Is(err, target) }
	v := verdict{how: endFailed, err: err}
	switch {
	case err == nil:
		return verdict{how: endStored}
	case local != nil: // before all others: an error of the local disk may look like one of theirs
		v.why = "the staged file cannot be read from the local disk"
		if tries+1 < localTries {
			v.how = endAgain
		}
	case j.Touch && is(backends.ErrChanged):
		v.how = endMoot
	case is(backends.ErrChanged), is(backends.ErrExist):
		v.how, v.why = endConflict, conflictText(j)
	case is(backends.ErrAuth):
		v.how, v.why = endPaused, authText
	case is(backends.ErrUnsafe):
		v.how, v.why = endPaused, unsafeText
	case refusal(err) != "":
		v.why = where(err) + refusal(err)
	default:
		v.how, v.why = endAgain, where(err)+class(err)
		v.busy, v.down = is(backends.ErrBusy), is(backends.ErrUnreachable) && where(err) == "" // the other targets are to get the other files
	}
	return v
}

// where says which of several targets an error is of; "" where there is one only.
func where(err error) string {
	if t, ok := errors.AsType[*backends.TargetError](err); ok {
		return t.Target + ": "
	}
	return ""
}

// refusal says why the target does not take this one object; "" where that is not what an error says.
func refusal(err error) string {
	switch {
	case errors.Is(err, backends.ErrPermission), errors.Is(err, backends.ErrReadOnly):
		return "the keys may not store under this name; it is tried again every 5 minutes"
	case errors.Is(err, backends.ErrOccupied):
		return "another file lies there in the place of the copy, and studyfs has not made it: move that one away; it is tried again every 5 minutes"
	case errors.Is(err, backends.ErrTooLarge):
		return "it is larger than the target can hold"
	case errors.Is(err, backends.ErrName):
		return "the target cannot hold an object of this name: rename it"
	}
	return ""
}

// What the pauses are called. The uploader ends only those that it began itself.
const (
	authText = `the target refuses the keys: they are revoked, expired or mistyped. Nothing is lost; uploads wait, and go on by themselves with new keys`
	//nolint:lll // one sentence for humans
	unsafeText = `the target takes uploads but ignores their conditions, so that two people could overwrite each other unseen. Nothing is uploaded unless you allow it with --unsafe-overwrite`
)

func conflictText(j *Job) string {
	if replaced(j) == (backends.Entry{}) {
		return "somebody else has stored something under this name meanwhile: " + resolveHint
	}
	return "somebody else changed or removed this file at the target while it was being changed here: " + resolveHint
}

// class is what may be logged of an error that can hold names.
func class(err error) string {
	for _, known := range []error{
		backends.ErrAuth, backends.ErrPermission, backends.ErrUnreachable, backends.ErrBusy, backends.ErrBadAnswer, backends.ErrChanged,
		backends.ErrNotExist, backends.ErrTooLarge, backends.ErrUnsafe, backends.ErrOccupied, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "other"
}
