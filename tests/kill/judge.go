package kill

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// Record is what writers said that they did, by file.
type Record struct {
	files map[string]*file // by the name that it was written under
	over  map[string][]int // versions that were to get a name by rename, in their order
	by    map[int]*file    // by version
	Fails []string         // what went wrong, in words
}

// file is one file as its writer saw it.
type file struct {
	line
	closing, closed, renaming, renamed bool
}

// ReadRecord reads a record; one that does not exist is empty.
func ReadRecord(path string) (*Record, error) {
	r := &Record{files: map[string]*file{}, over: map[string][]int{}, by: map[int]*file{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for {
		raw, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // a line that is still being written is none yet
			return r, nil
		}
		var l line
		if err == nil {
			err = json.Unmarshal(raw, &l)
		}
		if err != nil {
			return nil, fmt.Errorf("record: %w", err)
		}
		r.add(l)
	}
}

// Next is a version that is in no line.
func (r *Record) Next() (next int) {
	for version := range r.by {
		next = max(next, version+1)
	}
	return next
}

func (r *Record) add(l line) {
	if l.Op == failed {
		r.Fails = append(r.Fails, l.Name+": "+l.Err)
		return
	}
	f := r.files[l.Name]
	if f == nil {
		f = &file{line: l}
		r.files[l.Name], r.by[l.Version] = f, f
	}
	switch l.Op {
	case closing:
		f.line, f.closing = l, true
	case closed:
		f.closed = true
	case renaming:
		f.To, f.renaming = l.To, true
		r.over[l.To] = append(r.over[l.To], l.Version)
	case renamed:
		f.renamed = true
	}
}

// Closed tells how many files were closed for certain.
func (r *Record) Closed() (n int) {
	for _, f := range r.files {
		if f.closed {
			n++
		}
	}
	return n
}

// Opened tells how many files have bytes in the mount but were never closed.
func (r *Record) Opened() (n int) {
	for _, f := range r.files {
		if !f.closing {
			n++
		}
	}
	return n
}

// Verdict is what the comparison of a record and a bucket found, in names.
type Verdict struct {
	Lost, Torn, NeverClosed, Both []string
}

// Bad reports whether a promise was broken. Both is none: a rename that a kill interrupts may leave both names.
func (v Verdict) Bad() bool { return len(v.Lost)+len(v.Torn)+len(v.NeverClosed) > 0 }

// String counts, and names the first few.
func (v Verdict) String() string {
	text := []string{fmt.Sprintf("%d lost, %d torn, %d never closed but stored, %d renames left both names", len(v.Lost), len(v.Torn), len(v.NeverClosed), len(v.Both))}
	for _, names := range [][]string{v.Lost, v.Torn, v.NeverClosed} {
		text = append(text, names[:min(len(names), 10)]...)
	}
	return strings.Join(text, "\n\t")
}

// Judge compares the record with the sums of what is in the bucket, by name.
func (r *Record) Judge(bucket map[string]string) (v Verdict) {
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		f := r.files[name]
		sum, there := bucket[name]
		switch {
		case there && !f.closing:
			v.NeverClosed = append(v.NeverClosed, name)
		case there && sum != f.Sum:
			v.Torn = append(v.Torn, fmt.Sprintf("%s (%d bytes were written)", name, f.Size))
		case there && f.renamed:
			v.Both = append(v.Both, name)
		case !there && f.closed && !f.renaming:
			v.Lost = append(v.Lost, fmt.Sprintf("%s (%d bytes)", name, f.Size))
		case !there && f.closed && !f.renamed && r.versionAt(bucket, f.To) < f.Version: // else it has arrived there, or a later one has
			v.Lost = append(v.Lost, fmt.Sprintf("%s (on its way to %s)", name, f.To))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.over)) {
		r.judgeOver(name, bucket, &v)
	}
	for _, name := range slices.Sorted(maps.Keys(bucket)) {
		if r.files[name] == nil && r.over[name] == nil {
			v.NeverClosed = append(v.NeverClosed, name+" (nobody wrote it)")
		}
	}
	return v
}

// judgeOver looks at a name that several versions were renamed to: the last that certainly got it, or a later one, is there.
func (r *Record) judgeOver(name string, bucket map[string]string, v *Verdict) {
	last := -1
	for _, version := range r.over[name] {
		if r.by[version].renamed {
			last = version
		}
	}
	_, there := bucket[name]
	at := r.versionAt(bucket, name)
	switch {
	case !there && last >= 0:
		v.Lost = append(v.Lost, name+" (has no version at all)")
	case there && at < 0:
		v.Torn = append(v.Torn, name)
	case at < last:
		v.Lost = append(v.Lost, fmt.Sprintf("%s (has version %d instead of %d)", name, at, last))
	}
}

// versionAt tells which of the versions renamed to a name lies there; -1 for none of them.
func (r *Record) versionAt(bucket map[string]string, name string) int {
	sum, there := bucket[name]
	if !there {
		return -1
	}
	for _, version := range slices.Backward(r.over[name]) {
		if r.by[version].Sum == sum {
			return version
		}
	}
	return -1
}

// Pending tells how many files that are certainly closed are not in the bucket: at the moment of a kill, what it struck.
func (r *Record) Pending(bucket map[string]string) (n int) {
	for name, f := range r.files {
		if !f.closed {
			continue
		}
		at := name
		if f.renamed {
			at = f.To
			if r.over[at][len(r.over[at])-1] != f.Version { // overtaken
				continue
			}
		}
		if bucket[at] != f.Sum {
			n++
		}
	}
	return n
}
