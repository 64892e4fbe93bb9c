package stage

import (
	"container/heap"
	"context"
	"time"
)

// queue orders items by when they are to be looked at. What comes out may not be due after all: its item tells.
type queue []queued

type queued struct {
	due time.Time
	id  ID
}

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push is for container/heap.
func (q *queue) Push(x any) { *q = append(*q, x.(queued)) } //nolint:forcetypeassert // only queued are pushed

// Pop is for container/heap.
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// due is when an item may be handed to the uploader, or, of junk, is to be given up; false: not before something happens to it. The caller
// holds mu.
func (s *Stage) due(it *item) (time.Time, bool) {
	switch {
	case it.gone || it.job != nil || it.wanted > 0 || it.writers > 0 && !it.express:
		return time.Time{}, false
	case it.stays():
		return s.junkDue(it)
	case !it.mayGo() || s.inTheWay(it):
		return time.Time{}, false
	}
	at := it.touched.Add(s.o.Quiet)
	if it.express {
		at = it.touched
	}
	if it.notBefore.After(at) {
		at = it.notBefore
	}
	return at, true
}

// mayGo reports whether an item's state lets it be stored without people.
func (it *item) mayGo() bool {
	switch it.state {
	case Writing:
		return it.opened // else it is a copy that may yet be opened
	case Staged, Failed:
		return true
	case Uploading, Stored, Conflict, Parked, Orphan, Quarantined, LocalOnly:
	}
	return false
}

// inTheWay reports whether something else has to be done first. The caller holds mu.
func (s *Stage) inTheWay(it *item) bool {
	if u := s.undos[it.name]; u != nil && u != it {
		return true
	}
	if it.kind == Dir && !s.names.empty(it.name) {
		return true
	}
	if it.touch {
		staged, _ := s.names.find(it.name)
		return staged != nil // bytes and metadata go together
	}
	t := s.touches[Object(it.name, it.kind)]
	return t != nil && t.job != nil // its answer would list the version of before
}

// enqueue sees to it that an item is looked at when it may be due. Those who wait for work are woken where that is sooner than all else: the new
// mode of a stored file was sent only when something else happened, or at the end. The caller holds mu.
func (s *Stage) enqueue(it *item) {
	at, ok := s.due(it)
	if !ok {
		return
	}
	if len(s.queue) == 0 || at.Before(s.queue[0].due) {
		s.signal()
	}
	heap.Push(&s.queue, queued{at, it.id})
}

// pick returns the item that has been due longest, or how long to wait for one; less than 0: until something happens. The caller holds mu.
func (s *Stage) pick() (*item, time.Duration) {
	if s.paused != "" || s.closed {
		return nil, -1
	}
	now := s.o.Now()
	for len(s.queue) > 0 {
		if wait := s.queue[0].due.Sub(now); wait > 0 {
			return nil, wait
		}
		q, _ := heap.Pop(&s.queue).(queued)
		it := s.items[q.id]
		if it == nil {
			continue
		}
		at, ok := s.due(it)
		if ok && !at.After(now) {
			return it, 0
		}
		if ok {
			heap.Push(&s.queue, queued{at, it.id})
		}
	}
	return nil, -1
}

// Next waits until something is due: nobody has it open for writing, and it was left alone for the time of quiet. Its bytes are sealed, summed
// and judged when it is handed out. It ends with ctx's error, or with the Stage. Several may wait at once.
func (s *Stage) Next(ctx context.Context) (*Job, error) {
	for {
		s.mu.Lock()
		it, wait := s.pick()
		if it == nil {
			wake := s.wake
			s.mu.Unlock()
			if err := s.sleep(ctx, wake, wait); err != nil {
				return nil, err
			}
			continue
		}
		if it.stays() {
			drop := s.shed(it)
			s.mu.Unlock()
			drop()
			continue
		}
		j := s.newJob(it)
		s.mu.Unlock()
		if s.prepare(j) {
			return j, nil
		}
	}
}

// sleep returns when something has happened, or after d if that is not less than 0.
func (s *Stage) sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) error {
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return errClosed
	case <-wake:
	case <-timer:
	}
	return nil
}
