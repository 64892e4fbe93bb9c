package audit

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	current  = "audit.jsonl"
	lockFile = "lock"
	dayForm  = "20060102"
	// maxLine bounds a line: a name of 1,024 bytes, its encryption and a path of 4,096.
	maxLine = 16 << 10
)

// zeros are the hash before the first line.
func zeros() string { return strings.Repeat("0", 2*sha256.Size) }

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// tail is where the chain ends.
type tail struct {
	seq  uint64 // of the last line
	hash string
	size int64  // of the current file
	day  string // of its first line; "" while it is empty
	from uint64 // the number of its first line
	torn bool   // it ends in the middle of a line

	notes []Record // what has to be said of it first
}

// appender adds lines to the current file. It is used by one goroutine, and only while the directory is locked.
type appender struct {
	o    Options
	f    *os.File
	last tail // as this process left it
}

// locked runs do while no other process adds lines.
func (a *appender) locked(do func() error) error {
	if err := os.MkdirAll(a.o.Dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(a.o.Dir, lockFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // that unlocks it
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return err
			}
			return do()
		}
	}
}

// ready opens the current file, after others may have added to it or begun another, and begins another where it is time.
func (a *appender) ready() (tail, error) {
	t, err := a.find()
	if err != nil {
		return t, err
	}
	today := a.o.Now().UTC().Format(dayForm)
	if t.size == 0 || t.size < a.o.MaxBytes && t.day == today {
		return t, nil
	}
	return a.rotate(t, today)
}

// find opens the current file and tells where the chain ends.
func (a *appender) find() (tail, error) {
	path := filepath.Join(a.o.Dir, current)
	if a.f != nil {
		ours, err := a.f.Stat()
		now, nowErr := os.Stat(path)
		if err == nil && nowErr == nil && os.SameFile(ours, now) && now.Size() == a.last.size && a.last.seq > 0 {
			return a.last, nil
		}
		a.f.Close() //nolint:errcheck // only a handle
		a.f = nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return tail{}, err
	}
	a.f = f
	t, err := endOf(f)
	if err != nil || t.size > 0 {
		return t, err
	}
	t.day = ""
	older, err := rotated(a.o.Dir)
	if err != nil || len(older) == 0 {
		t.hash = zeros()
		return t, err
	}
	before, err := endOfFile(filepath.Join(a.o.Dir, older[len(older)-1].name))
	return tail{seq: before.seq, hash: before.hash, notes: before.notes}, err // a fragment there is told of in the new file
}

