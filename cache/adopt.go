package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"studyfs/backends"
)

// adopt takes an object whose name and version are known only at its end, and makes its bytes cache; see [backends.Put].
// That the local disk refuses is no error: the bytes are fetched again when somebody wants them.
func (s *Store) adopt(ctx context.Context, size int64, body io.Reader, seal func() (backends.Entry, error)) error {
	p := &pending{s: s}
	defer p.free()
	if err := p.take(ctx, size, body); err != nil {
		return err
	}
	e, err := seal()
	if err != nil {
		return err
	}
	if e.Size != p.size {
		return fmt.Errorf("fetch: %w: %d bytes came of an object of %d", backends.ErrBadAnswer, p.size, e.Size)
	}
	s.fill(ctx, e, p)
	return nil
}

// fill writes the bytes of e where they are not there already.
func (s *Store) fill(ctx context.Context, e backends.Entry, from *pending) {
	if e.Size == 0 || e.Dir || e.Link != "" || from.lost {
		return
	}
	o, err := s.acquireNoted(ctx, s.idOf(e), e.Size)
	if err != nil {
		return
	}
	defer s.release(o)
	if o.file == nil || o.complete() {
		return
	}
	buf := s.cache.memory.scratch()
	defer s.cache.memory.pool.Put(buf)
	for block := range blockCount(e.Size) {
		if o.known(block) {
			continue
		}
		plain, err := from.block(block, buf)
		if err != nil {
			s.disk.failed(s.now())
			return
		}
		if err := s.keep(o, block, plain); err != nil {
			return
		}
	}
	o.save()
}

// whole reports whether every block is here.
func (o *object) whole() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.file != nil && o.blocks.count() == blockCount(o.size)
}

// known reports whether a block is here and was found right since the object was opened.
func (o *object) known(block int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.blocks.valid.has(block) && o.checked.has(block)
}

// pending holds the bytes of an object until its name is known: a small one in memory, since only the name tells whether it
// may lie in clear on the local disk, a larger one in a spill.
type pending struct {
	s      *Store
	size   int64     // of what has come
	blocks []*[]byte // what has come, each counted against the memory of the process; while spilling one, for working
	lost   bool      // the local disk refused: what comes is read, and forgotten

	spilling bool
	spill    *spill // nil where the local disk refused
}

// take reads body to its end. Its errors are the body's.
func (p *pending) take(ctx context.Context, size int64, body io.Reader) error {
	if size > p.s.o.SmallFile {
		p.toSpill()
	}
	for {
		buf, err := p.room(ctx)
		if err != nil {
			return err
		}
		n, end, err := readBlock(body, *buf)
		if err != nil {
			return err
		}
		if n > 0 && p.spilling {
			p.lost = p.lost || !p.s.spilled(p.spill, p.size/BlockSize, (*buf)[:n])
		}
		p.size += int64(n)
		if end {
			return nil
		}
	}
}

// room returns the buffer for the next block. Who holds buffers waits for no more of them, or two could wait for each
// other: where there are none left, the disk takes over.
func (p *pending) room(ctx context.Context) (*[]byte, error) {
	switch {
	case p.spilling && len(p.blocks) > 0:
		return p.blocks[0], nil
	case len(p.blocks) == 0:
		buf, err := p.s.cache.memory.get(ctx)
		if err != nil {
			return nil, err
		}
		p.blocks = append(p.blocks, buf)
		return buf, nil
	case p.size <= p.s.o.SmallFile: // there may be nothing more to come
		if buf, ok := p.s.cache.memory.tryGet(); ok {
			p.blocks = append(p.blocks, buf)
			return buf, nil
		}
	}
	p.toSpill()
	return p.blocks[0], nil
}

// toSpill moves what is in memory to the disk. All blocks of it are full ones.
func (p *pending) toSpill() {
	spill, err := newSpill(p.s.home)
	if err != nil {
		p.s.disk.failed(p.s.now())
		p.lost = true
	}
	p.spilling, p.spill = true, spill
	for i, buf := range p.blocks {
		p.lost = p.lost || !p.s.spilled(spill, int64(i), *buf)
		if i > 0 {
			p.s.cache.memory.put(buf)
		}
	}
	p.blocks = p.blocks[:min(1, len(p.blocks))]
}

// block returns the plain bytes of one block, in buf or in memory of its own.
func (p *pending) block(block int64, buf *[]byte) ([]byte, error) {
	_, n := bytesOf(span{block, block + 1}, p.size)
	if !p.spilling {
		return (*p.blocks[block])[:n], nil
	}
	return p.spill.read(block, (*buf)[:n+sealOverhead])
}

func (p *pending) free() {
	for _, buf := range p.blocks {
		p.s.cache.memory.put(buf)
	}
	p.spill.close()
}

// readBlock fills p, or less at the end of r. An error is none of its own, so a stream that broke off is not taken for
// one that ended.
func readBlock(r io.Reader, p []byte) (n int, end bool, err error) {
	for n < len(p) {
		k, err := r.Read(p[n:])
		n += k
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// spilled writes one block to a spill; false: the disk refused, though the cache gave way.
func (s *Store) spilled(to *spill, block int64, plain []byte) bool {
	buf := s.cache.memory.scratch()
	defer s.cache.memory.pool.Put(buf)
	err := to.write(block, plain, *buf)
	if u := s.cache.usage; err != nil && u.makeRoom(u.limit/10) {
		err = to.write(block, plain, *buf)
	}
	if err != nil {
		s.disk.failed(s.now())
	}
	return err == nil
}

// spill is a file without a name that holds an object until it gets one. What is in it may be what must never lie in
// clear on this disk: so its blocks are sealed, with a key that only this value has, and that seals nothing else.
type spill struct {
	file *os.File
	key  *sealer
}

func newSpill(h *home) (*spill, error) {
	key := make([]byte, 32)
	rand.Read(key)
	sealer, err := newSealer(key, objectID{})
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(h.dir, spillPrefix)
	if err != nil {
		return nil, fmt.Errorf("spill: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("spill: %w", err), file.Close())
	}
	return &spill{file, sealer}, nil
}

const spillPrefix = "spill-"

// write seals a block in buf and writes it.
func (p *spill) write(block int64, plain, buf []byte) error {
	if p == nil {
		return errDisk
	}
	_, err := p.file.WriteAt(p.key.seal(buf[:0], block, plain), block*(BlockSize+sealOverhead))
	return err
}

// read fills sealed with a block and opens it there.
func (p *spill) read(block int64, sealed []byte) ([]byte, error) {
	if _, err := io.ReadFull(io.NewSectionReader(p.file, block*(BlockSize+sealOverhead), int64(len(sealed))), sealed); err != nil {
		return nil, fmt.Errorf("spill: %w", err)
	}
	plain, ok := p.key.open(block, sealed)
	if !ok {
		return nil, fmt.Errorf("spill: %w: other bytes than were written", errDisk)
	}
	return plain, nil
}

func (p *spill) close() {
	if p != nil {
		p.file.Close() //nolint:errcheck // it has no name: nothing is left
	}
}
