package stage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// recorder writes down each call on the disk, and may fail one.
type recorder struct {
	mu    sync.Mutex
	ops   []op // those that were let through
	calls int
	fail  func(n int, o op) error // n counts from 0; nil lets all pass

	noLabels bool // as on a file system that has none
}

func (r *recorder) hook(o op) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.path == ballastName && o.kind == opCreate || o.path == journalName && o.kind == opAllocate {
		return unix.ENOSPC // only ahead of need, and slow
	}
	if r.noLabels && o.kind == opLabel {
		return unix.ENOTSUP
	}
	n := r.calls
	r.calls++
	if r.fail != nil {
		if err := r.fail(n, o); err != nil {
			if errors.Is(err, errShort) && o.kind == opWrite {
				o.data = bytes.Clone(o.data[:len(o.data)/2])
				r.ops = append(r.ops, o)
			}
			return err
		}
	}
	o.data = bytes.Clone(o.data)
	r.ops = append(r.ops, o)
	return nil
}

func (r *recorder) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

func (r *recorder) log() []op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ops)
}

func (k opKind) String() string {
	return [...]string{"mkdir", "create", "open", "read", "write", "truncate", "allocate", "sync", "syncall", "label", "syncdir", "rename", "remove", "copy"}[k]
}

func (o op) String() string {
	switch o.kind {
	case opRename:
		return fmt.Sprintf("rename %s %s", o.path, o.to)
	case opWrite:
		return fmt.Sprintf("write %s %d+%d", o.path, o.off, len(o.data))
	default:
		return fmt.Sprintf("%v %s", o.kind, o.path)
	}
}

// simDisk is what a disk holds after some calls: what is sure, and what may or may not have reached it.
type simDisk struct {
	live map[string]*simFile // as the process sees it
	sure map[string]*simFile // names that survive
	pend []nameOp            // changes of names since, in order
}

type simFile struct {
	dir  bool
	data []byte // bytes that survive
	pend []op   // writes and truncations since the last sync

	label     []byte // the same of the label, which file systems without a journal may tear like bytes
	labelPend []op
}

// nameOp is a change of names in one or two directories.
type nameOp struct {
	kind     opKind // opCreate, opRename or opRemove
	path, to string
	file     *simFile
	dirs     []string
}

func newSimDisk() *simDisk { return &simDisk{live: map[string]*simFile{}, sure: map[string]*simFile{}} }

func dirOf(path string) string {
	if d := filepath.Dir(path); d != "." {
		return d
	}
	return ""
}

func (d *simDisk) apply(o op) {
	f := d.live[o.path]
	switch o.kind {
	case opMkdir, opCreate:
		if f == nil && o.path != "" {
			d.name(nameOp{kind: opCreate, path: o.path, file: &simFile{dir: o.kind == opMkdir}, dirs: []string{dirOf(o.path)}})
		}
	case opWrite, opTruncate:
		if f != nil {
			f.pend = append(f.pend, o)
		}
	case opSync:
		if f != nil {
			f.data, f.pend = contentOf(f.data, f.pend), nil
		}
	case opSyncAll:
		if f != nil {
			f.data, f.pend = contentOf(f.data, f.pend), nil
			f.label, f.labelPend = contentOf(f.label, f.labelPend), nil
		}
	case opLabel:
		if f != nil {
			f.labelPend = append(f.labelPend, op{kind: opTruncate}, op{kind: opWrite, data: o.data})
		}
	case opSyncDir:
		d.syncDir(o.path)
	case opRename:
		if f != nil {
			d.name(nameOp{kind: opRename, path: o.path, to: o.to, file: f, dirs: []string{dirOf(o.path), dirOf(o.to)}})
		}
	case opRemove:
		if f != nil {
			d.name(nameOp{kind: opRemove, path: o.path, file: f, dirs: []string{dirOf(o.path)}})
		}
	case opCopy:
		if from, to := d.live[o.path], d.live[o.to]; from != nil && to != nil {
			to.pend = append(to.pend, op{kind: opWrite, path: o.to, data: contentOf(from.data, from.pend)})
		}
	case opOpen, opRead, opAllocate:
	}
}

