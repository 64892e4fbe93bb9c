package stage

import (
	"strings"

	"studyfs/backends"
)

// action is what brings a staged thing to the target.
type action uint8

const (
	actPut    action = iota // send the bytes
	actSkip                 // nothing: the target has these bytes and this metadata
	actTouch                // the target has these bytes: have it copy them onto themselves, with other metadata
	actAsk                  // ask the target whether it has these bytes
	actMarker               // an object for an empty directory
	actLink                 // an object that holds where a symbolic link leads
)

// decide says what to do for a job, as far as this machine can know it. It looks at the job's exported fields, and whether it is the same.
func decide(j *Job) action {
	switch {
	case j.same:
		return touchUnless(j.Was.Attr.Equal(j.Attr))
	case j.Touch:
		return actTouch // what is remembered of it is what it is to become
	case j.Kind == Dir && j.Base.Dir:
		return actSkip
	case j.Kind == Dir:
		return actMarker
	case j.Kind == Link:
		if !asLink(j.Base) || !j.HasWas || j.Was.Target != j.Target {
			return actLink
		}
		return touchUnless(j.Was.Attr.Equal(j.Attr))
	}
	return decideFile(j)
}

func decideFile(j *Job) action {
	switch {
	case !replacesFile(j) || j.Base.Size != j.Size:
		return actPut
	case !j.HasWas || !j.Was.HasCRC:
		return actAsk
	case j.Was.CRC64NVME != j.CRC64NVME:
		return actPut
	}
	return touchUnless(j.Was.Attr.Equal(j.Attr))
}

// decideKnowing is decide when the target has told what it holds.
func decideKnowing(j *Job, now backends.Stored) action {
	if now.Partial || now.Entry.Version != j.Base.Version || now.Entry.Size != j.Size || !now.HasCRC || now.CRC64NVME != j.CRC64NVME {
		return actPut
	}
	there := AttrOf(now.Meta, Attr{Mode: ^uint32(0)}) // what it does not say differs from ours
	return touchUnless(now.Meta[metaMode] != "" && there.Equal(j.Attr))
}

func touchUnless(same bool) action {
	if same {
		return actSkip
	}
	return actTouch
}

// asLink reports whether an entry is that of a symbolic link.
func asLink(e backends.Entry) bool { return e.Link != "" || strings.HasSuffix(e.Name, LinkSuffix) }

// replacesFile reports whether a file takes the place of an object with a file's bytes.
func replacesFile(j *Job) bool { return j.Base != (backends.Entry{}) && !j.Base.Dir && !asLink(j.Base) }

// objectName is the name under which a job's object lies.
func objectName(j *Job) string { return Object(j.Name, j.Kind) }

// Object is the name of the object that something of a name and kind is stored as.
func Object(name string, k Kind) string {
	if k == Link {
		return name + LinkSuffix
	}
	return name
}

// replaced is what lies under the object's own name and is to be replaced. A link and a file of one name lie under two.
func replaced(j *Job) backends.Entry {
	old := j.Base
	if j.Touch { // also of the object of a link, which is a file to it
		old.Link = ""
		return old
	}
	if old == (backends.Entry{}) || asLink(old) != (j.Kind == Link) || old.Dir != (j.Kind == Dir) {
		return backends.Entry{}
	}
	old.Name, old.Link = objectName(j), ""
	return old
}
