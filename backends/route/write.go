package route

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"

	"studyfs/backends"
)

// state is what a later try of an upload needs. It is what Checkpoint is given.
type state struct {
	For    sum               `json:"for"`
	SHA256 string            `json:"sha256,omitempty"`
	Was    *sum              `json:"was,omitempty"`   // what the primary held before
	Below  map[string][]byte `json:"below,omitempty"` // what each target wants to know, by its name
}

// job is one Put on its way.
type job struct {
	s     *Source
	u     backends.Upload
	r     io.ReaderAt
	want  sum
	plan  plan
	old   backends.Entry // at the primary; zero where nothing may lie there
	moved *moved         // what is replaced lies at another primary
	sent  share

	mu    sync.Mutex // guards state, and has checkpoints come one after another
	state state
}

// moved is an entry at a primary where it does not belong (any more).
type moved struct {
	target int
	e      backends.Entry
}

// Put stores a file at its primary and at all targets for copies.
func (s *Source) Put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	if u.Name == "" || !backends.ValidName(u.Name) || isManifest(u.Name) {
		return backends.Entry{}, fmt.Errorf("put %s: %w", u.Name, backends.ErrName)
	}
	free, err := s.own(ctx, u.Name)
	if err != nil {
		return backends.Entry{}, err
	}
	defer free()
	if u.Dir {
		return s.putDir(ctx, u, r)
	}
	j := s.newJob(u, r)
	if err := j.prepare(ctx); err != nil {
		return backends.Entry{}, fmt.Errorf("put %s: %w", u.Name, err)
	}
	e, err := j.run(ctx)
	if err != nil {
		return backends.Entry{}, err
	}
	err = s.notes.add(Record{Name: u.Name, Size: u.Size, SHA256: j.state.SHA256, CRC64NVME: crcText(u.CRC64NVME), Time: s.o.Now().UTC(), Targets: s.namesOf(j.plan)})
	return s.outer(j.plan.primary, e), err
}

func crcText(crc uint64) string { return fmt.Sprintf("%016x", crc) }

func (s *Source) namesOf(p plan) []string {
	names := []string{s.o.Targets[p.primary].Name}
	for _, i := range p.copies {
		names = append(names, s.o.Targets[i].Name)
	}
	return names
}

// putDir stores what stands for an empty folder, where all files go that no other target is for.
func (s *Source) putDir(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	i := s.plan("").primary
	w, err := s.writer(i)
	if err != nil {
		return backends.Entry{}, s.at(i, err)
	}
	u.Class = s.o.Targets[i].Class
	e, err := w.Put(ctx, u, r)
	return e, s.at(i, err)
}

func (s *Source) writer(i int) (backends.Writer, error) {
	if w, ok := s.o.Targets[i].Source.(backends.Writer); ok {
		return w, nil
	}
	return nil, backends.ErrReadOnly
}

func (s *Source) newJob(u backends.Upload, r io.ReaderAt) *job {
	j := &job{s: s, u: u, r: r, want: sum{u.Size, u.CRC64NVME}, plan: s.plan(u.Name)}
	j.sent = share{parts: int64(1 + len(j.plan.copies)), report: u.Sent}
	if u.Old != (backends.Entry{}) {
		switch i, old := s.inner(u.Old); {
		case i == j.plan.primary:
			j.old = old
		case !s.o.Targets[i].Copy: // of a copy: the beginning of an earlier try, and the primary has nothing
			j.moved = &moved{i, old}
		}
	}
	if json.Unmarshal(u.Resume, &j.state) != nil || j.state.For != j.want {
		j.state = state{For: j.want}
	}
	if j.state.Below == nil {
		j.state.Below = map[string][]byte{}
	}
	return j
}

// prepare finds out all that is to be known before something is changed, and has it kept.
func (j *job) prepare(ctx context.Context) error {
	if j.state.SHA256 == "" {
		var err error
		if j.state.SHA256, err = shaOf(ctx, j.r, j.u.Size); err != nil {
			return err
		}
	}
	if j.state.Was == nil && (j.old != (backends.Entry{}) || j.moved != nil) {
		at, old := j.plan.primary, j.old
		if j.moved != nil {
			at, old = j.moved.target, j.moved.e
		}
		now, err := j.s.look(ctx, at, j.u.Name)
		if err != nil && !errors.Is(err, backends.ErrPermission) { // keys that may only write
			return j.s.at(at, err)
		}
		if now.HasCRC && now.Entry.Version == old.Version {
			j.state.Was = &sum{now.Entry.Size, now.CRC64NVME}
		}
	}
	return j.checkpoint("", nil)
}

