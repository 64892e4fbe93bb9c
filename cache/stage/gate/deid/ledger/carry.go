package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"studyfs/cache/stage/gate/deid"
)

// Result is what became of a batch.
type Result struct {
	Renamed int         // now under their new names
	Taken   []deid.Move // left under the old name: something else has taken the new one since
	Gone    int         // under neither name: somebody has moved or deleted them
}

// Carry does what is written down of b, or what is left of that, in its parent, which root has open. When it returns nil, it is durable. After
// an error or the end of ctx, or of the process, it can be called again, and goes on.
func (l *Ledger) Carry(ctx context.Context, p *Person, b *Batch, root *os.Root) (Result, error) {
	if b.State == Undoing {
		return l.Undo(ctx, p, b, root)
	}
	t := &tree{root: root, before: l.o.Before, links: l.o.links}
	r, err := t.carry(ctx, b.Moves, func(string) fs.FileMode { return 0o777 })
	if err != nil {
		return r, err
	}
	for _, d := range slices.Backward(b.Dirs) { // what is left empty
		if err := t.rmdir(d.Name); err != nil {
			return r, fmt.Errorf("remove an empty folder: %w", err)
		}
	}
	if err := t.sync("."); err != nil {
		return r, err
	}
	b.Moves = slices.DeleteFunc(b.Moves, func(m deid.Move) bool { return slices.Contains(r.Taken, m) })
	b.State = Done
	return r, l.Save()
}

// Undo gives the files of b their old names again, or goes on with that. root is open at the folder where b was done. Codes and numbers that
// were given stay given where files of b have gone elsewhere, else they are free again.
func (l *Ledger) Undo(ctx context.Context, p *Person, b *Batch, root *os.Root) (Result, error) {
	if b.State != Undoing {
		b.State = Undoing
		if err := l.Save(); err != nil {
			return Result{}, err
		}
	}
	t := &tree{root: root, before: l.o.Before, links: l.o.links}
	back, modes := make([]deid.Move, len(b.Moves)), map[string]fs.FileMode{}
	for i, m := range b.Moves {
		back[len(back)-1-i] = deid.Move{From: m.To, To: m.From}
	}
	for _, d := range b.Dirs {
		modes[d.Name] = d.Mode
	}
	r, err := t.carry(ctx, back, func(dir string) fs.FileMode { return modes[dir] })
	if err != nil {
		return r, err
	}
	if err := t.prune(back); err != nil {
		return r, err
	}
	if len(r.Taken) == 0 && r.Gone == 0 && p.Newest() == b {
		p.History = b.Before
	}
	b.State = Undone
	return r, l.Save()
}

// Newest returns the last batch of a patient that is not undone; nil if there is none.
func (p *Person) Newest() *Batch {
	for _, b := range slices.Backward(p.Batches) {
		if b.State != Undone {
			return b
		}
	}
	return nil
}

// prune removes the folders that the names in moves were in, where they are empty now.
func (t *tree) prune(moves []deid.Move) error {
	dirs := map[string]bool{}
	for _, m := range moves {
		for d := path.Dir(m.From); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	inner := make([]string, 0, len(dirs))
	for d := range dirs {
		inner = append(inner, d)
	}
	slices.Sort(inner)
	for _, d := range slices.Backward(inner) { // c0ffee12/c0ffee12_0 comes behind c0ffee12
		if err := t.rmdir(d); err != nil {
			return fmt.Errorf("remove an empty folder: %w", err)
		}
	}
	return t.sync(".")
}

// carry renames, and makes all of it durable.
func (t *tree) carry(ctx context.Context, moves []deid.Move, mode func(string) fs.FileMode) (Result, error) {
	var r Result
	touched := map[string]bool{}
	for i, m := range moves {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if err := t.move(m, mode, &r); err != nil {
			return r, fmt.Errorf("file %d of %d: %w", i+1, len(moves), err)
		}
		touched[path.Dir(m.To)], touched[path.Dir(m.From)] = true, true
	}
	// The new names must be durable before the old ones are durably gone; one journal for both is what file systems have, servers have none.
	for _, m := range moves {
		for _, dir := range []string{path.Dir(m.To), path.Dir(m.From)} {
			if !touched[dir] {
				continue
			}
			touched[dir] = false
			if err := t.sync(dir); err != nil {
				return r, fmt.Errorf("make the new names durable: %w", err)
			}
		}
	}
	return r, nil
}

// move does one move, unless it is done.
func (t *tree) move(m deid.Move, mode func(string) fs.FileMode, r *Result) error {
	from, err := t.look(m.From)
	if err != nil {
		return err
	}
	to, err := t.look(m.To)
	if err != nil {
		return err
	}
	switch {
	case from == nil && to == nil:
		r.Gone++
		return nil
	case from == nil:
		r.Renamed++
		return nil
	case to != nil && os.SameFile(from, to):
		r.Renamed++
		return t.unlink(m.From)
	case to != nil:
		r.Taken = append(r.Taken, m)
		return nil
	}
	if err := t.mkdirs(path.Dir(m.To), mode); err != nil {
		return err
	}
	err = t.rename(m.From, m.To)
	if errors.Is(err, fs.ErrExist) { // since a moment ago
		r.Taken = append(r.Taken, m)
		return nil
	}
	if err == nil {
		r.Renamed++
	}
	return err
}
