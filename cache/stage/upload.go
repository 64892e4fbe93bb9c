package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"studyfs/backends"
)

// do brings one job to the target. local is what reading the staged file said.
func (u *Uploader) do(ctx context.Context, j *Job) (e backends.Entry, local, err error) {
	if j.Undo {
		return backends.Entry{Name: j.Name}, nil, u.undo(ctx, j)
	}
	if err := u.settle(ctx, j); err != nil {
		return e, nil, err
	}
	act := decide(j)
	if act == actAsk {
		if act, err = u.ask(ctx, j); err != nil {
			return e, nil, err
		}
	}
	if act == actSkip {
		return j.Base, nil, nil
	}
	if err := u.guard(ctx, j); err != nil {
		return e, nil, err
	}
	switch act {
	case actTouch:
		return u.touch(ctx, j)
	case actMarker:
		e, err = u.marker(ctx, j)
		return e, nil, err
	case actPut, actLink, actAsk, actSkip:
	}
	return u.send(ctx, j)
}

// settle looks whether an earlier try that nobody has heard of has landed, before the next is made: a file that had its old bytes again was not sent,
// since the target was believed to have them, and kept those of a try in between.
func (u *Uploader) settle(ctx context.Context, j *Job) error {
	if !j.unsure {
		return nil
	}
	examiner, ok := u.o.Dst.(backends.Examiner)
	if !ok {
		return j.Try()
	}
	now, err := examiner.Examine(ctx, objectName(j))
	switch {
	case errors.Is(err, backends.ErrNotExist), errors.Is(err, backends.ErrPermission): // keys that may only write
	case err != nil:
		return err
	case now.Entry.Size == j.Size && now.CRC64NVME == j.CRC64NVME: // the same try: the target may have more to do for it than to take the bytes
	case now.Entry.Version != replaced(j).Version && j.left(now):
		return fmt.Errorf("upload: %w", backends.ErrChanged) // by us, as is found next
	}
	return j.Try()
}

// ask looks whether the target has the bytes already.
func (u *Uploader) ask(ctx context.Context, j *Job) (action, error) {
	examiner, ok := u.o.Dst.(backends.Examiner)
	if !ok {
		return actPut, nil
	}
	now, err := examiner.Examine(ctx, j.Base.Name)
	if errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrPermission) { // keys that may only write
		return actPut, nil
	}
	if err != nil {
		return actAsk, err
	}
	return decideKnowing(j, now), nil
}

// guard keeps writes from a target that ignores their conditions, unless that is allowed: then it looks itself.
func (u *Uploader) guard(ctx context.Context, j *Job) error {
	prober, ok := u.o.Dst.(backends.Prober)
	if !ok || prober.Abilities().Conditions != backends.Unable {
		return nil
	}
	if !u.o.Unsafe {
		return fmt.Errorf("upload: %w", backends.ErrUnsafe)
	}
	examiner, ok := u.o.Dst.(backends.Examiner)
	if !ok || j.Kind == Dir {
		return nil
	}
	now, err := examiner.Examine(ctx, objectName(j))
	if errors.Is(err, backends.ErrNotExist) {
		now, err = backends.Stored{}, nil
	}
	if err != nil {
		return err
	}
	old := replaced(j)
	mine := now.HasCRC && now.CRC64NVME == j.CRC64NVME && now.Entry.Size == j.Size
	if now.Entry.Version != old.Version && !mine {
		return fmt.Errorf("upload: %w", backends.ErrChanged)
	}
	return nil
}

// upload is what all kinds of objects have in common.
func (u *Uploader) upload(j *Job) backends.Upload {
	return backends.Upload{
		Name: objectName(j), Dir: j.Kind == Dir, Old: replaced(j), Meta: Meta(j.Attr), Class: u.o.Class,
		Resume: j.Resume,
		Checkpoint: func(state []byte) error {
			u.mu.Lock()
			u.progress = true
			u.mu.Unlock()
			return j.Checkpoint(state)
		},
		Sent: func(n int64) {
			u.mu.Lock()
			u.stats.Bytes += n
			u.mu.Unlock()
			j.Sent(n)
		},
	}
}

// touch replaces metadata. What the service cannot copy keeps its old ones; what they are to be is remembered here in any case.
func (u *Uploader) touch(ctx context.Context, j *Job) (e backends.Entry, local, err error) {
	up := u.upload(j)
	up.Class, up.Resume = j.Base.Class, nil
	from := j.Base
	from.Link = ""
	e, err = u.o.Dst.Copy(ctx, from, up)
	switch {
	case errors.Is(err, backends.ErrArchived), errors.Is(err, backends.ErrTooLarge):
		return j.Base, nil, nil
	case errors.Is(err, backends.ErrNotExist) && (j.Touch || j.same):
		return e, nil, fmt.Errorf("touch: %w", backends.ErrChanged) // gone is one way to change
	case errors.Is(err, backends.ErrNotExist):
		return u.send(ctx, j)
	}
	return e, nil, err
}