// shaOf reads a body to its end. No more is read at once than what a reader of it would wait for.
func shaOf(ctx context.Context, r io.ReaderAt, size int64) (string, error) {
	if m, ok := r.(backends.Metered); ok {
		r = m.Unmetered()
	}
	h, buf := sha256.New(), make([]byte, min(1<<20, size))
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		piece := buf[:min(int64(len(buf)), size-off)]
		n, err := r.ReadAt(piece, off)
		if n < len(piece) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", fmt.Errorf("%w: after %d of %d bytes", err, off+int64(n), size)
		}
		h.Write(piece)
		off += int64(n)
	}
	return hex.EncodeToString(h.Sum(nil)), ctx.Err()
}

// checkpoint keeps what a target wants to know; "" for nothing new.
func (j *job) checkpoint(target string, below []byte) error {
	if j.u.Checkpoint == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if target != "" {
		j.state.Below[target] = below
	}
	text, err := json.Marshal(j.state)
	if err != nil {
		return fmt.Errorf("state of an upload: %w", err)
	}
	return j.u.Checkpoint(text)
}

// run brings the file to all targets.
func (j *job) run(ctx context.Context) (backends.Entry, error) {
	now, err := j.s.look(ctx, j.plan.primary, j.u.Name)
	made := make([]*backends.Entry, len(j.plan.copies))
	copies := func() error {
		return j.s.each(j.plan.copies, func(k, i int) (err error) {
			made[k], err = j.copyTo(ctx, i)
			return err
		})
	}
	if j.u.Old != (backends.Entry{}) {
		e, err := j.primary(ctx, now, err)
		if err != nil {
			return e, j.s.at(j.plan.primary, err)
		}
		return e, copies()
	}
	if err == nil && now.there && !now.holds(j.want) { // before copies are made for nothing
		return backends.Entry{}, j.s.at(j.plan.primary, backends.ErrChanged)
	}
	var others error
	var work sync.WaitGroup
	work.Go(func() { others = copies() })
	e, err := j.primary(ctx, now, err)
	work.Wait()
	if errors.Is(err, backends.ErrChanged) {
		j.takeBack(ctx, made)
	}
	return e, errors.Join(j.s.at(j.plan.primary, err), others)
}

// takeBack removes the copies of a file that somebody else was faster to store. That it fails costs some space, and the next try of
// whoever it was finds out.
func (j *job) takeBack(ctx context.Context, made []*backends.Entry) {
	for k, i := range j.plan.copies {
		if w, err := j.s.writer(i); err == nil && made[k] != nil {
			w.Remove(ctx, *made[k]) //nolint:errcheck // as above
		}
	}
}

// primary stores the file where it belongs. now and failed are what a look there said.
func (j *job) primary(ctx context.Context, now stored, failed error) (backends.Entry, error) {
	i := j.plan.primary
	switch {
	case errors.Is(failed, backends.ErrPermission): // keys that may only write
	case failed != nil:
		return backends.Entry{}, failed
	case now.holds(j.want):
		j.sent.add(j.u.Size)
		e, err := j.s.refresh(ctx, i, now, j.u.Name, j.meta())
		return e, errors.Join(err, j.leave(ctx))
	case now.Entry.Version != j.old.Version:
		return backends.Entry{}, backends.ErrChanged
	}
	if j.moved != nil {
		there, err := j.s.look(ctx, j.moved.target, j.u.Name)
		if err == nil && there.Entry.Version != j.moved.e.Version {
			err = backends.ErrChanged
		}
		if err != nil {
			return backends.Entry{}, j.s.at(j.moved.target, err)
		}
	}
	e, err := j.putTo(ctx, i, j.old)
	if err != nil {
		return backends.Entry{}, err
	}
	if err := j.leave(ctx); err != nil {
		if errors.Is(err, backends.ErrChanged) { // what lies there is somebody else's, so ours must not stand before it
			err = errors.Join(err, j.remove(ctx, i, e))
		}
		return backends.Entry{}, err
	}
	return e, nil
}

