package stage

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	whyDamaged = "the journal of this machine was damaged after this file was written: look at it, then retry it or drop it"
	whyLost    = "its bytes are gone from the local disk"
	whyOrphan  = "it was still open when the mount ended: it may be incomplete; adopt it or drop it"
)

// load makes the state from what is on the disk.
func (s *Stage) load() error {
	raw, err := s.disk.readAll(journalName)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if s.disk.keys == nil && sealedJournal(raw) { // the header has been lost
		return ErrNoKey
	}
	if err := s.keepHeader(); err != nil {
		return err
	}
	found := make(chan listing, 1)
	go func() { // beside the journal: both take a second where there is very much; it ends before scan does
		files, others, err := s.disk.list(filesDir)
		found <- listing{files, others, err}
	}()
	l := &loader{
		s: s, log: s.disk.keys.replay(raw), last: map[ID]uint64{}, ended: map[ID]uint64{}, files: map[ID]bool{}, scrubs: map[ID]bool{}, sidecars: map[ID]bool{},
	}
	l.apply()
	if err := l.scan(<-found); err != nil {
		return err
	}
	l.settle()
	s.journal = newJournal(s.disk, s.log)
	s.journal.snapshot = s.snapshot
	s.journal.seq = l.seq
	s.journal.written, s.journal.synced = l.seq, l.seq
	l.lockRest()
	return l.begin(raw)
}

// loader is one load.
type loader struct {
	s        *Stage
	log      replayed
	seq      uint64
	last     map[ID]uint64 // the sequence of the newest that is known of an item
	ended    map[ID]uint64 // items that were dropped or stored, and when
	files    map[ID]bool   // items whose file is there
	scrubs   map[ID]bool   // what was made to be sent in the place of files
	sidecars map[ID]bool   // items that have one
	left     int           // what could not be encrypted
	believed int           // labels and sidecars that knew more than the journal
}

// closed reports whether the journal is whole and ended with Close. Then it alone tells all, which is many times faster than to look at each
// sidecar.
func (l *loader) closed() bool {
	n := len(l.log.records)
	return n > 0 && l.log.records[n-1].Kind == kindClosed && !l.log.torn && len(l.log.damage) == 0
}

// apply does again what the journal says.
func (l *loader) apply() {
	for _, r := range l.log.records {
		l.seq = r.seq
		l.one(r)
	}
}

func (l *loader) one(r numbered) {
	s := l.s
	s.nextID = max(s.nextID, r.ID)
	if r.Known != nil { // of kindStored and kindRemember
		s.memory.set(r.Known.Name, r.Known.known(r.seq))
	}
	switch r.Kind {
	case kindPut:
		l.end(r.Other, r.seq)
		l.upsert(r.Item, r.seq)
	case kindDrop, kindStored:
		l.end(r.ID, r.seq)
	case kindForget:
		s.memory.forget(r.Name)
	case kindRename:
		l.rename(r)
	case kindExchange:
		l.exchange(r)
	case kindRemember, kindNext, kindClosed:
	}
}

func (l *loader) upsert(r *itemRecord, seq uint64) {
	if r == nil {
		return
	}
	l.s.items[r.ID] = r.restored()
	l.s.nextID = max(l.s.nextID, r.ID)
	l.last[r.ID] = seq
	delete(l.ended, r.ID)
}

func (l *loader) end(id ID, seq uint64) {
	if id == 0 {
		return
	}
	delete(l.s.items, id)
	l.ended[id] = seq
}

func (l *loader) exchange(r numbered) {
	if a, b := l.s.items[r.ID], l.s.items[r.Other]; a != nil && b != nil {
		was := a.name
		l.s.names.carry(a, b.name)
		l.s.names.carry(b, was)
		l.last[a.id], l.last[b.id] = r.seq, r.seq
	}
}

func (l *loader) rename(r numbered) {
	for _, it := range l.s.items {
		if rest, ok := strings.CutPrefix(it.name, r.Name); ok && (rest == "" || rest[0] == '/') && !it.touch && !it.undo {
			l.s.names.carry(it, r.To+rest)
			l.last[it.id] = r.seq
		}
	}
}

// listing is what lies in the directory of the staged files.
type listing struct {
	files, others []string
	err           error
}

// scan looks at what lies beside the journal.
func (l *loader) scan(found listing) error {
	if found.err != nil {
		return found.err
	}
	for _, name := range found.others {
		l.quarantine(name)
	}
	for _, name := range found.files { // a file comes before its sidecar
		l.found(name)
	}
	return nil
}

