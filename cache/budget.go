package cache

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// budget hands out block buffers, never more bytes at once than its limit. It is safe for concurrent use.
type budget struct {
	sem   *semaphore.Weighted
	limit int64
	used  atomic.Int64
	pool  sync.Pool
}

func newBudget(limit int64) *budget {
	limit = max(limit, BlockSize)
	return &budget{sem: semaphore.NewWeighted(limit), limit: limit}
}

// get waits for a buffer of BlockSize bytes, which the caller gives back with put.
func (b *budget) get(ctx context.Context) (*[]byte, error) {
	if err := b.sem.Acquire(ctx, BlockSize); err != nil {
		return nil, err
	}
	b.used.Add(BlockSize)
	return b.scratch(), nil
}

// tryGet is get for who holds buffers already, and must not wait for others who do the same.
func (b *budget) tryGet() (*[]byte, bool) {
	if !b.sem.TryAcquire(BlockSize) {
		return nil, false
	}
	b.used.Add(BlockSize)
	return b.scratch(), true
}

// scratch returns a buffer that is not counted, for a use that waits for nothing: comparing a checksum. It has room for a
// sealed block. It goes back into pool. Were it counted, stalled fetches could keep cached bytes from being read.
func (b *budget) scratch() *[]byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return buf
	}
	fresh := make([]byte, BlockSize, BlockSize+sealOverhead)
	return &fresh
}

func (b *budget) put(buf *[]byte) {
	b.pool.Put(buf)
	b.used.Add(-BlockSize)
	b.sem.Release(BlockSize)
}

// slots bound the requests in flight. Those that somebody waits for go first: those ahead of need may hold only a part, and wait for as long as others
// do. It is safe for concurrent use.
type slots struct {
	most, ahead int

	mu        sync.Mutex // guards all below; a leaf
	busy      int
	busyAhead int
	urgent    []chan struct{} // who waits in a hurry, in order; closed when it is their turn
	later     []chan struct{} // and who does not
}

func newSlots(n int) *slots {
	return &slots{most: n, ahead: max(1, n*3/4)}
}

// acquire waits for a slot. It is one of those ahead of need until wanted is closed; what release is to be told is returned.
func (s *slots) acquire(ctx context.Context, wanted <-chan struct{}) (ahead bool, err error) {
	ahead = !closed(wanted)
	turn, ok := s.enter(ahead)
	if ok {
		return ahead, nil
	}
	hurry := wanted
	if !ahead {
		hurry = nil
	}
	select {
	case <-turn:
		return ahead, nil
	case <-ctx.Done():
		if !s.leave(turn, ahead) {
			s.release(ahead)
		}
		return ahead, ctx.Err()
	case <-hurry:
		if !s.leave(turn, ahead) {
			return ahead, nil
		}
		return s.acquire(ctx, wanted)
	}
}

// enter takes a slot, or waits in line.
func (s *slots) enter(ahead bool) (turn chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free(ahead) {
		s.take(ahead)
		return nil, true
	}
	turn = make(chan struct{})
	if ahead {
		s.later = append(s.later, turn)
	} else {
		s.urgent = append(s.urgent, turn)
	}
	return turn, false
}

// leave goes out of the line; false: it was its turn already.
func (s *slots) leave(turn chan struct{}, ahead bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := &s.urgent
	if ahead {
		line = &s.later
	}
	i := slices.Index(*line, turn)
	if i < 0 {
		return false
	}
	*line = slices.Delete(*line, i, i+1)
	return true
}

// free reports whether there is a slot. The caller holds mu.
func (s *slots) free(ahead bool) bool {
	return s.busy < s.most && (!ahead || s.busyAhead < s.ahead && len(s.urgent) == 0)
}

// take counts one more. The caller holds mu.
func (s *slots) take(ahead bool) {
	s.busy++
	if ahead {
		s.busyAhead++
	}
}

// release gives a slot back and lets in whose turn it is.
func (s *slots) release(ahead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	if ahead {
		s.busyAhead--
	}
	for len(s.urgent) > 0 && s.free(false) {
		s.take(false)
		close(s.urgent[0])
		s.urgent = s.urgent[1:]
	}
	for len(s.later) > 0 && s.free(true) {
		s.take(true)
		close(s.later[0])
		s.later = s.later[1:]
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