func (d *simDisk) name(o nameOp) {
	o.do(d.live)
	d.pend = append(d.pend, o)
}

func (o nameOp) do(names map[string]*simFile) {
	delete(names, o.path)
	switch o.kind {
	case opCreate:
		names[o.path] = o.file
	case opRename:
		names[o.to] = o.file
	default:
	}
}

// syncDir makes the changes in one directory sure, and what they rest on.
func (d *simDisk) syncDir(dir string) {
	dirs, chosen := map[string]bool{dir: true}, make([]bool, len(d.pend))
	for i, o := range slices.Backward(d.pend) {
		if slices.ContainsFunc(o.dirs, func(d string) bool { return dirs[d] }) {
			chosen[i] = true
			for _, other := range o.dirs {
				dirs[other] = true
			}
		}
	}
	var rest []nameOp
	for i, o := range d.pend {
		if chosen[i] {
			o.do(d.sure)
		} else {
			rest = append(rest, o)
		}
	}
	d.pend = rest
}

// contentOf applies whole writes.
func contentOf(data []byte, pend []op) []byte {
	data = bytes.Clone(data)
	for _, o := range pend {
		data = writeInto(data, o, nil)
	}
	return data
}

// writeInto applies one write; torn, where not nil, says of each sector whether it has reached the disk.
func writeInto(data []byte, o op, torn func(sector int64) bool) []byte {
	if o.kind == opTruncate {
		if o.size <= int64(len(data)) {
			return data[:o.size]
		}
		return append(data, make([]byte, o.size-int64(len(data)))...)
	}
	const sector = 512
	for i := int64(0); i < int64(len(o.data)); {
		at := o.off + i
		n := min(int64(len(o.data))-i, sector-at%sector)
		if torn == nil || torn(at/sector) {
			if grow := at + n - int64(len(data)); grow > 0 {
				data = append(data, make([]byte, grow)...)
			}
			copy(data[at:], o.data[i:i+n])
		}
		i += n
	}
	return data
}

// fate decides what a crash leaves of what was not sure.
type fate struct {
	name  string
	names func(dir string, pending int) int // how many of the changes in a directory have reached the disk
	data  func(data []byte, pend []op) []byte
}

func none(string, int) int            { return 0 }
func all(_ string, n int) int         { return n }
func lost(data []byte, _ []op) []byte { return data }
func only(dir string) func(string, int) int {
	return func(d string, n int) int {
		if d == dir {
			return n
		}
		return 0
	}
}

// fates are the extremes, and some in between.
func fates(rng *rand.Rand, random int) []fate {
	f := []fate{
		{"all lost", none, lost},
		{"all kept", all, contentOf},
		{"names kept", all, lost},
		{"data kept", none, contentOf},
		{"top names kept", only(""), lost},
		{"file names kept", only(filesDir), contentOf},
	}
	for i := range random {
		f = append(f, fate{fmt.Sprintf("random %d", i), func(_ string, n int) int { return rng.IntN(n + 1) }, func(data []byte, pend []op) []byte {
			data = bytes.Clone(data)
			for _, o := range pend {
				page := []int64{1, 8}[rng.IntN(2)] // torn at 512 bytes or at 4 KiB
				switch rng.IntN(4) {
				case 0: // lost
				case 1:
					data = writeInto(data, o, nil)
				case 2: // the first part only
					end := o.off/512 + rng.Int64N(int64(len(o.data))/512+2)
					data = writeInto(data, o, func(s int64) bool { return s-s%page < end })
				default: // any parts of it
					odd := rng.Uint64()
					data = writeInto(data, o, func(s int64) bool { return odd>>(uint64(s/page)%64)&1 == 1 })
				}
			}
			return data
		}})
	}
	return f
}

