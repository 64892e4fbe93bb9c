package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/minio/crc64nvme"

	"studyfs/backends"
)

// retryFailed is how long something that the target refused for good is left alone.
const retryFailed = 5 * time.Minute

// Job is one thing to do at the target. Exactly one of Stored, Again, Conflict, Fail and Release ends it. Its fields are a snapshot.
type Job struct {
	Info
	Touch     bool       // only the metadata of Base are to change
	Undo      bool       // what lies at the target under Name, if it has this size and checksum, is ours and unwanted: see Settle
	CRC64NVME uint64     // of the bytes of a File or of an Undo
	Resume    []byte     // what Checkpoint was last given
	Was       Remembered // what is known of Base
	HasWas    bool

	unsure  bool   // an earlier try ended without an answer: before another one somebody looks what became of it, and calls Try
	tried   []sent // what may lie at the target of this try and of earlier ones
	leaving bool   // somebody here was about to remove Base

	s      *Stage
	it     *item
	file   *blob // what goes out: the staged file, or what was made of it
	mark   mark  // of the staged file
	scrub  *scrubbed
	same   bool            // the target has what this would become: nothing is made, and nothing sent
	ctx    context.Context //nolint:containedctx // of this job, ended by whoever changes the item
	cancel context.CancelFunc
	done   chan struct{}
}

// newJob takes an item out of everybody else's hands. The caller holds mu.
func (s *Stage) newJob(it *item) *Job {
	j := &Job{s: s, it: it, done: make(chan struct{}), Touch: it.touch, Undo: it.undo}
	j.ctx, j.cancel = context.WithCancel(s.ctx)
	it.job = j
	return j
}

// Context ends when the item is opened for writing, renamed or removed, and with the Stage: then the job is to be released.
func (j *Job) Context() context.Context { return j.ctx }

// Body is what is to be sent, nil unless there are bytes. It is the Job's until it ends.
func (j *Job) Body() io.ReaderAt {
	if j.file == nil {
		return nil
	}
	return j.file
}

// prepare makes a job ready to be handed out. false: there is nothing to do now, and the job has ended.
func (s *Stage) prepare(j *Job) bool {
	if j.it.hasFile() {
		if err := s.prepareFile(j); err != nil {
			j.unready(err)
			return false
		}
	}
	if !s.judge(j) {
		return false
	}
	s.mu.Lock()
	if j.ctx.Err() != nil || j.it.gone {
		s.mu.Unlock()
		j.finish()
		return false
	}
	j.fill()
	it := j.it
	stale, r, seq := it.stale && it.hasFile(), it.record(), s.journal.newest()
	noted := s.journal.add(record{Kind: kindPut, ID: it.id, Item: r})
	s.signal()
	s.mu.Unlock()
	if err := s.journal.wait(noted, false); err != nil { // a process that is killed from here on will know that there was a try
		s.log.Warn("the journal does not take that an upload begins", "id", it.id, "err", cause(err))
	}
	if stale { // what a damaged journal would be rebuilt from is to have the right name
		s.refresh(j, r, seq)
	}
	return true
}

// fill takes the snapshot. The caller holds mu.
func (j *Job) fill() {
	it := j.it
	it.sent, it.why = 0, ""
	if it.kind == Link && !it.undo {
		sum := crc64nvme.Checksum([]byte(it.target))
		it.sum = &sum
	}
	if it.sum != nil {
		j.CRC64NVME = *it.sum
	}
	if j.scrub != nil {
		j.CRC64NVME = j.scrub.Sum
	}
	if j.unsure = it.maybe && !it.touch && !it.undo && it.kind != Dir; !j.unsure && !it.touch && !it.undo {
		it.try(sent{it.info().Size, j.CRC64NVME}) // of a directory: its marker, which is empty
	}
	j.tried, j.leaving = it.tried, it.leaving
	j.Info, j.Resume = it.info(), it.resume
	j.Was, j.HasWas = j.s.memory.of(it.base)
}