func endOfFile(path string) (tail, error) {
	f, err := os.Open(path)
	if err != nil {
		return tail{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	return endOf(f)
}

// endOf reads the end of a file, and notes where it was cut off.
func endOf(f *os.File) (t tail, err error) {
	info, err := f.Stat()
	if err != nil {
		return t, err
	}
	t.size = info.Size()
	first, err := firstLine(f)
	if err != nil {
		return t, err
	}
	t.day, t.from = first.Time.UTC().Format(dayForm), first.Seq
	buf := make([]byte, min(t.size, 4*maxLine))
	if _, err := f.ReadAt(buf, t.size-int64(len(buf))); err != nil && !errors.Is(err, io.EOF) {
		return t, err
	}
	cut := bytes.LastIndexByte(buf, '\n') + 1
	whole, fragment := buf[:cut], buf[cut:]
	if len(fragment) > 0 {
		t.torn = true
		t.notes = []Record{{Op: opTorn, Bytes: int64(len(fragment)), Detail: hashOf(fragment)}}
	}
	t.end(bytes.Split(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n")))
	return t, nil
}

// end finds the last line among the complete ones. One that is no record counts all the same: what follows is chained to it.
func (t *tail) end(lines [][]byte) {
	t.hash = zeros()
	unread := uint64(0)
	for _, line := range slices.Backward(lines) {
		if len(line) == 0 {
			continue
		}
		if t.hash == zeros() {
			t.hash = hashOf(line)
		}
		var r Record
		if json.Unmarshal(line, &r) == nil && r.Seq > 0 {
			t.seq = r.Seq + unread
			return
		}
		unread++
	}
	t.seq = unread
}

func firstLine(f *os.File) (r Record, err error) {
	buf := make([]byte, maxLine)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return r, err
	}
	line, _, _ := bytes.Cut(buf[:n], []byte("\n"))
	json.Unmarshal(line, &r) //nolint:errcheck // a file that begins with something else is ended with the next day
	return r, nil
}

// rotate begins another file and removes those whose time is over.
func (a *appender) rotate(t tail, today string) (tail, error) {
	name := fmt.Sprintf("audit-%s-%012d.jsonl", today, max(t.from, 1))
	if err := errors.Join(a.f.Sync(), a.f.Close()); err != nil {
		a.f = nil
		return t, err
	}
	a.f = nil
	if err := os.Rename(filepath.Join(a.o.Dir, current), filepath.Join(a.o.Dir, name)); err != nil {
		return t, err
	}
	next, err := a.find()
	if err != nil {
		return next, err
	}
	upTo, err := a.retire(t.seq)
	if upTo > 0 {
		next.notes = append(next.notes, Record{Op: opRetired, UpTo: upTo})
	}
	return next, errors.Join(err, syncDir(a.o.Dir))
}

// retire removes files whose last line is too old, and returns the number of the last line that is gone.
func (a *appender) retire(last uint64) (upTo uint64, err error) {
	all, err := rotated(a.o.Dir)
	if err != nil {
		return 0, err
	}
	limit := a.o.Now().UTC().Add(-a.o.Keep).Format(dayForm)
	for i, old := range all {
		if old.day >= limit {
			break
		}
		if err := os.Remove(filepath.Join(a.o.Dir, old.name)); err != nil {
			return upTo, err
		}
		upTo = last
		if i+1 < len(all) {
			upTo = all[i+1].from - 1
		}
	}
	return upTo, nil
}

// old is a file that was rotated.
type old struct {
	name string
	day  string // when it was
	from uint64 // its first line
}

// rotated lists the older files in the order of their lines.
func rotated(dir string) ([]old, error) {
	names, err := filepath.Glob(filepath.Join(dir, "audit-*-*.jsonl"))
	if err != nil {
		return nil, err
	}
	var all []old
	for _, path := range names {
		name := filepath.Base(path)
		parts := strings.Split(strings.TrimSuffix(name, ".jsonl"), "-")
		if len(parts) != 3 {
			continue
		}
		if from, err := strconv.ParseUint(parts[2], 10, 64); err == nil {
			all = append(all, old{name, parts[1], from})
		}
	}
	slices.SortFunc(all, func(a, b old) int { return cmp.Compare(a.from, b.from) })
	return all, nil
}

// add writes records after t, in one call, and returns how many are there as a whole.
func (a *appender) add(t tail, records []Record) (whole int, err error) {
	var buf bytes.Buffer
	if t.torn {
		buf.WriteByte('\n')
	}
	ends := make([]int, 0, len(records))
	for i, r := range records {
		t.seq++
		r.Seq, r.Prev = t.seq, t.hash
		if r.Time.IsZero() {
			r.Time = a.o.Now()
		}
		r.Time = r.Time.UTC().Truncate(time.Microsecond)
		if i == 0 && t.size == 0 {
			t.day, t.from = r.Time.Format(dayForm), r.Seq
		}
		line, err := json.Marshal(r)
		if err != nil {
			return 0, err
		}
		t.hash = hashOf(line)
		buf.Write(line)
		buf.WriteByte('\n')
		ends = append(ends, buf.Len())
	}
	n, err := a.f.Write(buf.Bytes())
	if err != nil {
		a.last = tail{} // it is looked for anew
		whole, _ = slices.BinarySearch(ends, n+1)
		return whole, err
	}
	t.size, t.torn, t.notes = t.size+int64(n), false, nil
	a.last = t
	return len(records), nil
}

func (a *appender) sync() error {
	if a.f == nil {
		return nil
	}
	return a.f.Sync()
}

func (a *appender) close() error {
	if a.f == nil {
		return nil
	}
	err := errors.Join(a.f.Sync(), a.f.Close())
	a.f = nil
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only a handle
	return d.Sync()
}
