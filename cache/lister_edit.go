package cache

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"studyfs/backends"
)

// edits are what was put and deleted from here while requests were under way: their answers may be older, and must not take it
// back. The lister guards them. Edits are numbered in order; a request has seen those up to the number at its start.
type edits struct {
	last   uint64
	byKey  map[string]edit // by full name, of a directory with "/"
	asking map[uint64]int  // requests under way, by the last edit before their start
}

type edit struct {
	number uint64
	entry  backends.Entry // as it is now; only the name where it is gone
	gone   bool
}

func newEdits() edits { return edits{byKey: map[string]edit{}, asking: map[uint64]int{}} }

// keyOf is the full key of an entry.
func keyOf(e backends.Entry) string {
	if e.Dir {
		return e.Name + "/"
	}
	return e.Name
}

// note keeps an edit for the requests under way, if there are any.
func (x *edits) note(key string, e backends.Entry, gone bool) {
	x.last++
	for dir, _ := backends.Split(e.Name); !gone && dir != ""; dir, _ = backends.Split(dir) {
		if x.byKey[dir+"/"].gone {
			delete(x.byKey, dir+"/")
		}
	}
	if len(x.asking) > 0 {
		x.byKey[key] = edit{x.last, e, gone}
	}
}

// ended ends a request that began after the edit since, and forgets what none can contradict any more.
func (x *edits) ended(since uint64) {
	if x.asking[since]--; x.asking[since] == 0 {
		delete(x.asking, since)
	}
	oldest := x.last
	for number := range x.asking {
		oldest = min(oldest, number)
	}
	for key, ed := range x.byKey {
		if ed.number <= oldest {
			delete(x.byKey, key)
		}
	}
}

// amend returns a page, asked for after the key after, with the edits that its request cannot have seen. shown tells what a listing of
// this kind has of an entry.
func (x *edits) amend(p backends.Page, after string, since uint64, shown func(backends.Entry) (backends.Entry, bool)) backends.Page {
	var added []backends.Entry
	hidden := map[string]bool{}
	for key, ed := range x.byKey {
		e, ok := shown(ed.entry)
		if ed.number <= since || !ok {
			continue
		}
		if e.Name == ed.entry.Name {
			hidden[key] = true
			hidden[e.Name+"/"] = hidden[e.Name+"/"] || !ed.gone // a file took the place of a directory that was emptied
		}
		if k := keyOf(e); !ed.gone && k > after && (!p.More || k <= p.Last) {
			added = append(added, e)
		}
	}
	if len(added) == 0 && len(hidden) == 0 {
		return p
	}
	all := slices.DeleteFunc(slices.Clone(p.Entries), func(e backends.Entry) bool { return hidden[keyOf(e)] })
	all = append(all, added...)
	slices.SortStableFunc(all, func(a, b backends.Entry) int { return cmp.Compare(keyOf(a), keyOf(b)) })
	p.Entries = slices.CompactFunc(all, func(a, b backends.Entry) bool { return keyOf(a) == keyOf(b) })
	return p
}

// childOf returns what a delimited listing of dir has of an entry.
func childOf(dir string) func(backends.Entry) (backends.Entry, bool) {
	return func(e backends.Entry) (backends.Entry, bool) {
		rel, below := strings.CutPrefix(e.Name, prefixOf(dir))
		if !below || rel == "" {
			return e, false
		}
		if child, _, deeper := strings.Cut(rel, "/"); deeper {
			return backends.Entry{Name: backends.Join(dir, child), Dir: true}, true
		}
		return e, true
	}
}

// asItIs returns what a flat listing of everything has of an entry.
func asItIs(e backends.Entry) (backends.Entry, bool) { return e, true }

// begun says that a request is about to be sent; ended goes with it, after its answer was taken in.
func (l *lister) begun() (since uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edits.asking[l.edits.last]++
	return l.edits.last
}

func (l *lister) ended(since uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.edits.ended(since)
}

// put has the listing show e from now on.
func (l *lister) put(e backends.Entry) {
	l.edit(func() []backends.Entry {
		l.edits.note(keyOf(e), e, false)
		return l.index.put(e, l.o.now(), l.expired)
	})
}

// retier gives an entry that is listed in the same version another tier, and tells whether that was news.
func (l *lister) retier(e backends.Entry) bool {
	dir, base := backends.Split(e.Name)
	l.mu.Lock()
	k, found, _ := l.index.find(dir, base)
	l.mu.Unlock()
	was := k.entry(dir)
	if found != present || was.Dir || e.Dir || was.Version != e.Version || was.Tier == e.Tier {
		return false
	}
	was.Tier = e.Tier
	l.put(was)
	return true
}

// gone has the listing show name no more.
func (l *lister) gone(name string) {
	l.edit(func() []backends.Entry {
		removed, key := l.index.drop(name, l.o.now())
		if key != "" {
			e := backends.Entry{Name: name, Dir: strings.HasSuffix(key, "/")}
			l.edits.note(keyOf(e), e, true)
		}
		return removed
	})
}

// edit changes the index. What lies on disk of it would say otherwise to a process that comes after this one was killed, and that
// might be offline: it is removed, until it is next saved.
func (l *lister) edit(change func() []backends.Entry) {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.mu.Lock()
	removed := change()
	l.dirty = true
	stale := l.onDisk
	l.onDisk = false
	l.mu.Unlock()
	if len(removed) > 0 {
		l.o.removed(removed)
	}
	if stale && l.o.file != "" {
		if err := removeForGood(l.o.file); err != nil {
			l.o.log.Warn("cannot remove an outdated listing", "err", err)
		}
	}
}

// removeForGood removes a file so that it does not come back after a loss of power.
func removeForGood(file string) error {
	if err := removeIfThere(file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
