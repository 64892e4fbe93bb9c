package route

import (
	"context"
	"errors"
	"fmt"
	"io"

	"studyfs/backends"
)

// Copy copies a file at each target, on that target's own. Where one of them cannot (it lacks the file, the object is archived, the new
// name belongs to another primary), the bytes are read from the primary and sent.
func (s *Source) Copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	e, err := s.copy(ctx, from, u)
	if err != nil {
		return backends.Entry{}, fmt.Errorf("copy %s to %s: %w", from.Name, u.Name, err)
	}
	return e, nil
}

func (s *Source) copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	if u.Name == "" || !backends.ValidName(u.Name) || isManifest(u.Name) {
		return backends.Entry{}, backends.ErrName
	}
	free, err := s.own(ctx, from.Name, u.Name)
	if err != nil {
		return backends.Entry{}, err
	}
	defer free()
	i, in := s.inner(from)
	if from.Dir {
		w, err := s.writer(i)
		if err != nil {
			return backends.Entry{}, s.at(i, err)
		}
		e, err := w.Copy(ctx, in, u)
		return e, s.at(i, err)
	}
	source, err := s.look(ctx, i, from.Name)
	switch {
	case err != nil:
		return backends.Entry{}, s.at(i, err)
	case !source.there:
		return backends.Entry{}, backends.ErrNotExist
	case source.Entry.Version != in.Version:
		return backends.Entry{}, backends.ErrChanged
	}
	c := &copying{s: s, from: source, at: i, touch: from.Name == u.Name, u: u, want: sum{source.Entry.Size, source.CRC64NVME}}
	c.u.Meta, c.u.Resume, c.u.Checkpoint, c.u.Sent = s.withOurs(u.Meta, source.sha), nil, nil, nil
	return c.run(ctx)
}

// copying is one Copy on its way.
type copying struct {
	s     *Source
	from  stored // at the primary
	at    int
	touch bool // only metadata change
	u     backends.Upload
	want  sum
}

func (c *copying) run(ctx context.Context) (backends.Entry, error) {
	p := c.s.plan(c.u.Name)
	if c.touch {
		p.primary = c.at
	}
	e, err := c.primary(ctx, p.primary)
	if err != nil {
		return backends.Entry{}, c.s.at(p.primary, err)
	}
	to := c.from
	to.Entry = e
	if err := c.s.each(p.copies, func(_, i int) error { return c.copyTo(ctx, i, to, p.primary) }); err != nil {
		return backends.Entry{}, err
	}
	r := Record{Name: c.u.Name, Size: c.want.Size, SHA256: c.from.sha, CRC64NVME: crcText(c.want.CRC), Time: c.s.o.Now().UTC(), Targets: c.s.namesOf(p)}
	if !c.touch {
		err = c.s.notes.add(r)
	}
	return c.s.outer(p.primary, e), err
}

// primary copies at the primary. That it has been done already, by a try that was cut off behind it, is as good.
func (c *copying) primary(ctx context.Context, i int) (backends.Entry, error) {
	w, err := c.s.writer(i)
	if err != nil {
		return backends.Entry{}, err
	}
	in, other := c.inPlace(i)
	var e backends.Entry
	if i == c.at {
		e, err = w.Copy(ctx, c.from.Entry, in)
	} else {
		e, err = c.send(ctx, i, in, c.from, c.at)
	}
	if errors.Is(err, backends.ErrChanged) && !c.touch {
		if now, looked := c.s.look(ctx, i, c.u.Name); looked == nil && now.holds(c.want) && now.by == c.s.by {
			e, err = now.Entry, nil
		}
	}
	if err == nil && other != nil {
		err = c.drop(ctx, other)
	}
	return e, err
}

// inPlace is the copy as a primary is asked for it. What is replaced may lie at another one.
func (c *copying) inPlace(i int) (in backends.Upload, other *moved) {
	in = c.u
	in.Class = c.s.o.Targets[i].Class
	if c.touch {
		in.Class = c.from.Entry.Class
	}
	if c.u.Old != (backends.Entry{}) {
		at, old := c.s.inner(c.u.Old)
		if in.Old = old; at != i {
			in.Old, other = backends.Entry{}, &moved{at, old}
		}
	}
	return in, other
}

func (c *copying) drop(ctx context.Context, m *moved) error {
	w, err := c.s.writer(m.target)
	if err != nil {
		return err
	}
	return w.Remove(ctx, m.e)
}