// crash is the tree of files that a crash leaves.
func (d *simDisk) crash(f fate) map[string]*simFile {
	names, left, count := maps.Clone(d.sure), map[string]int{}, map[string]int{}
	for _, o := range d.pend {
		for _, dir := range slices.Compact(slices.Clone(o.dirs)) {
			count[dir]++
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(count)) {
		left[dir] = f.names(dir, count[dir])
	}
	for _, o := range d.pend {
		reached := !slices.ContainsFunc(o.dirs, func(dir string) bool { return left[dir] == 0 })
		for _, dir := range slices.Compact(slices.Clone(o.dirs)) {
			if left[dir]--; !reached {
				left[dir] = 0 // nothing overtakes it
			}
		}
		if reached {
			o.do(names)
		}
	}
	out, done := map[string]*simFile{}, map[*simFile]*simFile{}
	for _, path := range slices.Sorted(maps.Keys(names)) {
		file := names[path]
		if dir := dirOf(path); dir != "" && (names[dir] == nil || !names[dir].dir) {
			continue
		}
		if done[file] == nil {
			done[file] = &simFile{dir: file.dir, data: f.data(file.data, file.pend), label: f.data(file.label, file.labelPend)}
		}
		out[path] = done[file]
	}
	return out
}

// signature tells trees apart.
func signature(tree map[string]*simFile) [32]byte {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		fmt.Fprintf(h, "%q %v %d %x\n", path, tree[path].dir, len(tree[path].data), tree[path].label)
		h.Write(tree[path].data)
	}
	return [32]byte(h.Sum(nil))
}

// layOut writes a tree to a new directory.
func layOut(t testing.TB, tree map[string]*simFile) string {
	t.Helper()
	dir := fastDir(t)
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		var err error
		if tree[path].dir {
			err = os.MkdirAll(filepath.Join(dir, path), 0o700)
		} else {
			err = os.WriteFile(filepath.Join(dir, path), tree[path].data, 0o600)
		}
		if label := tree[path].label; err == nil && len(label) > 0 {
			err = unix.Setxattr(filepath.Join(dir, path), labelAttr, label, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loadSim is a disk on which all of a tree is sure.
func loadSim(tree map[string]*simFile) *simDisk {
	d := newSimDisk()
	for path, f := range tree {
		c := &simFile{dir: f.dir, data: f.data, label: f.label}
		d.live[path], d.sure[path] = c, c
	}
	return d
}

// fastDir is a directory that syncs fast where there is such a place: what a crash does is simulated.
func fastDir(t testing.TB) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "stage-*"); err == nil { //nolint:usetesting // in memory
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// A simulator that keeps what a disk would lose would let every bug pass.
func TestTheSimulatedDiskLosesWhatIsNotSynced(t *testing.T) {
	d := newSimDisk()
	for _, o := range []op{
		{kind: opMkdir, path: filesDir},
		{kind: opSyncDir},
		{kind: opCreate, path: "files/a"},
		{kind: opWrite, path: "files/a", data: []byte("one")},
		{kind: opSync, path: "files/a"},
		{kind: opSyncDir, path: filesDir},
		{kind: opWrite, path: "files/a", data: []byte("two")},
		{kind: opRename, path: "files/a", to: "files/b"},
		{kind: opCreate, path: "files/c"},
		{kind: opSync, path: "files/c"},
		{kind: opCreate, path: journalName},
		{kind: opRemove, path: "files/b"},
	} {
		d.apply(o)
	}
	show := func(f fate) string {
		var s []string
		tree := d.crash(f)
		for _, path := range slices.Sorted(maps.Keys(tree)) {
			s = append(s, path+"="+string(tree[path].data))
		}
		return strings.Join(s, " ")
	}
	for _, c := range []struct {
		f    fate
		want string
	}{
		{fate{"", none, lost}, "files= files/a=one"},
		{fate{"", none, contentOf}, "files= files/a=two"},
		{fate{"", all, lost}, "files= files/c= journal="},
		{fate{"", only(""), lost}, "files= files/a=one journal="},
		{fate{"", func(string, int) int { return 1 }, contentOf}, "files= files/b=two journal="},
		{fate{"", func(string, int) int { return 2 }, lost}, "files= files/b=one files/c= journal="},
	} {
		if got := show(c.f); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
