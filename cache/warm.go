package cache

import (
	"context"
	"fmt"
	"os"

	"studyfs/backends"
)

// stepBlocks is how much of one object Fetch asks for at once: four requests.
const stepBlocks = 4 * maxRun

// Missing tells how many bytes of e are not on the local disk, and with how many requests Fetch would get them. It never asks the source, and is
// exact but for sources that deliver objects in bundles, of which it counts each object as one.
func (s *Store) Missing(e backends.Entry) (bytes, requests int64) {
	if !fetchable(e) || s.have(e) {
		return 0, 0
	}
	here := s.blocksOf(s.idOf(e))
	for from := int64(0); from < blockCount(e.Size); from += stepBlocks {
		for _, run := range missingRuns(span{from, min(from+stepBlocks, blockCount(e.Size))}, here) {
			_, n := bytesOf(run, e.Size)
			bytes += n
			requests++
		}
	}
	if s.bundles != nil {
		requests = 1
	}
	return bytes, requests
}

// fetchable reports whether there are bytes to be had.
func fetchable(e backends.Entry) bool {
	return !e.Dir && e.Link == "" && e.Size > 0 && e.Size <= maxCached
}

// blocksOf returns a function that tells which blocks of an object are here.
func (s *Store) blocksOf(id objectID) func(int64) bool {
	s.mu.Lock()
	o := s.objects[id]
	s.mu.Unlock()
	if o != nil {
		return func(b int64) bool { here, _ := o.present(span{b, b + 1}); return here > 0 }
	}
	if raw, err := os.ReadFile(s.mapPath(id)); err == nil {
		if m, ok := decodeBlockMap(raw, id); ok {
			return func(b int64) bool { return b < blockCount(m.size) && m.valid.has(b) }
		}
	}
	return func(int64) bool { return false }
}

// Fetch gets what is missing of e, after all that programs wait for. It returns when it is here. An object that does not fit into the cache
// fails; one that is larger than others that nobody has open or pinned takes their place.
func (s *Store) Fetch(ctx context.Context, e backends.Entry) error {
	if !fetchable(e) || s.have(e) {
		return nil
	}
	if s.bundles != nil || e.Tier != backends.Online {
		r, err := s.Open(ctx, e)
		if err != nil {
			return err
		}
		return r.Close()
	}
	if err := s.guard.check(ctx, s); err != nil {
		return err
	}
	o, err := s.acquireNoted(ctx, s.idOf(e), e.Size)
	if err != nil {
		return err
	}
	defer s.release(o)
	o.mu.Lock()
	o.entry = e
	usable := o.file != nil
	o.mu.Unlock()
	if !usable {
		return fmt.Errorf("fetch: %w", errDisk)
	}
	o.pin() // what comes later must not push out what came first
	defer o.unpin()
	for from := int64(0); from < blockCount(e.Size); from += stepBlocks {
		if err := o.fetch(ctx, span{from, min(from+stepBlocks, blockCount(e.Size))}); err != nil {
			return s.explain(ctx, e, err)
		}
	}
	return nil
}

// fetch waits until the blocks of a span are here.
func (o *object) fetch(ctx context.Context, s span) error {
	held := o.start(s, true) //nolint:contextcheck // a flight is shared: it lives on the store's context
	defer o.letGo(held)
	for _, f := range held {
		if err := o.await(ctx, f, min(f.blocks.to, s.to)-1); err != nil {
			return err
		}
	}
	return nil
}