// found looks at one of the files beside the journal.
func (l *loader) found(name string) {
	base, isSidecar := strings.CutSuffix(name, sidecarExt)
	base, isScrub := strings.CutSuffix(base, scrubExt)
	n, err := strconv.ParseUint(base, 16, 64)
	id := ID(n)
	switch {
	case strings.HasSuffix(name, tempExt): // never got its name: nobody was told that it is there
		l.remove(filesDir + "/" + name)
		return
	case err != nil || len(base) != 16 || isScrub && isSidecar:
		l.quarantine(name)
		return
	}
	l.s.nextID = max(l.s.nextID, id)
	switch {
	case isScrub:
		l.scrubs[id] = true
	case isSidecar:
		l.sidecars[id] = true
		if l.doubted(id) {
			l.sidecar(id, name)
		}
	default:
		l.files[id] = true
		if l.doubted(id) {
			l.label(id)
		}
	}
}

// doubted reports whether what lies beside the bytes of an item may know more than the journal.
func (l *loader) doubted(id ID) bool {
	_, known := l.last[id]
	return !known || !l.closed()
}

func (l *loader) remove(name string) {
	if err := l.s.disk.remove(name); err != nil {
		l.s.log.Warn("a leftover of the stage cannot be removed", "err", cause(err))
	}
}

func (l *loader) quarantine(name string) {
	l.s.log.Warn("something in the stage cannot be understood and is put aside")
	if err := l.s.disk.rename(filesDir+"/"+name, quarantineDir+"/"+name); err != nil {
		l.s.log.Warn("it cannot be put aside", "err", cause(err))
	}
}

// label reads the label of a file. One that cannot be understood is left where it is.
func (l *loader) label(id ID) {
	if l.unchanged(id) {
		return
	}
	raw, err := l.s.disk.readLabel(fileName(id))
	if err == nil && len(raw) == 0 || l.outdated(id, raw) {
		return
	}
	r, n := l.s.disk.keys.decode(raw)
	if err != nil || n == 0 || r.Item == nil || r.Item.ID != id {
		l.s.log.Warn("the label of a staged file cannot be understood; the journal is believed", "id", id)
		return
	}
	if !l.proven(r.Item) { // its seal was cut off: nobody was told that it is safe
		return
	}
	l.believe(id, r)
}

// unchanged reports whether nobody has written to a file since it was sealed as the journal says: its label can only say the same, or less.
// Of a damaged journal it can say more.
func (l *loader) unchanged(id ID) bool {
	it := l.s.items[id]
	if it == nil || it.sealed == nil || len(l.log.damage) > 0 {
		return false
	}
	seen, err := l.s.lookItem(it)
	return err == nil && seen.mark == *it.sealed
}

// outdated reports whether the journal knows more of an item than its label, which need not be understood then: after a kill, that is nearly
// all of them, and half of the time that opening takes.
func (l *loader) outdated(id ID, label []byte) bool {
	_, seq, _, n := unframe(label)
	it := l.s.items[id]
	return n > 0 && l.last[id] > seq && it != nil && it.sealed != nil
}

func (l *loader) sidecar(id ID, name string) {
	raw, err := l.s.disk.readAll(filesDir + "/" + name)
	r, n := l.s.disk.keys.decode(raw)
	if err != nil || n == 0 || r.Item == nil || r.Item.ID != id {
		l.quarantine(name)
		return
	}
	l.believe(id, r)
}

// believe believes the newer of what lies beside the bytes and of the journal.
func (l *loader) believe(id ID, r numbered) {
	seq := r.seq
	if at, gone := l.ended[id]; gone && at >= seq {
		return // settle removes both
	}
	l.believed++
	if at, had := l.last[id]; had && at > seq { // of the same number, the journal is older: this was written after that record
		if it := l.s.items[id]; it != nil && it.sealed == nil { // the record that said so is lost
			it.sealed, it.epoch = r.Item.Sealed, r.Item.Epoch
		}
		return
	}
	l.upsert(r.Item, seq)
	l.seq = max(l.seq, seq)
}

// settle brings items and files together.
func (l *loader) settle() {
	s, now := l.s, l.s.o.Now()
	for id := range l.ended {
		if _, back := s.items[id]; !back {
			l.remove(sidecarName(id))
			l.remove(fileName(id))
			delete(l.files, id)
		}
	}
	for id := range l.files {
		if s.items[id] == nil {
			s.items[id] = &item{id: id, kind: Regular, state: Orphan, why: whyOrphan}
		}
	}
	for _, it := range sortedItems(s.items) {
		it.touched, it.sidecar = now, l.sidecars[it.id]
		it.real = it.real || l.forgetful()
		if it.hasFile() && !l.settleFile(it) {
			delete(s.items, it.id)
			l.remove(sidecarName(it.id))
			l.remove(fileName(it.id))
			continue
		}
		if it.ruled == ruledLater && s.o.Rules != nil {
			it.forgive()
		}
		l.suspect(it)
		l.place(it)
		s.count(it)
	}
	l.settleScrubs()
}