// marker stores what stands for an empty directory. That there is one already is as good.
func (u *Uploader) marker(ctx context.Context, j *Job) (backends.Entry, error) {
	up := u.upload(j)
	up.Resume, up.Checkpoint = nil, nil
	e, err := u.o.Dst.Put(ctx, up, bytes.NewReader(nil))
	if errors.Is(err, backends.ErrChanged) || errors.Is(err, backends.ErrExist) {
		return backends.Entry{Name: j.Name, Dir: true}, nil
	}
	return e, err
}

// send stores the bytes of a staged file, or of a link.
func (u *Uploader) send(ctx context.Context, j *Job) (e backends.Entry, local, err error) {
	if j.Kind == Link {
		e, err = u.put(ctx, j, strings.NewReader(j.Target))
		return e, nil, err
	}
	b := &body{ctx: ctx, src: j.Body(), tap: u.tap}
	e, err = u.put(ctx, j, b)
	return e, b.failure(), err
}

func (u *Uploader) put(ctx context.Context, j *Job, r io.ReaderAt) (backends.Entry, error) {
	up := u.upload(j)
	up.Size, up.CRC64NVME = j.Size, j.CRC64NVME
	return u.o.Dst.Put(ctx, up, r)
}

// isOurs reports whether what stands in a job's way is what an earlier try of it has stored, whose answer never came: because the file was
// opened again just then, or the process was killed. If so, it is what the next try replaces. So are the very bytes that Base was known to be,
// under another version: a service that told a wrong version when it took them made one of 7,000 saves a conflict of a file with itself. An
// error: this cannot be told now. Nor is it a conflict that nothing is there any more where a removal from here was under way.
func (u *Uploader) isOurs(ctx context.Context, j *Job) (bool, error) {
	examiner, ok := u.o.Dst.(backends.Examiner)
	if !ok || j.Touch || len(j.known()) == 0 && !j.leaving {
		return false, nil
	}
	now, err := examiner.Examine(ctx, objectName(j))
	switch {
	case errors.Is(err, backends.ErrNotExist):
		return j.leaving && u.o.Stage.Rebase(j.ID, backends.Entry{}) == nil, nil
	case errors.Is(err, backends.ErrPermission): // keys that may only write
		return false, nil
	case err != nil:
		return false, err
	case !j.left(now):
		return false, nil
	}
	u.o.Listed(now.Entry) // nobody else says so if it turns out to be all there is to store: the file was not shown any more
	return u.o.Stage.Rebase(j.ID, now.Entry) == nil, nil
}

// left reports whether what lies at the target has a content that may be ours.
func (j *Job) left(now backends.Stored) bool {
	return now.HasCRC && slices.Contains(j.known(), sent{now.Entry.Size, now.CRC64NVME})
}

// known are the contents that may lie at the target and are ours.
func (j *Job) known() []sent {
	if j.HasWas && j.Was.HasCRC {
		return append(slices.Clone(j.tried), sent{j.Base.Size, j.Was.CRC64NVME})
	}
	return j.tried
}

// undoMarker removes the marker of a new directory that was renamed or removed while that was on its way. A new folder of a file manager, which is
// named in the next moment, stood at the target under both names. What lies below the name stays, and with it the directory; a target that does not let
// us remove it only shows an empty directory more.
func (u *Uploader) undoMarker(ctx context.Context, j *Job) error {
	marker := backends.Entry{Name: j.Name, Dir: true}
	if !j.Settle(marker) {
		return nil
	}
	err := u.o.Dst.Remove(ctx, marker) // no listing is told: it may know of more below the name
	if errors.Is(err, backends.ErrPermission) || errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}

// undo removes what a try has left under a name that was given up, if it is that and nothing else, and took no other's place.
func (u *Uploader) undo(ctx context.Context, j *Job) error {
	if j.Base != (backends.Entry{}) {
		return nil
	}
	if j.Kind == Dir {
		return u.undoMarker(ctx, j)
	}
	examiner, ok := u.o.Dst.(backends.Examiner)
	if !ok {
		return nil
	}
	now, err := examiner.Examine(ctx, objectName(j))
	switch {
	case errors.Is(err, backends.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !now.HasCRC || !slices.Contains(j.tried, sent{now.Entry.Size, now.CRC64NVME}):
		return nil
	}
	if !j.Settle(now.Entry) {
		u.o.Listed(now.Entry)
		return nil
	}
	if err := u.o.Dst.Remove(ctx, now.Entry); err != nil && !errors.Is(err, backends.ErrChanged) {
		return err
	}
	u.o.Gone(now.Entry.Name)
	return nil
}