// Try notes that the bytes are about to be sent, where that was not noted when the job was handed out: an earlier try had no answer. What was only
// about to be sent must not count: of a name that files were renamed over all the time, eight such tries pushed out the one that had landed,
// which was then taken for somebody else's.
func (j *Job) Try() error {
	s := j.s
	s.mu.Lock()
	j.it.try(sent{j.Size, j.CRC64NVME})
	j.tried = j.it.tried
	seq := s.journal.add(record{Kind: kindPut, ID: j.it.id, Item: j.it.record()})
	s.mu.Unlock()
	return s.journal.wait(seq, false)
}

func (s *Stage) refresh(j *Job, r *itemRecord, seq uint64) {
	j.it.sealing.Lock()
	defer j.it.sealing.Unlock()
	f, err := s.openItem(j.it)
	if err == nil {
		err = errors.Join(s.keep(j.it, f, r, seq), f.Close())
	}
	if err != nil {
		s.log.Warn("what finds a file without the journal cannot be written again", "id", r.ID, "err", cause(err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j.it.stale = r.Name != j.it.name
}

// prepareFile seals and sums what is to be sent.
func (s *Stage) prepareFile(j *Job) error {
	f, err := s.openItem(j.it)
	if err != nil {
		return fmt.Errorf("staged file: %w", err)
	}
	j.file = f
	if err := s.seal(j.it, f); err != nil {
		return err
	}
	s.mu.Lock()
	sealed, sum, summed := j.it.sealed, j.it.sum, j.it.summed
	if sealed == nil { // a copy that is still what the target has
		sealed = j.it.copied
	}
	s.mu.Unlock()
	if sealed == nil {
		return errMoved
	}
	if sum == nil || summed != *sealed {
		if sum, err = sumOf(j.ctx, f); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.look(j.it, f)
	if err != nil {
		return err
	}
	if l.mark != *sealed {
		return errMoved
	}
	j.mark = l.mark
	j.it.sum, j.it.summed = sum, l.mark
	return nil
}

// errMoved says that a file was written to while it was looked at.
var errMoved = errors.New("it is still being written")

func sumOf(ctx context.Context, f *blob) (*uint64, error) {
	l, err := f.look()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, min(l.Size+1, 1<<20)) // one more, to see the end at once
	var sum uint64
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := f.ReadAt(buf, off)
		sum = crc64nvme.Update(sum, buf[:n])
		off += int64(n)
		if errors.Is(err, io.EOF) {
			return &sum, nil
		}
		if err != nil {
			return nil, fmt.Errorf("staged file: %w", err)
		}
	}
}

// unready ends a job that could not be made ready.
func (j *Job) unready(err error) {
	s, it := j.s, j.it
	s.mu.Lock()
	switch {
	case j.ctx.Err() != nil || it.gone || it.state == Quarantined:
	case errors.Is(err, errMoved):
		it.touched = s.o.Now()
	default:
		it.notBefore, it.why = s.o.Now().Add(retryFailed), "the local disk fails: "+cause(err)
		s.log.Warn("a staged file cannot be read for its upload", "id", it.id, "err", cause(err))
	}
	s.mu.Unlock()
	j.finish()
}

// judge asks the rules and the gate. false: the item is parked, and the job has ended.
func (s *Stage) judge(j *Job) bool {
	it := j.it
	if it.touch || it.undo {
		return true
	}
	var texts []string
	if s.o.Rules != nil || it.gated {
		r, ok := s.lawful(j)
		if !ok {
			return false
		}
		texts = slices.Clone(r.texts)
	}
	s.mu.Lock()
	name := it.name
	s.mu.Unlock()
	if it.kind == Dir {
		return true
	}
	findings := s.o.Gate.Check(name, s.siblings)
	parks := ""
	for _, f := range findings {
		texts = append(texts, f.Text)
		if f.Parks && parks == "" {
			parks = f.Text
		}
	}
	s.mu.Lock()
	it.warnings = texts
	if parks == "" {
		s.mu.Unlock()
		return true
	}
	it.state, it.why = Parked, parks
	s.put(it)
	s.mu.Unlock()
	j.finish()
	return false
}

// siblings are the names in a directory that are known here: staged ones and stored ones. Some may be named twice.
func (s *Stage) siblings(dir string) []string {
	out := s.o.Listed(dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if out == nil {
		out = s.memory.in(dir)
	}
	items, implied := s.names.children(dir)
	for _, it := range items {
		_, base := backends.Split(it.name)
		out = append(out, base)
	}
	for _, name := range implied {
		_, base := backends.Split(name)
		out = append(out, base)
	}
	return out
}

// Checkpoint journals what a later try needs.
func (j *Job) Checkpoint(state []byte) error {
	s := j.s
	s.mu.Lock()
	j.it.resume = append([]byte(nil), state...)
	seq := s.journal.add(record{Kind: kindPut, ID: j.it.id, Item: j.it.record()})
	s.mu.Unlock()
	return s.journal.wait(seq, false)
}

// Sent counts bytes of the body that have gone out.
func (j *Job) Sent(n int64) {
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	j.it.sent += n
}

// Stored says that the target has it, as e. When that is durable, adopt, if not nil, is offered the local file: if it takes it, it has moved
// it or linked it to another place. Where that is encrypted, local is "" and Body can be read. After that the stage has nothing of it any more, but for what it remembers.
func (j *Job) Stored(e backends.Entry, adopt func(local string, e backends.Entry) bool) error {
	s, it := j.s, j.it
	s.mu.Lock()
	s.stored++
	if it.writers > 0 && it.hasFile() {
		seq := s.storedWhileOpen(j, e)
		s.mu.Unlock()
		j.finish()
		return s.journal.wait(seq, true)
	}
	seq := s.leave(j, e)
	s.mu.Unlock()
	err := s.journal.wait(seq, true)
	if local := j.adoptable(); err == nil && local != "" && adopt != nil {
		if j.file.v != nil {
			adopt("", e)
		} else {
			s.offer(local, e, adopt)
		}
	}
	j.finish()
	if err != nil {
		return err
	}
	s.erase(it)
	s.changed(j.Name)
	return nil
}

// offer gives up a local file to whoever takes it.
func (s *Stage) offer(local string, e backends.Entry, adopt func(local string, e backends.Entry) bool) {
	if err := s.disk.unlabel(local); err != nil {
		s.log.Warn("the label of a stored file cannot be removed", "err", cause(err))
	}
	adopt(s.disk.path(local), e)
}

// leave takes a stored item out of the stage. The caller holds mu.
func (s *Stage) leave(j *Job, e backends.Entry) uint64 {
	it := j.it
	if it.undo {
		s.discard(it)
		for _, waiting := range s.items {
			if waiting.name == it.name && waiting != it {
				s.enqueue(waiting)
			}
		}
		return s.journal.add(record{Kind: kindDrop, ID: it.id})
	}
	m := Remembered{ID: it.id, Attr: it.attr, Changed: it.changed, Target: it.target, Size: j.Size, CRC64NVME: j.CRC64NVME, HasCRC: it.hasFile() && j.mark == it.markNow(), Warnings: it.warnings}
	if it.touch {
		m.ID, m.CRC64NVME, m.HasCRC, m.Warnings = j.Was.ID, j.Was.CRC64NVME, j.HasWas && j.Was.HasCRC, j.Was.Warnings
		m.Original, m.Scrubbed = j.Was.Original, j.Was.Scrubbed
	}
	j.noteScrubbed(&m)
	k := known{Remembered: m, version: versionOf(e), seq: s.journal.newest() + 1}
	s.discard(it)
	seq := s.journal.add(record{Kind: kindStored, ID: it.id, Known: k.record(e.Name)})
	s.memory.set(e.Name, k)
	if !it.attr.Equal(j.Attr) && it.kind != Dir { // changed on the way
		s.touch(e, it.attr, s.o.Now())
	}
	for _, up := range s.names.ancestors(j.Name) {
		seq = s.populate(up)
	}
	return seq
}

// markNow is what the file was sealed as last.
func (it *item) markNow() mark {
	if it.sealed == nil {
		return mark{}
	}
	return *it.sealed
}

// populate notes that the target has something below a directory: then it exists there, and needs no marker. The caller holds mu.
func (s *Stage) populate(dir *item) uint64 {
	dir.populated = true
	k := known{Remembered: Remembered{ID: dir.id, Attr: dir.attr, Changed: dir.changed}}
	if dir.job == nil {
		s.discard(dir)
		s.journal.add(record{Kind: kindDrop, ID: dir.id})
		delete(s.items, dir.id)
	}
	return s.remember(dir.name, k)
}

// storedWhileOpen notes that the target has what was sealed, while somebody may go on writing. The caller holds mu.
func (s *Stage) storedWhileOpen(j *Job, e backends.Entry) uint64 {
	it := j.it
	it.base, it.express, it.resume, it.leaving = e, false, nil, false
	it.answered()
	m := j.mark
	if it.copied = &m; !it.attr.same(j.Attr) {
		it.copied = nil // there is more to be told to the target
	}
	k := known{Remembered: Remembered{ID: it.id, Attr: j.Attr, Changed: it.changed, Size: j.Size, CRC64NVME: j.CRC64NVME, HasCRC: true, Warnings: it.warnings}, version: versionOf(e)}
	j.noteScrubbed(&k.Remembered)
	s.remember(e.Name, k)
	return s.put(it)
}

// Settle is for an Undo: the target has e under the name, with the size and checksum of what was given up. It reports whether e is to be
// removed; if not, something of the same kind that is staged under that name will replace it.
func (j *Job) Settle(e backends.Entry) (remove bool) {
	s := j.s
	s.mu.Lock()
	defer s.mu.Unlock()
	it, _ := s.names.find(j.Name)
	if it == nil || it.kind != j.Kind || it.stays() { // a file and a link of one name are two objects, and a marker is a third
		return true
	}
	if it.kind == Dir {
		return false // that there is a marker already is as good to it
	}
	it.base = e
	s.put(it)
	return false
}

// Again puts the item back: not before after has passed. err is shown to people; it must not name files.
func (j *Job) Again(after time.Duration, err error) error {
	return j.back(func(it *item) {
		it.notBefore = j.s.o.Now().Add(after)
		if err != nil {
			it.why = err.Error()
		}
	})
}

// Conflict says that the target has something else than Base. The item waits for people.
func (j *Job) Conflict(why string) error {
	return j.back(func(it *item) {
		it.state, it.why = Conflict, why
		it.answered()
	})
}

// Fail says that the target refuses the item. It is tried again now and then.
func (j *Job) Fail(why string) error {
	return j.back(func(it *item) {
		it.state, it.why = Failed, why
		it.answered()
		it.notBefore = j.s.o.Now().Add(retryFailed)
	})
}

// Release puts the item back as if nothing had happened.
func (j *Job) Release() error { return j.back(func(*item) {}) }

// back ends a job without success.
func (j *Job) back(change func(*item)) error {
	s, it := j.s, j.it
	s.mu.Lock()
	change(it)
	it.sent = 0
	var seq uint64
	if !it.gone {
		seq = s.journal.add(record{Kind: kindPut, ID: it.id, Item: it.record()})
	}
	closed := s.closed
	s.mu.Unlock()
	j.finish()
	if closed {
		return nil
	}
	return s.journal.wait(seq, false)
}

// finish lets go of the item.
func (j *Job) finish() {
	j.cancel()
	if j.file != nil {
		j.file.Close() //nolint:errcheck // only read
	}
	s := j.s
	s.mu.Lock()
	defer s.mu.Unlock()
	j.it.job = nil
	if !j.it.gone {
		s.enqueue(j.it)
	}
	if staged, _ := s.names.find(strings.TrimSuffix(j.it.name, LinkSuffix)); j.it.touch && staged != nil { // it has waited for this
		s.enqueue(staged)
	}
	close(j.done)
	s.signal()
}
