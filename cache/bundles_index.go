package cache

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"studyfs/backends"
)

// maxLast bounds the entries whose listing is kept to be handed out again: about 50 MB.
const maxLast = 200_000

// lastLists are the listings that were handed out last, the latest directories of them. It has no lock: its owner guards
// it.
type lastLists struct {
	limit, entries int
	order          *simplelru.LRU[string, []backends.Entry]
}

func newLastLists(limit int) *lastLists {
	// Bounded by entries, not by count. The only error there is concerns a count below 1.
	order, _ := simplelru.NewLRU[string, []backends.Entry](1<<40, nil)
	return &lastLists{limit: limit, order: order}
}

// keep returns the slice that was returned for dir before, if all is as it was; otherwise all, from now on.
func (l *lastLists) keep(dir string, all []backends.Entry) []backends.Entry {
	last, known := l.order.Get(dir)
	if known && slices.EqualFunc(last, all, sameEntry) {
		return last
	}
	l.entries += len(all) - len(last)
	l.order.Add(dir, all)
	for l.entries > l.limit && l.order.Len() > 1 {
		_, dropped, _ := l.order.RemoveOldest()
		l.entries -= len(dropped)
	}
	return all
}

// sameEntry is ==, but for times, which can be equal in more than one form.
func sameEntry(a, b backends.Entry) bool {
	same := a.ModTime.Equal(b.ModTime)
	a.ModTime = b.ModTime
	return same && a == b
}

// restore gives the source the index of an earlier run.
func (b *bundled) restore() {
	raw, err := readSealed(b.file(), b.s.codec)
	if err == nil && raw != nil {
		err = b.src.Restore(raw)
	}
	if err != nil {
		b.s.log.Warn("the stored index is of no use; beginning anew", "err", err)
	}
}

// save stores the source's index if it has moved.
func (b *bundled) save() error {
	b.mu.Lock()
	since := b.stored
	b.mu.Unlock()
	raw, generation := b.src.Snapshot(since)
	if raw == nil {
		return nil
	}
	if err := writeSealed(b.file(), b.s.codec, raw); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stored = generation
	return nil
}

func (b *bundled) file() string { return b.s.home.path("listing") }

// keepSaved stores the index every now and then, until the store closes.
func (b *bundled) keepSaved() {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-b.s.ctx.Done():
			return
		case <-ticker.C:
		}
		if err := b.save(); err != nil {
			b.s.log.WarnContext(b.s.ctx, "cannot save the index", "err", err)
		}
	}
}
