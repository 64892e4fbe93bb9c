package stage

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// maxRemembered bounds what is known of stored files: about 300 bytes each, in memory and in the journal.
const maxRemembered = 400_000

// Remembered is what this machine knows of a stored version beyond what a listing tells.
type Remembered struct {
	ID        ID // what it was while it was staged; 0 if it never was
	Attr      Attr
	Changed   time.Time
	Target    string // where a link leads
	Size      int64
	CRC64NVME uint64
	HasCRC    bool
	Original  uint64   // of what was scrubbed: the checksum of the file as it was written here
	Scrubbed  string   // and what tells one way to scrub it from others; "" if it was not
	Warnings  []string // what the gate said of it
}

// known is Remembered with what it is known of.
type known struct {
	Remembered
	version string
	seq     uint64
}

// memory is what is remembered, by name. The Stage's mu guards it.
type memory struct {
	byName map[string]known
	byDir  map[string]map[string]bool // the last parts of the names
}

func newMemory() memory { return memory{map[string]known{}, map[string]map[string]bool{}} }

func (m memory) set(name string, k known) {
	m.byName[name] = k
	dir, base := backends.Split(name)
	if m.byDir[dir] == nil {
		m.byDir[dir] = map[string]bool{}
	}
	m.byDir[dir][base] = true
	if len(m.byName) > maxRemembered {
		m.trim(maxRemembered * 9 / 10)
	}
}

// trim forgets the oldest. Nothing is lost by it but shown times and modes, and the knowledge of checksums.
func (m memory) trim(to int) {
	type aged struct {
		name string
		seq  uint64
	}
	all := make([]aged, 0, len(m.byName))
	for name, k := range m.byName {
		all = append(all, aged{name, k.seq})
	}
	slices.SortFunc(all, func(a, b aged) int { return cmp.Compare(a.seq, b.seq) })
	for _, a := range all[:max(0, len(all)-to)] {
		m.forget(a.name)
	}
}

func (m memory) forget(name string) {
	delete(m.byName, name)
	dir, base := backends.Split(name)
	if delete(m.byDir[dir], base); len(m.byDir[dir]) == 0 {
		delete(m.byDir, dir)
	}
}

// of returns what is known of exactly this version; of a directory, of its name.
func (m memory) of(e backends.Entry) (Remembered, bool) {
	k, ok := m.byName[e.Name]
	if !ok || k.version != versionOf(e) {
		return Remembered{}, false
	}
	return k.Remembered, true
}

// versionOf is the version by which an entry is remembered.
func versionOf(e backends.Entry) string {
	if e.Dir {
		return ""
	}
	return e.Version
}

func (k known) record(name string) *knownRecord {
	r := &knownRecord{
		Name: name, Version: k.version, ID: k.ID, Attr: attrToRecord(k.Attr), Changed: nanos(k.Changed), Target: k.Target, Size: k.Size,
		Warnings: k.Warnings,
	}
	if k.HasCRC {
		r.Sum = &k.CRC64NVME
	}
	if r.Scrubbed = k.Scrubbed; k.Scrubbed != "" {
		r.Original = &k.Original
	}
	return r
}

func (r *knownRecord) known(seq uint64) known {
	k := known{version: r.Version, seq: seq, Remembered: Remembered{
		ID: r.ID, Attr: r.Attr.attr(), Changed: fromNanos(r.Changed), Target: r.Target, Size: r.Size,
		Warnings: r.Warnings,
	}}
	if r.Sum != nil {
		k.CRC64NVME, k.HasCRC = *r.Sum, true
	}
	if r.Original != nil {
		k.Original, k.Scrubbed = *r.Original, r.Scrubbed
	}
	return k
}

// Remember returns what this machine knows of a stored version: attributes that no listing tells, and the checksum. Of a directory it is
// known by name alone.
func (s *Stage) Remember(e backends.Entry) (Remembered, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory.of(e)
}

// Warned returns what the gate said of files that are stored, by name, if they were changed after since.
func (s *Stage) Warned(since time.Time) map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]string{}
	for name, k := range s.memory.byName {
		if len(k.Warnings) > 0 && k.Changed.After(since) {
			out[name] = k.Warnings
		}
	}
	return out
}

// Retouch changes what is kept of something that lies only at the target. It is remembered at once; the metadata of an object are replaced
// later, without sending its bytes. was is what is shown of it now.
func (s *Stage) Retouch(e backends.Entry, was Attr, change func(*Attr)) (Attr, error) {
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return was, err
	}
	now := s.o.Now()
	m, ok := s.memory.of(e)
	if !ok {
		m = Remembered{Attr: was, Size: e.Size}
	}
	before := m.Attr
	change(&m.Attr)
	m.Changed = now
	k := known{Remembered: m, version: versionOf(e)}
	seq := s.remember(e.Name, k)
	if pending := s.touches[e.Name] != nil; !e.Dir && (pending || !before.Equal(m.Attr)) { // what is pending knows all attributes in the end
		seq = s.touch(e, m.Attr, now)
	}
	s.mu.Unlock()
	return m.Attr, s.journal.wait(seq, false)
}

