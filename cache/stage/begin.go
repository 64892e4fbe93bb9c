package stage

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// begin makes the journal ready to be written: anew, or if there is no room for that, where the old one ends.
func (l *loader) begin(raw []byte) error {
	j := l.s.journal
	if len(l.log.damage) > 0 {
		l.s.log.Error("the journal of the stage was damaged; it was rebuilt from the staged files, and what may be outdated is parked", "gaps", len(l.log.damage))
		name := fmt.Sprintf("%s/%s-%d", quarantineDir, journalName, l.seq)
		if l.s.disk.replace(name, l.s.disk.keys.aside(raw)) != nil {
			if err := l.s.disk.rename(journalName, name); err != nil {
				return err
			}
		}
	}
	if l.worthKeeping() {
		return l.goOn()
	}
	_, err := j.rotate()
	if err == nil {
		return l.locked()
	}
	if len(l.log.damage) > 0 || !full(err) {
		return err
	}
	l.s.log.Warn("no room to write the journal of the stage anew; going on with the old one", slog.String("err", cause(err)))
	return l.goOn()
}

// worthKeeping reports whether the old journal alone tells what there is, and little else.
func (l *loader) worthKeeping() bool {
	if keys := l.s.disk.keys; keys != nil && keys.clear || l.log.torn || len(l.log.damage) > 0 || l.believed > 0 {
		return false
	}
	return len(l.log.records) < 3*(len(l.s.items)+len(l.s.memory.byName))
}

// goOn lets the old journal be written on, and makes durable what a process that was killed has not.
func (l *loader) goOn() error {
	j := l.s.journal
	f, err := l.s.disk.open(journalName, false)
	if err != nil {
		return err
	}
	err = errors.Join(l.s.disk.truncate(journalName, f, int64(l.log.valid)), l.s.disk.syncDir(""))
	if !l.closed() {
		err = errors.Join(err, l.s.disk.syncDir(filesDir), l.s.disk.sync(journalName, f))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.file, j.size, j.allocated, j.live = f, int64(l.log.valid), int64(l.log.valid), int64(l.log.valid)
	return nil
}

// snapshot is all that is worth keeping, as the records of a new journal. What is slow about it happens while others go on.
func (s *Stage) snapshot() ([]byte, uint64) {
	s.mu.Lock()
	seq := s.journal.take()
	all := make([]record, 0, 1+len(s.items)+len(s.memory.byName))
	all = append(all, record{Kind: kindNext, ID: s.nextID})
	for _, it := range s.items {
		if it.gone {
			all = append(all, record{Kind: kindDrop, ID: it.id}) // its files are being removed
			continue
		}
		all = append(all, record{Kind: kindPut, ID: it.id, Item: it.record()})
	}
	slices.SortFunc(all[1:], func(a, b record) int { return cmp.Compare(a.ID, b.ID) })
	for name, k := range s.memory.byName {
		all = append(all, record{Kind: kindRemember, Known: k.record(name)})
	}
	if s.closed {
		all = append(all, record{Kind: kindClosed})
	}
	upTo := seq + uint64(len(all))
	s.journal.advance(upTo)
	s.mu.Unlock()
	var b []byte
	for i, r := range all {
		raw, err := s.disk.keys.encode(r, b, seq+uint64(i)+1, upTo) // all of it is synced before it gets its name
		if err != nil {
			s.log.Error("something of the stage does not fit into its journal", "err", err)
			raw, _ = s.disk.keys.encode(record{Kind: kindNext}, b, seq+uint64(i)+1, upTo) // it fits; a missing number would look like damage
		}
		b = raw
	}
	return b, upTo
}
