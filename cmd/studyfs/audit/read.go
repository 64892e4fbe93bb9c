package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// Line is a line of the log as it was found.
type Line struct {
	File   string // its last part
	Number int    // in the file, from 1
	Record Record
	Err    error // why it is no record; else nil
	raw    []byte
	cut    bool // it does not end in a newline
}

// Reader reads a log, while others may write to it.
type Reader struct {
	dir  string
	keys keys
}

// NewReader reads the log in a directory. A key that is missing is no error: then names stay pseudonyms.
func NewReader(dir string) (*Reader, error) {
	r := &Reader{dir: dir}
	k, err := loadKeys(dir, false)
	switch {
	case err == nil:
		r.keys = k
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return r, nil
}

// Name opens the name of a record, "" where it has none.
func (r *Reader) Name(rec Record) (string, error) { return r.keys.name(rec) }

// Lines yields all lines, oldest first. An error ends them.
func (r *Reader) Lines() iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		older, err := rotated(r.dir)
		if err != nil {
			yield(Line{}, err)
			return
		}
		var names []string
		for _, o := range older {
			names = append(names, o.name)
		}
		for _, name := range append(names, current) {
			if !linesOf(filepath.Join(r.dir, name), yield) {
				return
			}
		}
	}
}

// linesOf yields the lines of a file; false: that is enough.
func linesOf(path string, yield func(Line, error) bool) bool {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) { // rotated or retired since it was listed, or nothing was ever noted
		return true
	}
	if err != nil {
		return yield(Line{}, err)
	}
	defer f.Close() //nolint:errcheck // only read
	in := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		raw, err := in.ReadBytes('\n')
		if len(raw) == 0 && errors.Is(err, io.EOF) {
			return true
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return yield(Line{}, err)
		}
		l := Line{File: filepath.Base(path), Number: n, raw: bytes.TrimSuffix(raw, []byte("\n")), cut: err != nil}
		strict := json.NewDecoder(bytes.NewReader(l.raw))
		strict.DisallowUnknownFields()
		if l.Err = strict.Decode(&l.Record); l.Err == nil && (l.Record.Seq == 0 || l.cut) {
			l.Err = errors.New("not a line of the log")
		}
		if !yield(l, nil) {
			return false
		}
	}
}

// Verdict is what [Verify] found.
type Verdict struct {
	Lines       int64
	First, Last uint64 // numbers of lines
	Head        string // the hash of the last line: what to keep elsewhere
	Torn        int    // lines that a crash cut off, each of which the log tells of
	TornEnd     bool   // the last line is cut off: a crash, or it is being written
	HasSeen     bool   // the line that was asked for is in the chain
	Broken      string // where and how the chain breaks, "" if it does not
}

// Seen is the number and hash of a line that was kept elsewhere; the zero value asks for none.
type Seen struct {
	Seq  uint64
	Hash string
}

// Verify goes through the whole chain, up to the first place where it breaks.
func (r *Reader) Verify(seen Seen) (Verdict, error) {
	c := chain{v: Verdict{Head: zeros()}, seen: seen}
	for l, err := range r.Lines() {
		if err != nil {
			return c.v, fmt.Errorf("audit log: %w", err)
		}
		if c.v.Broken = c.take(l); c.v.Broken != "" {
			return c.v, nil
		}
	}
	c.finish()
	return c.v, nil
}

// chain is a verification under way.
type chain struct {
	v       Verdict
	seen    Seen
	held    *Line  // one that is no record: the next must tell of it
	retired uint64 // the newest line that was removed for its age
}

// take checks the next line and returns how it breaks the chain, "" if it does not.
func (c *chain) take(l Line) string {
	where := fmt.Sprintf("%s line %d", l.File, l.Number)
	switch {
	case c.held != nil && l.Err != nil:
		return fmt.Sprintf("%s line %d: not a line of the log", c.held.File, c.held.Number)
	case l.Err != nil:
		held := l
		held.raw = bytes.Clone(l.raw)
		c.held = &held
		return ""
	case c.held != nil && !c.tells(l.Record):
		return fmt.Sprintf("%s line %d: not a line of the log", c.held.File, c.held.Number)
	case c.held != nil:
		c.held = nil
		c.v.Torn++
	}
	if why := c.follows(l.Record); why != "" {
		return where + ": " + why
	}
	return c.accept(l)
}

// follows tells why a record cannot stand behind the one before it, "" if it can.
func (c *chain) follows(rec Record) string {
	switch {
	case c.v.Lines == 0 && rec.Seq > 1:
		c.v.First = rec.Seq // what was before has to have been retired, which the log tells further on
	case c.v.Lines == 0:
		c.v.First = rec.Seq
		if rec.Prev != zeros() {
			return "the first line has one before it"
		}
	case rec.Seq != c.v.Last+1:
		return fmt.Sprintf("number %d follows %d: lines are missing, or were moved", rec.Seq, c.v.Last)
	case rec.Prev != c.v.Head:
		return fmt.Sprintf("the line before number %d was altered", rec.Seq)
	}
	return ""
}

// tells reports whether a record is the log's own note of the fragment that is held.
func (c *chain) tells(r Record) bool {
	return r.Op == opTorn && r.Bytes == int64(len(c.held.raw)) && r.Detail == hashOf(c.held.raw)
}

func (c *chain) accept(l Line) string {
	c.v.Lines++
	c.v.Last, c.v.Head = l.Record.Seq, hashOf(l.raw)
	if l.Record.Op == opRetired {
		c.retired = max(c.retired, l.Record.UpTo)
	}
	if c.seen.Seq == l.Record.Seq {
		if c.seen.Hash != c.v.Head {
			return fmt.Sprintf("%s line %d: number %d is not what it was: the log was written anew", l.File, l.Number, l.Record.Seq)
		}
		c.v.HasSeen = true
	}
	return ""
}

// finish judges what only the end can tell.
func (c *chain) finish() {
	switch {
	case c.held != nil && c.held.cut:
		c.v.TornEnd = true
	case c.held != nil:
		c.v.Broken = fmt.Sprintf("%s line %d: not a line of the log", c.held.File, c.held.Number)
	}
	switch {
	case c.v.Broken != "":
	case c.v.First > 1 && c.retired+1 != c.v.First:
		c.v.Broken = fmt.Sprintf("lines before number %d are missing, and the log does not tell that their time was over", c.v.First)
	case c.seen.Seq > c.v.Last:
		c.v.Broken = fmt.Sprintf("it ends with number %d, but number %d was seen: lines at the end are missing", c.v.Last, c.seen.Seq)
	}
}