// nowhere is the version of what has left a name: no entry has it.
const nowhere = "-"

// Moved says that what lay at the target as from lies there as to now, with the attributes a: what is known of it goes along, its ID too. It
// gets an ID if it had none. A change of its metadata that was still to come is given up: a is what to has.
func (s *Stage) Moved(from, to backends.Entry, a Attr) (ID, error) {
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	m, ok := s.memory.of(from)
	if !ok {
		m = Remembered{Size: to.Size}
	}
	if m.ID == 0 {
		m.ID = s.newID()
	}
	m.Attr, m.Changed = a, s.o.Now()
	s.remember(to.Name, known{Remembered: m, version: versionOf(to)})
	seq := s.leaveName(from)
	s.mu.Unlock()
	return m.ID, s.journal.wait(seq, false)
}

// Forget says that something has left its name at the target.
func (s *Stage) Forget(e backends.Entry) error {
	s.mu.Lock()
	seq := s.leaveName(e)
	s.mu.Unlock()
	return s.journal.wait(seq, false)
}

// Still waits until the target has answered a request under way that replaces the metadata of an object or takes back what an upload has left there,
// and sends no other until letGo is called. Who deletes an object, or stores it without the stage, does so in between: the answer, that it is there,
// came late once, and showed a deleted file again.
func (s *Stage) Still(ctx context.Context, object string) (letGo func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		held, job := s.beside(object), (*Job)(nil) // each time: what was changed on the way is another
		for _, it := range held {
			if it.wanted++; it.job != nil {
				job = it.job
			}
		}
		if job == nil {
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.leaveBe(held)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-job.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.mu.Lock()
		if s.leaveBe(held); err != nil {
			return nil, err
		}
	}
}

// beside returns what is to be done to an object beside storing it. The caller holds mu.
func (s *Stage) beside(object string) (all []*item) {
	if t := s.touches[object]; t != nil {
		all = append(all, t)
	}
	if u := s.undoOf(object); u != nil {
		all = append(all, u)
	}
	return all
}

// undoOf returns what takes back an upload that may have landed as object. The caller holds mu.
func (s *Stage) undoOf(object string) *item {
	u := s.undos[strings.TrimSuffix(object, LinkSuffix)]
	if u == nil || Object(u.name, u.kind) != object {
		return nil
	}
	return u
}

// leaveBe says that one less waits for the jobs of items to end. The caller holds mu.
func (s *Stage) leaveBe(held []*item) {
	for _, it := range held {
		if it.wanted--; !it.gone {
			s.enqueue(it)
		}
	}
}

// leaveName forgets what is known of a name. The caller holds mu.
func (s *Stage) leaveName(e backends.Entry) uint64 {
	if t := s.touches[e.Name]; t != nil && t.job == nil {
		s.discard(t)
		s.journal.add(record{Kind: kindDrop, ID: t.id})
		delete(s.items, t.id)
	}
	return s.remember(e.Name, known{version: nowhere})
}

// remember notes and journals. The caller holds mu.
func (s *Stage) remember(name string, k known) uint64 {
	seq := s.journal.add(record{Kind: kindRemember, Known: k.record(name)})
	k.seq = seq
	s.memory.set(name, k)
	return seq
}

// touch queues a change of metadata. The caller holds mu.
func (s *Stage) touch(e backends.Entry, a Attr, now time.Time) uint64 {
	it := s.touches[e.Name]
	if it == nil {
		it = &item{id: s.newID(), kind: Regular, touch: true, name: e.Name, state: Staged}
		s.items[it.id], s.touches[e.Name] = it, it
	}
	it.base, it.attr, it.changed, it.touched, it.size = e, a, now, now, e.Size
	it.state, it.why = Staged, ""
	s.enqueue(it)
	return s.put(it)
}

// in returns the last parts of the remembered names in a directory.
func (m memory) in(dir string) (out []string) {
	for base := range m.byDir[dir] {
		out = append(out, base)
	}
	return out
}

// Record is what is remembered of one stored file or link.
type Record struct {
	Remembered

	Name, Version string
}

// Records returns, by name, up to n of the files and links that this stage has stored and still remembers: those after a name, "" for the
// first ones. Only the newest version that was stored from here is known of each.
func (s *Stage) Records(after string, n int) []Record {
	s.mu.Lock()
	var out []Record
	for name, k := range s.memory.byName {
		if name > after && k.ID != 0 && k.version != "" {
			out = append(out, Record{Remembered: k.Remembered, Name: name, Version: k.version})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b Record) int { return cmp.Compare(a.Name, b.Name) })
	return out[:min(n, len(out))]
}
