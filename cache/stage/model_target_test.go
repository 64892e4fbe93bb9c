package stage

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// target is a source in memory that minds what lands on it.
type target struct {
	*mem.Source
	rng *rand.Rand

	mu     sync.Mutex          // one change at a time, so that each is seen
	dead   bool                // the process that writes is
	faulty int                 // one in so many requests fails; 0: none
	lands  map[string]bool     // contents that some close has sealed, by content
	seen   map[string]bool     // "name version" that a program here has seen before it wrote
	ours   map[string]bool     // versions that came from here
	past   map[string][]string // what came from here, by name
	wrong  []string
}

// fault is what a request may meet.
func (d *target) fault() error {
	if d.dead {
		return errKilled
	}
	if d.faulty == 0 || d.rng.IntN(d.faulty) > 0 {
		return nil
	}
	return []error{backends.ErrUnreachable, backends.ErrBusy, backends.ErrBadAnswer}[d.rng.IntN(3)]
}

// change makes a change, and judges it. call may fail though it has done its work.
func (d *target) change(ctx context.Context, name string, body func() string, call func() (backends.Entry, error)) (backends.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(); err != nil {
		return backends.Entry{}, err
	}
	was, wasErr := d.Stat(context.WithoutCancel(ctx), name)
	e, err := call()
	now, nowErr := d.Stat(context.WithoutCancel(ctx), name)
	if err != nil || nowErr != nil || now.Version == was.Version {
		return e, err
	}
	content := body()
	if wasErr == nil && !was.Dir && !d.ours[was.Version] && !d.seen[name+" "+was.Version] {
		d.wrong = append(d.wrong, fmt.Sprintf("what somebody else has stored under %s was overwritten unseen", name))
	}
	if !now.Dir && !d.lands[content] {
		d.wrong = append(d.wrong, fmt.Sprintf("bytes that no close has sealed are stored under %s: %.60q", name, content))
	}
	d.ours[now.Version] = true
	d.past[name] = append(d.past[name], content)
	if err := d.fault(); err != nil {
		return backends.Entry{}, err
	}
	return e, nil
}

func (d *target) Put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	if u.Dir {
		return d.Source.Put(ctx, u, r)
	}
	return d.change(ctx, u.Name, func() string { return d.text(u.Name) }, func() (backends.Entry, error) { return d.Source.Put(ctx, u, r) })
}

func (d *target) Copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	return d.change(ctx, u.Name, func() string { return d.text(u.Name) }, func() (backends.Entry, error) { return d.Source.Copy(ctx, from, u) })
}

func (d *target) Remove(ctx context.Context, e backends.Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault(); err != nil {
		return err
	}
	if !d.ours[e.Version] {
		d.wrong = append(d.wrong, fmt.Sprintf("%s of somebody else was removed", e.Name))
	}
	return d.Source.Remove(ctx, e)
}

// text is what lies at the target, "" if nothing does.
func (d *target) text(name string) string {
	b, _ := d.Bytes(name)
	return string(b)
}

// others changes the target behind our back.
func (d *target) others(name, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if text == "" {
		d.Delete(name)
		return
	}
	d.lands[text] = true // may be stored again with other metadata
	d.PutBytes(name, []byte(text))
}
