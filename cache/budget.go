package cache

import (
	"context"
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

// slots bound the fetches in flight. Fetches that somebody waits for go first: those ahead of need may hold only a part.
type slots struct{ all, ahead *semaphore.Weighted }

func newSlots(n int) slots {
	return slots{all: semaphore.NewWeighted(int64(n)), ahead: semaphore.NewWeighted(int64(max(1, n*3/4)))}
}

func (s slots) acquire(ctx context.Context, ahead bool) error {
	if !ahead {
		return s.all.Acquire(ctx, 1)
	}
	if err := s.ahead.Acquire(ctx, 1); err != nil {
		return err
	}
	if err := s.all.Acquire(ctx, 1); err != nil {
		s.ahead.Release(1)
		return err
	}
	return nil
}

func (s slots) release(ahead bool) {
	s.all.Release(1)
	if ahead {
		s.ahead.Release(1)
	}
}
