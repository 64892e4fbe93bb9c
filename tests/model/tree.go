package model

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

type kind byte

const (
	regular kind = iota
	directory
	link
)

// node is a file, directory or link as programs must see it.
type node struct {
	kind   kind
	data   []byte // never changed in place
	target string
	mode   uint32 // 0: not known any more
	mtime  int64  // in seconds; 0: not known
	kids   map[string]*node

	log   [][]byte // of a file: all its contents since it was made, the present one last
	safe  []byte   // what was sealed last; nil: never
	write int      // handles that can write
	gone  bool     // it has no name any more

	// After a kill, until somebody looks: what it may hold, and whether it may have gone.
	unsure bool
	alts   [][]byte
	absent bool
	orphan bool // its bytes must be kept aside if it has gone
}

func (n *node) set(data []byte) {
	n.data, n.mtime = data, 0
	n.log = append(n.log, data)
}

// seal: what is in it survives from now on.
func (n *node) seal() { n.safe = append([]byte{}, n.data...) }

// handle is an open file.
type handle struct {
	n      *node
	write  bool
	append bool
	from   int // in the log of the node: what was there when it was opened
}

// tree is all that one history has.
type tree struct {
	root    *node
	handles [5]*handle
}

func newTree() *tree { return &tree{root: &node{kind: directory, kids: map[string]*node{}}} }

// clone copies all, so that two outcomes can be thought through.
func (t *tree) clone() *tree {
	seen := map[*node]*node{}
	var copyOf func(n *node) *node
	copyOf = func(n *node) *node {
		if n == nil || seen[n] != nil {
			return seen[n]
		}
		c := *n
		seen[n] = &c
		c.log = slices.Clone(n.log)
		if n.kids != nil {
			c.kids = map[string]*node{}
			for name, kid := range n.kids {
				c.kids[name] = copyOf(kid)
			}
		}
		return &c
	}
	out := &tree{root: copyOf(t.root)}
	for i, h := range t.handles {
		if h != nil {
			c := *h
			c.n = copyOf(h.n)
			out.handles[i] = &c
		}
	}
	return out
}

// walk finds the directory of a path, and what is there.
func (t *tree) walk(path string) (dir *node, base string, n *node, err error) {
	parts := strings.Split(path, "/")
	dir = t.root
	for _, p := range parts[:len(parts)-1] {
		n := dir.kids[p]
		switch {
		case n == nil || n.kind == link: // links here lead nowhere
			return nil, "", nil, unix.ENOENT
		case n.kind == regular:
			return nil, "", nil, unix.ENOTDIR
		}
		dir = n
	}
	base = parts[len(parts)-1]
	return dir, base, dir.kids[base], nil
}

// files calls f for all that has a name, parents first.
func (t *tree) each(f func(path string, n *node)) {
	var below func(prefix string, n *node)
	below = func(prefix string, n *node) {
		for _, name := range slices.Sorted(maps.Keys(n.kids)) {
			kid := n.kids[name]
			f(prefix+name, kid)
			if kid.kind == directory {
				below(prefix+name+"/", kid)
			}
		}
	}
	below("", t.root)
}

func (t *tree) remove(path string) {
	if dir, base, n, err := t.walk(path); err == nil && n != nil {
		n.gone = true
		delete(dir.kids, base)
	}
}

// open is open(2) with O_NOFOLLOW.
func (t *tree) open(o Op) error {
	dir, base, n, err := t.walk(o.A)
	switch {
	case err != nil:
		return err
	case n != nil && o.Flag&openExcl != 0:
		return unix.EEXIST
	case n != nil && n.kind == directory:
		return unix.EISDIR
	case n != nil && n.kind == link:
		return unix.ELOOP
	case n == nil && o.Flag&openCreate == 0:
		return unix.ENOENT
	case n == nil:
		n = &node{mode: 0o644, log: [][]byte{{}}}
		dir.kids[base] = n
	case o.Flag&openTrunc != 0:
		n.set(nil)
	}
	h := &handle{n: n, write: o.Flag&openWrite != 0, append: o.Flag&openAppend != 0, from: len(n.log) - 1}
	if h.write {
		n.write++
	}
	t.handles[o.Slot] = h
	return nil
}

// close returns when what is in the file is safe: any handle that could write makes all of it so.
func (t *tree) close(slot int) {
	h := t.handles[slot]
	t.handles[slot] = nil
	if h.write {
		h.n.write--
		h.n.seal()
	}
}

// put is what a file holds after a write.
func put(data []byte, off int, body []byte) []byte {
	if len(body) == 0 {
		return data
	}
	out := make([]byte, max(len(data), off+len(body)))
	copy(out, data)
	copy(out[off:], body)
	return out
}

func resized(data []byte, size int) []byte {
	out := make([]byte, size)
	copy(out, data)
	return out
}

func (t *tree) mkdir(path string) error {
	dir, base, n, err := t.walk(path)
	if err == nil && n != nil {
		err = unix.EEXIST
	}
	if err == nil {
		dir.kids[base] = &node{kind: directory, kids: map[string]*node{}, mode: 0o755}
	}
	return err
}

