package stage

import (
	"fmt"
	"sync"
)

// admitEvery is how many bytes may be written through requests before the disk is asked again whether there is room.
const admitEvery = 4 << 20

// room watches over the quota and the reserve of the disk. The kernel writes into staged files without asking, so what is used is
// looked at once a second, and asked for before files are opened.
type room struct {
	s       *Stage
	reserve int64

	mu      sync.Mutex // guards what follows; a leaf but for the disk being asked
	used    int64      // by staged files, as last seen
	free    int64      // of the disk, as last seen
	pending int64      // admitted since
}

func newRoom(s *Stage) *room {
	r := &room{s: s, reserve: s.o.Reserve}
	free, total, err := s.disk.free()
	if s.o.Reserve == 0 && err == nil {
		r.reserve = min(5<<30, total/20)
	}
	r.reserve = max(r.reserve, 0)
	r.free = free
	return r
}

// look notes what is used and free, and asks others to give way before it gets tight.
func (r *room) look() {
	r.s.mu.Lock()
	used := r.s.used
	r.s.mu.Unlock()
	r.mu.Lock()
	r.used, r.pending = used, 0
	r.mu.Unlock()
	r.ask(0)
}

// look looks at the open file of an item, and notes what that tells. The caller holds mu, from before the look: the kernel lets go of a file after close
// has returned, and an older size was shown of one that was saved again meanwhile.
func (s *Stage) look(it *item, f *blob) (looked, error) {
	l, err := f.look()
	if err == nil {
		s.saw(it, l)
	}
	return l, err
}

// saw notes what a look at an item's file has told. The caller holds mu.
func (s *Stage) saw(it *item, l looked) {
	it.saw(l)
	s.count(it)
}

// count brings what all items take up to date with one of them. There may be very many: they are never all looked at. The caller holds mu.
func (s *Stage) count(it *item) {
	now := it.blocks
	if it.scrub != nil {
		now += it.scrub.Of.Size
	}
	if it.gone {
		now = 0
	}
	s.used += now - it.counted
	it.counted = now
}

// ask looks at the disk.
func (r *room) ask(need int64) int64 {
	free, _, err := r.s.disk.free()
	if err != nil {
		return 0
	}
	if short := r.reserve + need - free; short > 0 {
		r.s.o.MakeRoom(short)
		if free, _, err = r.s.disk.free(); err != nil {
			return 0
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = free
	return free
}

// admit returns ErrNoRoom if n more bytes would leave less than the reserve, or exceed the quota.
func (r *room) admit(n int64) error {
	r.mu.Lock()
	used, free, pending := r.used, r.free, r.pending
	r.pending += n
	r.mu.Unlock()
	if q := r.s.o.Quota; q > 0 && used+pending+n > q {
		return fmt.Errorf("%w: the quota of %d bytes is used up", ErrNoRoom, q)
	}
	if free-pending-n > r.reserve && pending+n < admitEvery {
		return nil
	}
	free = r.ask(n)
	r.mu.Lock()
	r.pending, r.used = n, r.used+pending
	r.mu.Unlock()
	if free-n < r.reserve {
		return fmt.Errorf("%w: the disk is full but for its reserve", ErrNoRoom)
	}
	return nil
}

// Room tells how many bytes may still be staged, and how many the disk has.
func (s *Stage) Room() (free, total int64) {
	free, total, err := s.disk.free()
	if err != nil {
		return 0, 0
	}
	free -= s.room.reserve
	if q := s.o.Quota; q > 0 {
		s.room.mu.Lock()
		free, total = min(free, q-s.room.used-s.room.pending), min(total, q)
		s.room.mu.Unlock()
	}
	return max(free, 0), total
}
