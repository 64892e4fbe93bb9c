// Package kill ends the serving process of a mount at random points while a writer works on it, and holds what is in the
// bucket afterwards against what the writer was told: no file whose close succeeded may be missing or torn, and nothing may be
// stored that was never closed.
package kill

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// A Variant is a way in which programs save files.
type Variant string

// The variants.
const (
	Close      Variant = "close"
	Fsync      Variant = "fsync"       // fsync, then close
	RenameOver Variant = "rename-over" // a new file, closed and renamed to the name of an older one
)

// What a line of the record says of a file. Whoever calls close or rename says so before, and again when it has succeeded.
const (
	opened   = "opened"
	closing  = "closing" // also written ahead of fsync: from then on the bytes may be kept
	closed   = "closed"
	renaming = "renaming"
	renamed  = "renamed"
	failed   = "failed"
)

// line is one line of the record: a file outside the mount that outlives both processes.
type line struct {
	Op      string `json:"op"`
	Name    string `json:"name"`          // of the file, below the mount
	To      string `json:"to,omitempty"`  // its new name
	Version int    `json:"v"`             // grows with every file written
	Sum     string `json:"sum,omitempty"` // SHA-256 of its bytes
	Size    int    `json:"size"`
	Err     string `json:"err,omitempty"`
}

// Job is what one writer process is to do until the mount dies under it.
type Job struct {
	Dir     string // below the mount; made if missing
	Below   string // the same, as the record and the bucket name it
	Record  string // path of the record, appended to
	Variant Variant
	Seed    uint64
	First   int // version of the first file
	Threads int
	Large   int // one file in so many has LargeSize bytes; 0: none
}

// LargeSize is of a file that is uploaded in parts.
const LargeSize = 20 << 20

// overwritten is how many names there are for files that are renamed over others, per thread.
const overwritten = 20

// Sizes are those of most files.
func Sizes() []int { return []int{0, 17, 4096, 65536, 300_000} }

type writer struct {
	Job

	mu     sync.Mutex // guards all below
	record *os.File
	next   int
	rnd    *rand.Rand
}

// Write works until a call on the mount fails, which ends the record. It is the whole of the writer process.
func Write(j Job) error {
	record, err := os.OpenFile(j.Record, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer record.Close()
	w := &writer{Job: j, record: record, next: j.First, rnd: rand.New(rand.NewPCG(j.Seed, uint64(j.First)))}
	if err := os.MkdirAll(j.Dir, 0o755); err != nil {
		w.note(line{Op: failed, Err: err.Error()})
		return nil
	}
	var wg sync.WaitGroup
	for thread := range j.Threads {
		wg.Go(func() { w.work(thread) })
	}
	wg.Go(w.hold)
	wg.Wait()
	return nil
}

// hold leaves files open that have bytes: when all is over none of them may be in the bucket.
func (w *writer) hold() {
	var open []*os.File // or the collector would close them
	defer func() { runtime.KeepAlive(open) }()
	for {
		version, body := w.body()
		name := fmt.Sprintf("held-%d", version)
		w.note(line{Op: opened, Name: name, Version: version})
		f, err := os.Create(filepath.Join(w.Dir, name))
		if err == nil {
			open = append(open, f)
			_, err = f.Write(body)
		}
		if err != nil {
			w.note(line{Op: failed, Name: name, Version: version, Err: err.Error()})
			return
		}
		time.Sleep(200 * time.Millisecond) // the file stays open: the process is killed or ends with the mount
	}
}

func (w *writer) work(thread int) {
	for {
		version, body := w.body()
		sum := sha256.Sum256(body)
		l := line{Name: fmt.Sprintf("f-%d", version), Version: version, Sum: hex.EncodeToString(sum[:]), Size: len(body)}
		if err := w.save(l, body); err != nil {
			w.note(line{Op: failed, Name: l.Name, Version: version, Err: err.Error()})
			return
		}
		if w.Variant != RenameOver {
			continue
		}
		l.To = fmt.Sprintf("over-%d-%d", thread, version%overwritten)
		l.Op = renaming
		w.note(l)
		if err := os.Rename(filepath.Join(w.Dir, l.Name), filepath.Join(w.Dir, l.To)); err != nil {
			w.note(line{Op: failed, Name: l.Name, To: l.To, Version: version, Err: err.Error()})
			return
		}
		l.Op = renamed
		w.note(l)
	}
}

func (w *writer) save(l line, body []byte) error {
	l.Op = opened
	w.note(l)
	f, err := os.OpenFile(filepath.Join(w.Dir, l.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for len(body) > 0 { // in pieces, so that some are cut off between two
		n := min(len(body), 128<<10)
		if _, err := f.Write(body[:n]); err != nil {
			f.Close()
			return err
		}
		body = body[n:]
	}
	l.Op = closing
	w.note(l)
	if w.Variant == Fsync {
		if err := f.Sync(); err != nil {
			f.Close()
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	l.Op = closed
	w.note(l)
	return nil
}

// body makes up the next file.
func (w *writer) body() (version int, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	version = w.next
	w.next++
	size := Sizes()[w.rnd.IntN(len(Sizes()))]
	if w.Large > 0 && w.rnd.IntN(w.Large) == 0 {
		size = LargeSize
	}
	body = make([]byte, size)
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(w.rnd.Uint32())
	}
	rand.NewChaCha8(seed).Read(body)
	return version, body
}

// note writes a line with one system call: it is there even if this process is killed right after.
func (w *writer) note(l line) {
	l.Name = filepath.Join(w.Below, l.Name)
	if l.To != "" {
		l.To = filepath.Join(w.Below, l.To)
	}
	raw, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.record.Write(append(raw, '\n')); err != nil {
		panic(err)
	}
}
