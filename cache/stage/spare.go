package stage

import (
	"errors"
	"sync"
)

// sparesMade is how many empty files are made at once. Their names are made durable by one sync of the directory, which the first close
// after it waits for; the others do not. With 8 writers, that is a sync of 1 to 2 ms less for each turn of the journal.
const sparesMade = 32

// spares are files of the stage that are ready to be written, oldest first: no item has them, and no name leads to them. What a crash
// leaves of them is empty, and removed when the stage is opened.
type spares struct {
	mu    sync.Mutex // guards ready; local files are made under it
	ready []spare
}

type spare struct {
	id ID
	f  *blob
}

// spareFile returns the oldest spare, after making more if there is none.
func (s *Stage) spareFile() (spare, error) {
	p := &s.spares
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		if err := s.makeSpares(); err != nil {
			return spare{}, err
		}
	}
	one := p.ready[0]
	p.ready = p.ready[1:]
	return one, nil
}

// makeSpares makes one spare at least. The caller holds the spares' mu.
func (s *Stage) makeSpares() error {
	for range s.o.spares {
		s.mu.Lock()
		if err := s.usable(); err != nil {
			s.mu.Unlock()
			return err
		}
		id := s.newID()
		s.mu.Unlock()
		f, err := s.disk.create(fileName(id), id)
		if err != nil {
			if len(s.spares.ready) > 0 {
				return nil
			}
			return err
		}
		s.spares.ready = append(s.spares.ready, spare{id, f})
	}
	return nil
}

// dropSpares removes those that nobody took. Nobody takes one any more.
func (s *Stage) dropSpares() {
	s.spares.mu.Lock()
	defer s.spares.mu.Unlock()
	for _, one := range s.spares.ready {
		if err := errors.Join(one.f.Close(), s.disk.remove(fileName(one.id))); err != nil {
			s.log.Warn("an empty file of the stage cannot be removed", "err", cause(err))
		}
	}
	s.spares.ready = nil
}