// leave removes what was replaced from a primary where it does not belong.
func (j *job) leave(ctx context.Context) error {
	if j.moved == nil {
		return nil
	}
	return j.s.at(j.moved.target, j.remove(ctx, j.moved.target, j.moved.e))
}

func (j *job) remove(ctx context.Context, i int, e backends.Entry) error {
	w, err := j.s.writer(i)
	if err != nil {
		return err
	}
	return w.Remove(ctx, e)
}

// copyTries is how often somebody else may be faster at a target for copies.
const copyTries = 4

// copyTo stores the file at a target for copies. made is what it has created there.
func (j *job) copyTo(ctx context.Context, i int) (made *backends.Entry, err error) {
	for range copyTries {
		now, err := j.s.look(ctx, i, j.u.Name)
		if err != nil {
			return nil, err
		}
		if now.holds(j.want) {
			j.sent.add(j.u.Size)
			_, err = j.s.refresh(ctx, i, now, j.u.Name, j.meta())
			return nil, err
		}
		if now.there && !j.mayReplace(now) {
			return nil, backends.ErrOccupied
		}
		e, err := j.putTo(ctx, i, now.Entry)
		switch {
		case err == nil && !now.there:
			return &e, nil
		case !errors.Is(err, backends.ErrChanged):
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: somebody else goes on writing it", backends.ErrBusy)
}

// mayReplace reports whether a copy is an older one of this file.
func (j *job) mayReplace(now stored) bool {
	if now.by == j.s.by || j.state.Was != nil && now.holds(*j.state.Was) {
		return true
	}
	return j.u.Old != (backends.Entry{}) && now.by != "" // of another writer: the primary has decided who goes on
}

// meta are the metadata with what is kept beside them.
func (j *job) meta() map[string]string { return j.s.withOurs(j.u.Meta, j.state.SHA256) }

func (s *Source) withOurs(meta map[string]string, sha string) map[string]string {
	all := maps.Clone(meta)
	if all == nil {
		all = map[string]string{}
	}
	all[metaBy] = s.by
	if sha != "" {
		all[metaSHA] = sha
	}
	return all
}

// putTo sends the file to one target.
func (j *job) putTo(ctx context.Context, i int, old backends.Entry) (backends.Entry, error) {
	w, err := j.s.writer(i)
	if err != nil {
		return backends.Entry{}, err
	}
	t := j.s.o.Targets[i]
	in := j.u
	in.Old, in.Class, in.Meta, in.Sent = old, t.Class, j.meta(), j.sent.add
	j.mu.Lock()
	in.Resume = j.state.Below[t.Name]
	j.mu.Unlock()
	if j.u.Checkpoint != nil {
		in.Checkpoint = func(below []byte) error { return j.checkpoint(t.Name, append([]byte{}, below...)) }
	}
	return w.Put(ctx, in, j.r)
}

// refresh gives an object other metadata, if it has not got these. What cannot be changed keeps its old ones.
func (s *Source) refresh(ctx context.Context, i int, now stored, name string, meta map[string]string) (backends.Entry, error) {
	w, err := s.writer(i)
	if err != nil {
		return backends.Entry{}, err
	}
	if maps.Equal(s.withOurs(now.Meta, meta[metaSHA]), meta) {
		return now.Entry, nil
	}
	e, err := w.Copy(ctx, now.Entry, backends.Upload{Name: name, Old: now.Entry, Meta: meta, Class: now.Entry.Class})
	if errors.Is(err, backends.ErrArchived) || errors.Is(err, backends.ErrTooLarge) {
		return now.Entry, nil
	}
	return e, err
}

// share turns what goes out to several targets into one measure of how far a file is.
type share struct {
	parts  int64
	report func(int64)

	mu   sync.Mutex // guards what follows, and the order of reports
	sum  int64
	told int64
}

func (s *share) add(n int64) {
	if s.report == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum += n
	if more := s.sum/s.parts - s.told; more != 0 {
		s.told += more
		s.report(more)
	}
}