// copyTo copies at a target for copies. to is what the primary has now.
func (c *copying) copyTo(ctx context.Context, i int, to stored, primary int) error {
	now, err := c.s.look(ctx, i, c.u.Name)
	switch {
	case err != nil:
		return err
	case now.holds(c.want):
		_, err = c.s.refresh(ctx, i, now, c.u.Name, c.u.Meta)
		return err
	case c.touch: // it has no copy, or not this one: that is for whoever stores the bytes
		return nil
	case now.there && now.by == "":
		return backends.ErrOccupied
	}
	in := c.u
	in.Old, in.Class = now.Entry, c.s.o.Targets[i].Class
	here, err := c.s.look(ctx, i, c.from.Entry.Name)
	if err != nil {
		return err
	}
	if here.holds(c.want) {
		w, err := c.s.writer(i)
		if err != nil {
			return err
		}
		if _, err = w.Copy(ctx, here.Entry, in); !errors.Is(err, backends.ErrArchived) && !errors.Is(err, backends.ErrTooLarge) {
			return err
		}
	}
	_, err = c.send(ctx, i, in, to, primary)
	return err
}

// send reads an object at one target and stores it at another.
func (c *copying) send(ctx context.Context, i int, in backends.Upload, from stored, at int) (backends.Entry, error) {
	w, err := c.s.writer(i)
	if err != nil {
		return backends.Entry{}, err
	}
	if !c.from.HasCRC {
		return backends.Entry{}, fmt.Errorf("%w: nothing is known of its checksum", backends.ErrBadAnswer)
	}
	in.Size, in.CRC64NVME = c.want.Size, c.want.CRC
	return w.Put(ctx, in, &remoteBody{ctx: ctx, s: c.s, at: at, e: from.Entry})
}

// remoteBody is an object as the body of an upload.
type remoteBody struct {
	ctx context.Context //nolint:containedctx // of the upload
	s   *Source
	at  int
	e   backends.Entry
}

func (b *remoteBody) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), b.e.Size-off)
	if n <= 0 {
		return 0, io.EOF
	}
	r, err := b.s.o.Targets[b.at].Source.ReadRange(b.ctx, b.e, off, n)
	if err != nil {
		return 0, b.s.at(b.at, err)
	}
	got, err := io.ReadFull(r, p[:n])
	if err = errors.Join(err, r.Close()); err == nil && got < len(p) {
		err = io.EOF
	}
	return got, err
}

// Remove deletes a file everywhere: the copies first, so that one who is cut off in between still sees it and can go on.
func (s *Source) Remove(ctx context.Context, e backends.Entry) error {
	free, err := s.own(ctx, e.Name)
	if err != nil {
		return err
	}
	defer free()
	if err := s.remove(ctx, e); err != nil {
		return fmt.Errorf("remove %s: %w", e.Name, err)
	}
	return nil
}

func (s *Source) remove(ctx context.Context, e backends.Entry) error {
	if e.Dir {
		return s.each(append(s.primaries(""), s.copies()...), func(_, i int) error {
			w, err := s.writer(i)
			if err == nil {
				err = w.Remove(ctx, e)
			}
			return err
		})
	}
	i, in := s.inner(e)
	if s.o.Targets[i].Copy { // the beginning of an upload; its primary has nothing
		i, in = s.plan(e.Name).primary, backends.Entry{}
	}
	now, err := s.look(ctx, i, e.Name)
	switch {
	case err != nil && !errors.Is(err, backends.ErrPermission): // keys that may not look
		return s.at(i, err)
	case now.there && now.Entry.Version != in.Version:
		return s.at(i, backends.ErrChanged)
	}
	err = s.each(s.copies(), func(_, c int) error { return s.removeCopy(ctx, c, e.Name, now) })
	if err != nil {
		return err
	}
	if in.Version != "" {
		w, err := s.writer(i)
		if err == nil {
			err = w.Remove(ctx, in)
		}
		if err != nil {
			return s.at(i, err)
		}
	}
	return s.notes.add(Record{Name: e.Name, Time: s.o.Now().UTC(), Removed: true})
}

// removeCopy removes a copy; what is none stays.
func (s *Source) removeCopy(ctx context.Context, i int, name string, primary stored) error {
	now, err := s.look(ctx, i, name)
	if err != nil || !now.there {
		return err
	}
	same := primary.HasCRC && now.holds(sum{primary.Entry.Size, primary.CRC64NVME})
	if now.by == "" && !same {
		return nil
	}
	w, err := s.writer(i)
	if err != nil {
		return err
	}
	return w.Remove(ctx, now.Entry)
}