func (t *tree) symlink(target, path string) error {
	dir, base, n, err := t.walk(path)
	if err == nil && n != nil {
		err = unix.EEXIST
	}
	if err == nil {
		dir.kids[base] = &node{kind: link, target: target}
	}
	return err
}

func (t *tree) rmdir(path string) error {
	_, _, n, err := t.walk(path)
	switch {
	case err != nil:
		return err
	case n == nil:
		return unix.ENOENT
	case n.kind != directory:
		return unix.ENOTDIR
	case len(n.kids) > 0:
		return unix.ENOTEMPTY
	}
	t.remove(path)
	return nil
}

func (t *tree) unlink(path string) error {
	_, _, n, err := t.walk(path)
	switch {
	case err != nil:
		return err
	case n == nil:
		return unix.ENOENT
	case n.kind == directory:
		return unix.EISDIR
	}
	t.remove(path)
	return nil
}

func (t *tree) rename(from, to string) error {
	dir, base, n, err := t.walk(from)
	toDir, toBase, over, toErr := t.walk(to)
	switch {
	case err != nil:
		return err
	case toErr != nil:
		return toErr
	case n == nil:
		return unix.ENOENT
	case strings.HasPrefix(to, from+"/"):
		return unix.EINVAL
	case strings.HasPrefix(from, to+"/"):
		return unix.ENOTEMPTY
	case n == over:
		return nil
	case over != nil && n.kind == directory && over.kind != directory:
		return unix.ENOTDIR
	case over != nil && n.kind != directory && over.kind == directory:
		return unix.EISDIR
	case over != nil && len(over.kids) > 0:
		return unix.ENOTEMPTY
	}
	if over != nil {
		over.gone = true
	}
	delete(dir.kids, base)
	toDir.kids[toBase] = n
	if n.safe != nil {
		n.seal() // what was stored is removed there under its old name, so the copy is made safe first
	}
	return nil
}

// seen is what somebody finds at a path.
type seen struct {
	kind   kind
	data   []byte
	target string
	mode   uint32
	mtime  int64
}

// match compares what is seen with what must be, and takes over what turned out of what could not be known.
func (t *tree) match(found map[string]seen) (wrong []string) {
	var lost []string
	t.each(func(path string, n *node) {
		s, there := found[path]
		switch {
		case !there && n.absent:
			lost = append(lost, path)
		case !there:
			wrong = append(wrong, path+" is missing")
		default:
			if why := n.is(s); why != "" {
				wrong = append(wrong, path+": "+why)
			}
		}
	})
	for path := range found {
		if _, _, n, err := t.walk(path); err != nil || n == nil {
			wrong = append(wrong, path+" should not be there")
		}
	}
	if len(wrong) > 0 {
		return wrong
	}
	for _, path := range lost {
		t.remove(path)
	}
	t.each(func(path string, n *node) {
		if n.unsure {
			n.set(found[path].data)
			n.mode = 0
			n.seal()
		}
		n.unsure, n.alts, n.absent, n.orphan = false, nil, false, false
	})
	return nil
}

// is compares one thing, and says what is wrong with it.
func (n *node) is(s seen) string {
	if n.kind != s.kind {
		return fmt.Sprintf("kind %d instead of %d", s.kind, n.kind)
	}
	if n.target != s.target {
		return fmt.Sprintf("leads to %q instead of %q", s.target, n.target)
	}
	may := [][]byte{n.data}
	if n.unsure {
		may = n.alts
	}
	if n.kind == regular && !slices.ContainsFunc(may, func(b []byte) bool { return bytes.Equal(b, s.data) }) {
		var words []string
		for _, b := range may {
			words = append(words, brief(b))
		}
		return fmt.Sprintf("holds %s instead of %s", brief(s.data), strings.Join(words, " or "))
	}
	if !n.unsure && n.mode != 0 && n.kind != link && s.mode != n.mode {
		return fmt.Sprintf("mode %o instead of %o", s.mode, n.mode)
	}
	if !n.unsure && n.mtime != 0 && n.kind == regular && s.mtime != n.mtime {
		return fmt.Sprintf("time %d instead of %d", s.mtime, n.mtime)
	}
	return ""
}

// brief shows the beginning of a body, which tells who wrote it.
func brief(b []byte) string { return fmt.Sprintf("%d bytes %.24q", len(b), b) }

// killed makes of the tree what may be found after the process that serves it was killed. The files that were open for writing are in
// doubt: what was never sealed is gone, and kept aside; what was sealed before is as it was written last, or, where it had been stored
// before it was opened, as it is stored. torn is what may be in the file of a write that was under way, by file.
func (t *tree) killed(torn map[*node][][]byte, stored func(path string) ([]byte, bool)) {
	t.handles = [5]*handle{}
	t.each(func(path string, n *node) {
		if n.kind != regular || n.write == 0 {
			return
		}
		n.write, n.unsure = 0, true
		there, ok := stored(path)
		if n.safe == nil {
			n.absent, n.orphan = true, len(n.data) > 0
			if ok { // what it was to replace is still there
				n.alts = [][]byte{there}
			}
			return
		}
		n.alts = append([][]byte{n.data}, torn[n]...)
		if ok && bytes.Equal(there, n.safe) {
			n.alts = append(n.alts, n.safe)
		}
	})
}
