package stage

import (
	"context"
	"errors"
	"fmt"
)

// seal makes the bytes of an open file durable, and everything that is needed to find them again. It does nothing if that has been done
// and nothing was written since.
func (s *Stage) seal(it *item, f *blob) error {
	it.sealing.Lock()
	defer it.sealing.Unlock()
	s.mu.Lock()
	l, err := s.look(it, f)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	switch {
	case it.gone: // removed while open: there is nothing to be found again
		s.mu.Unlock()
		return nil
	case it.state == Quarantined:
		s.mu.Unlock()
		return fmt.Errorf("seal: %w", ErrDamaged)
	case it.sealed != nil && *it.sealed == l.mark, it.copied != nil && *it.copied == l.mark:
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	it.notches++
	m, epoch, ended, err := f.beginSeal(l, it.notches) // before the sync: what is written after this shows
	if err != nil {
		return err
	}
	durable := false
	defer func() { ended(durable) }()
	s.disk.begin(f.f)
	proof := s.proofOf(it, f, m.Size)
	if proof == nil {
		if err := s.disk.sync(f.name, f.f); err != nil {
			return s.spoil(it, err)
		}
		durable = true // and found in what is there, though the rest may fail
	}
	return s.confirm(it, &seal{m, epoch, proof}, f)
}

// seal is what one makes of a file.
type seal struct {
	mark  mark
	epoch uint64
	proof *uint32 // what proofOf returns: the bytes are to become durable with the label; nil: they are
}

// spoil puts an item aside whose bytes the disk did not take: a second sync would succeed and prove nothing.
func (s *Stage) spoil(it *item, err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("seal: %w", ErrNoRoom) // delayed allocation; the pages are kept
	}
	s.mu.Lock()
	if it.named() {
		s.names.remove(it)
	}
	it.state, it.why = Quarantined, "the local disk failed to take its bytes"
	s.put(it)
	s.signal()
	name := it.name
	s.mu.Unlock()
	s.changed(name)
	s.log.Error("a staged file is put aside: the local disk failed to take its bytes", "id", it.id, "err", cause(err))
	return fmt.Errorf("seal: %w: %w", ErrDamaged, err)
}

// confirm writes down that an item is sealed: beside its bytes first, then in the journal. The caller holds sealing.
func (s *Stage) confirm(it *item, as *seal, f *blob) error {
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return err
	}
	r, seq := it.record(), s.journal.newest()
	s.mu.Unlock()
	r.Sealed, r.Copied, r.Epoch, r.Proof = &as.mark, nil, as.epoch, as.proof
	if err := s.keep(it, f, r, seq); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	s.mu.Lock()
	if it.gone {
		s.mu.Unlock()
		s.dropSidecar(it)
		return nil
	}
	it.sealed, it.copied, it.epoch = &as.mark, nil, as.epoch
	if it.state == Writing || it.state == Failed {
		it.state, it.why = Staged, ""
	}
	last := s.put(it)
	it.stale = r.Name != it.name
	s.signal()
	s.mu.Unlock()
	return s.journal.wait(last, true)
}

// keep writes beside the bytes of an item, which are durable unless r has a proof, what is needed to find them without the journal: as a
// label, an extended attribute of the file itself, or where that cannot be, as a sidecar. What is written last is as durable as the bytes,
// and they are. The caller holds sealing.
func (s *Stage) keep(it *item, f *blob, r *itemRecord, seq uint64) error {
	raw, err := s.sidecar(r, seq)
	if err != nil {
		return err
	}
	if it.sidecar || len(raw) > maxLabel || s.disk.label(f.name, f.f, raw) != nil {
		return s.keepBeside(it, f, r, seq)
	}
	err = s.disk.syncAll(f.name, f.f)
	switch {
	case isNoSpace(err):
		return s.keepBeside(it, f, r, seq)
	case err != nil:
		return s.spoil(it, err)
	}
	return nil
}

// keepBeside is keep for a file that can have no label.
func (s *Stage) keepBeside(it *item, f *blob, r *itemRecord, seq uint64) error {
	it.sidecar = true // for good: of the two, the newer must be the one that is written
	if r.Proof != nil {
		if err := s.disk.sync(f.name, f.f); err != nil {
			return s.spoil(it, err)
		}
		r.Proof = nil
	}
	return s.writeSidecar(r, seq)
}

// sidecar is the content of one, and of a label.
func (s *Stage) sidecar(r *itemRecord, seq uint64) ([]byte, error) {
	return s.disk.keys.encode(record{Kind: kindPut, ID: r.ID, Item: r}, nil, seq, 0)
}

// writeSidecar replaces an item's sidecar; its name is durable after the directory is synced, which the journal does.
func (s *Stage) writeSidecar(r *itemRecord, seq uint64) error {
	raw, err := s.sidecar(r, seq)
	if err != nil {
		return err
	}
	name := sidecarName(r.ID)
	err = s.disk.replace(name, raw)
	if isNoSpace(err) && s.disk.remove(ballastName) == nil {
		s.o.MakeRoom(ballastSize)
		err = s.disk.replace(name, raw)
	}
	if isNoSpace(err) {
		return ErrNoRoom
	}
	if err != nil {
		return fmt.Errorf("%w: sidecar: %w", ErrDamaged, err)
	}
	return nil
}

// dropSidecar removes the sidecar of an item that was removed while it was being sealed.
func (s *Stage) dropSidecar(it *item) {
	if err := s.disk.remove(sidecarName(it.id)); err != nil {
		s.log.Warn("a sidecar that is no longer needed cannot be removed", "err", cause(err))
	}
}

// await returns when an item as it was sealed last is stored, or cannot be for now.
func (s *Stage) await(ctx context.Context, it *item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case it.gone, it.stays(), it.copied != nil && it.sealed != nil && *it.copied == *it.sealed:
			return nil
		case it.stopped():
			return it.notStored()
		case s.closed:
			return errClosed
		}
		if !it.express {
			it.express = true
			s.enqueue(it)
			s.signal()
		}
		wake := s.wake
		s.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// stopped reports whether an item waits for people, or for a better time. The caller holds mu.
func (it *item) stopped() bool {
	switch it.state {
	case Conflict, Parked, Failed, Quarantined:
		return true
	case Writing, Staged, Uploading, Stored, Orphan, LocalOnly:
	}
	return false
}

// notStored is what a program is told that waits for an item which is stopped. The caller holds mu.
func (it *item) notStored() error {
	if it.state == Parked {
		switch it.ruled {
		case ruledHeld: // who waits for its end would never rename it
			return nil
		case ruledRefused:
			return ErrRefused
		case ruledParked, ruledLater:
		}
	}
	return fmt.Errorf("%w: %w", errNotStored, errors.New(it.why))
}

var errNotStored = fmt.Errorf("it is safe on this machine, but not stored: %w", ErrDamaged)
