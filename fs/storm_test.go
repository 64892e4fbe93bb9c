package fs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Several programs work in one directory while everything is uploaded as soon as it is closed. None of them is ever told
// that its file is stale, missing, or there already.
func TestStorm(t *testing.T) {
	ways(t, setup{Delete: true, Eager: true}, func(t *testing.T, m *mounted) {
		var all sync.WaitGroup
		for n := range uint64(4) {
			all.Go(func() {
				w := &worker{t: t, dir: m.dir, rnd: rand.New(rand.NewPCG(n, 2)), id: n}
				for range 150 {
					w.step()
				}
				w.close()
			})
		}
		all.Wait()
	})
}

// worker has one file, which it names and renames as it likes.
type worker struct {
	t     *testing.T
	dir   string
	rnd   *rand.Rand
	id    uint64
	count int
	name  string // "": there is none
	f     *os.File
}

func (w *worker) path() string { return w.dir + "/" + w.name }

func (w *worker) next() string {
	w.count++
	return fmt.Sprintf("%d-%d", w.id, w.count)
}

func (w *worker) ok(what string, err error) {
	if errors.Is(err, unix.ESTALE) && w.f != nil && what != "open" {
		return // an upload that was broken off by the open may have landed: nobody can tell before it is tried again
	}
	if err != nil {
		w.t.Errorf("%s: %v", what, err)
	}
}

func (w *worker) step() {
	switch w.rnd.IntN(7) {
	case 0, 1:
		w.close()
		if w.name == "" {
			w.name = w.next()
		}
		f, err := os.OpenFile(w.path(), os.O_RDWR|os.O_CREATE, 0o644)
		if w.ok("open", err); err == nil {
			w.f = f
		}
	case 2:
		w.close()
	case 3:
		if w.f != nil {
			_, err := w.f.WriteString("0123456789")
			w.ok("write", err)
		}
	case 4:
		w.list()
	case 5:
		if w.name == "" {
			return
		}
		to := w.next()
		err := os.Rename(w.path(), w.dir+"/"+to)
		if w.ok("rename", err); err == nil {
			w.name = to
		}
	case 6:
		if w.name == "" {
			return
		}
		err := os.Remove(w.path())
		if w.ok("remove", err); err == nil {
			w.close()
			w.name = ""
		}
	}
}

func (w *worker) close() {
	if w.f != nil {
		w.ok("close", w.f.Close())
		w.f = nil
	}
}

func (w *worker) list() {
	list, err := os.ReadDir(w.dir)
	w.ok("list", err)
	there := slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.Name() == w.name })
	if there != (w.name != "") {
		w.t.Errorf("%q is listed: %v", w.name, there)
	}
}

// A link was given to somebody and stored in the next moment: for as long as the kernel was not told of it, whoever asked was shown whose the link was
// when it was made, and the kernel kept that.
func TestStoredLinksShowTheirOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives things away")
	}
	m := mount(t, setup{Lab: true, Delete: true, Eager: true})
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 30 {
				path := m.path(fmt.Sprintf("l%d-%d", n, i))
				if err := errors.Join(os.Symlink("../x", path), os.Lchown(path, 5, 6)); err != nil {
					t.Error(err)
					return
				}
				for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
					var s unix.Stat_t
					if err := unix.Lstat(path, &s); err != nil || s.Uid != 5 || s.Gid != 6 {
						t.Errorf("%s belongs to %d:%d, %v", path, s.Uid, s.Gid, err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
}