// forgetful reports whether the journal has lost something, so that names may be outdated: what seems to be junk may have become data.
func (l *loader) forgetful() bool { return len(l.log.records) == 0 || len(l.log.damage) > 0 }

// settleFile looks at an item's file. false: there is nothing to keep.
func (l *loader) settleFile(it *item) bool {
	if !l.files[it.id] {
		return l.settleLost(it)
	}
	if err := l.lockFile(it); err != nil {
		it.state, it.why = Quarantined, whyUnreadable
		return true
	}
	seen, err := l.s.lookItem(it)
	if err != nil {
		it.state, it.why = Quarantined, "its bytes cannot be read from the local disk"
		return true
	}
	it.sawAgain(seen)
	switch {
	case it.name == "" && seen.Size == 0: // it never got a name
		return false
	case it.sealed != nil || it.state != Staged: // sealed once: it goes on as it is, like a file of any local disk
		return true
	case it.copied != nil && *it.copied == seen.mark, seen.Size == 0: // nothing was ever written
		return false
	case l.s.names.isJunk(it): // nobody is to be asked what becomes of it
		return true
	}
	it.state, it.why = Orphan, whyOrphan
	return true
}

// settleLost is settleFile of an item without a file.
func (l *loader) settleLost(it *item) bool {
	switch {
	case it.sealed == nil, l.s.names.isJunk(it):
		return false
	case len(l.log.damage) > 0: // what was lost of the journal most likely says that it was stored
		return false
	}
	it.state, it.why = Quarantined, whyLost
	return true
}

// suspect parks what a lost part of the journal may have changed.
func (l *loader) suspect(it *item) {
	if it.state != Staged || it.kind != Regular || it.touch {
		return
	}
	for _, g := range l.log.damage {
		if l.last[it.id] <= g.after {
			it.state, it.why = Parked, whyDamaged
		}
	}
}

// place puts an item where it is found. Where two claim one name, which only damage can bring about, the newer has it.
func (l *loader) place(it *item) {
	s := l.s
	switch {
	case it.touch:
		s.touches[it.name] = it
	case it.undo:
		s.undos[it.name] = it
	case !it.named():
		return
	default:
		if other, _ := s.names.find(it.name); other != nil {
			s.names.remove(other)
			other.state, other.why = Orphan, "another file has its name"
		}
		s.names.add(it)
	}
	s.enqueue(it)
}

func sortedItems(items map[ID]*item) []*item {
	out := make([]*item, 0, len(items))
	for _, it := range items {
		out = append(out, it)
	}
	slices.SortFunc(out, func(a, b *item) int { return int(int64(a.id) - int64(b.id)) })
	return out
}

// full reports whether a disk has no room.
func full(err error) bool { return errors.Is(err, ErrNoRoom) || isNoSpace(err) }

// usable is nil while things may be taken in. The caller holds mu.
func (s *Stage) usable() error {
	if s.closed {
		return errClosed
	}
	return s.journal.failure()
}

// newID gives a number. The caller holds mu.
func (s *Stage) newID() ID {
	s.nextID++
	return s.nextID
}

// put journals an item as it is. The caller holds mu.
func (s *Stage) put(it *item) uint64 { return s.putOver(it, 0) }

// putOver journals an item as it is, and that it has taken the place of another one. The caller holds mu.
func (s *Stage) putOver(it *item, other ID) uint64 {
	it.stale = true
	return s.journal.add(record{Kind: kindPut, ID: it.id, Other: other, Item: it.record()})
}

// discard takes an item out of everything. Its files are removed by erase, once that is journaled. The caller holds mu.
func (s *Stage) discard(it *item) {
	if it.named() {
		s.names.remove(it)
	}
	if s.touches[it.name] == it {
		delete(s.touches, it.name)
	}
	if s.undos[it.name] == it {
		delete(s.undos, it.name)
	}
	it.gone, it.changed = true, s.o.Now()
	s.count(it)
	if t := s.touches[it.name]; t != nil { // it has waited for this name
		s.enqueue(t)
	}
	for _, up := range s.names.ancestors(it.name) {
		s.enqueue(up)
	}
	s.signal()
}

// erase removes the files of an item that is gone. What cannot be removed now is at the next Open.
func (s *Stage) erase(it *item) {
	if it.hasFile() {
		err := errors.Join(s.disk.remove(sidecarName(it.id)), s.disk.remove(fileName(it.id)))
		if it.scrub != nil {
			err = errors.Join(err, s.disk.remove(scrubName(it.scrub.ID)))
		}
		if err != nil {
			s.log.Warn("a staged file that is no longer needed cannot be removed", "err", cause(err))
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.items, it.id)
}

func (s *Stage) since(t time.Time) time.Duration { return s.o.Now().Sub(t) }
