package fs

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// maxReaders bounds the files that are kept open for reads that come without a handle.
	maxReaders = 64
	// idleReader is how long one is kept open that nobody reads.
	idleReader = 10 * time.Second
	// sweepReaders is how often that is looked at.
	sweepReaders = 5 * time.Second
)

// readers keeps Readers of nodes whose reads come without a handle, so that reading a large file bit by bit opens it once. It is safe for
// concurrent use.
type readers struct {
	now func() time.Time
	log *slog.Logger

	mu  sync.Mutex // guards what follows; nothing is opened, read or closed under it
	all *simplelru.LRU[*openless, *shared]
}

// shared is the Reader of a node. What follows late is guarded by readers.mu.
type shared struct {
	late
	users int
	used  time.Time
	gone  bool // out of the books: the last user closes it
}

func newReaders(now func() time.Time, log *slog.Logger) *readers {
	all, _ := simplelru.NewLRU[*openless, *shared](2*maxReaders, nil) // bounded below; the only error concerns a size below 1
	return &readers{now: now, log: log, all: all}
}

// read is Reader.ReadAt of a node's version.
func (p *readers) read(ctx context.Context, f *openless, dest []byte, off int64) (int, error) {
	s := p.take(f)
	whole := off == 0 && int64(len(dest)) >= f.e.Size
	defer func() { p.back(f, s, whole) }()
	r, err := s.get(ctx, f.again)
	if err != nil {
		return 0, err
	}
	return r.ReadAt(ctx, dest, off)
}

// take finds a node's Reader, or a place for one.
func (p *readers) take(f *openless) *shared {
	p.mu.Lock()
	s, ok := p.all.Get(f)
	if !ok {
		s = &shared{}
		p.all.Add(f, s)
	}
	s.users++
	var old *shared
	if p.all.Len() > maxReaders {
		old = p.removeOldest()
	}
	p.mu.Unlock()
	p.close(old)
	return s
}

// back ends what take began. After the whole file was read at once nobody comes back: the kernel has it.
func (p *readers) back(f *openless, s *shared, whole bool) {
	p.mu.Lock()
	s.users--
	s.used = p.now()
	if whole && s.users == 0 && !s.gone {
		p.all.Remove(f)
		s.gone = true
	}
	last := s.gone && s.users == 0
	p.mu.Unlock()
	if last {
		p.close(s)
	}
}

// drop forgets the Reader of a node.
func (p *readers) drop(f *openless) {
	p.mu.Lock()
	s, ok := p.all.Peek(f)
	if ok {
		p.all.Remove(f)
		s.gone = true
		ok = s.users == 0
	}
	p.mu.Unlock()
	if ok {
		p.close(s)
	}
}

// removeOldest takes the one that was used longest ago out of the books and returns it if nobody uses it now. The caller holds mu.
func (p *readers) removeOldest() *shared {
	_, s, ok := p.all.RemoveOldest()
	if !ok {
		return nil
	}
	s.gone = true
	if s.users > 0 {
		return nil
	}
	return s
}

// sweep closes what nobody has used since before.
func (p *readers) sweep(before time.Time) {
	for {
		p.mu.Lock()
		var idle *shared
		if _, s, ok := p.all.GetOldest(); ok && s.users == 0 && s.used.Before(before) {
			idle = p.removeOldest()
		}
		p.mu.Unlock()
		if idle == nil {
			return
		}
		p.close(idle)
	}
}

// run closes what is idle until stop, and then everything. No request may come after stop.
func (p *readers) run(stop <-chan struct{}) {
	again := time.NewTicker(sweepReaders)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			p.sweep(p.now().Add(-idleReader))
		case <-stop:
			p.sweep(p.now().Add(time.Hour))
			return
		}
	}
}

func (p *readers) close(s *shared) {
	if s == nil {
		return
	}
	if err := s.late.close(); err != nil {
		p.log.Warn("cannot close a cached object", slog.Any("err", err))
	}
}
