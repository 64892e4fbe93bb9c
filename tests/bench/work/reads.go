package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/tests/bench/data"
)

// read is a piece of a file that is wanted.
type read struct {
	file   int
	off, n int64
}

// How a plan reads.
type how int

const (
	whole  how = iota // open, read, close
	pread             // with one handle per file
	mapped            // through a mapping per file
	stream            // as pread, and without a file system in one request for all
)

// plan is reads in their order. What they must give is summed before the clock runs.
type plan struct {
	set     data.Spec
	reads   func(files []data.File) []read
	how     how
	readers int  // each takes the files that are its; 0 is 1
	first   bool // tell when the first bytes were there
	listed  bool // list the folder first, as programs do that do not know what there is

	once  sync.Once
	files []data.File
	list  []read
	sums  []uint32
}

// chunk is what is asked for in one read, as cp and python do.
const chunk = 128 * kib

func (p *plan) prepare(context.Context, Target) error {
	p.once.Do(func() {
		p.files = p.set.Files()
		p.list = p.reads(p.files)
		for _, r := range p.list {
			p.sums = append(p.sums, p.files[r.file].Sum(r.off, r.n))
		}
	})
	return nil
}

// reading makes the workload one that reads the plan.
func (w Workload) reading(p *plan) Workload {
	w.Set, w.Prepare, w.Op = p.set, p.prepare, p.op()
	return w
}

// op reads all of the plan.
func (p *plan) op() Op {
	return func(ctx context.Context, t Target) (Done, error) {
		if err := p.prepare(ctx, t); err != nil {
			return Done{}, err
		}
		start, readers := time.Now(), max(1, p.readers)
		var done Done
		for _, r := range p.list {
			done.All += r.n
		}
		if err := p.look(t); err != nil {
			return Done{}, err
		}
		results := make([]Done, readers)
		errs := make([]error, readers)
		var all sync.WaitGroup
		for i := range readers {
			all.Go(func() {
				one := reader{plan: p, target: t, start: start, mine: func(file int) bool { return file%readers == i }}
				defer one.close()
				errs[i] = one.run(ctx)
				results[i] = one.done
			})
		}
		all.Wait()
		for _, r := range results {
			done.Bytes += r.Bytes
			done.Also = append(done.Also, r.Also...)
		}
		return done, errors.Join(errs...)
	}
}

// look lists the first file's folder, if that is part of the plan, and all of it must be there.
func (p *plan) look(t Target) error {
	if !p.listed || t.Dir == "" {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(t.Dir, filepath.Dir(p.files[0].Name)))
	if err == nil && len(entries) != len(p.files) {
		err = fmt.Errorf("%d files are listed of %d", len(entries), len(p.files))
	}
	return err
}

// reader is one of those who read at the same time.
type reader struct {
	plan   *plan
	target Target
	start  time.Time
	mine   func(file int) bool
	done   Done

	buf  []byte
	file int // that is open
	in   *os.File
	mem  []byte
	body io.ReadCloser // of the stream
}

func (r *reader) run(ctx context.Context) error {
	r.buf = make([]byte, chunk)
	for i, want := range r.plan.list {
		if !r.mine(want.file) {
			continue
		}
		if time.Since(r.start) > r.target.Soft {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.one(ctx, i, want); err != nil {
			return fmt.Errorf("%s: %w", r.plan.files[want.file].Name, err)
		}
	}
	return nil
}

// one does one read and holds its sum against what must come.
func (r *reader) one(ctx context.Context, i int, want read) error {
	from, err := r.open(ctx, want)
	if err != nil {
		return err
	}
	sum, left := data.NewSum(), want.n
	for left > 0 {
		n, err := from.Read(r.buf[:min(left, chunk)])
		if n > 0 && r.plan.first && r.done.Bytes == 0 && left == want.n {
			r.done.Also = append(r.done.Also, Also{"first byte", time.Since(r.start)})
		}
		sum.Write(r.buf[:n])
		left -= int64(n)
		if err != nil && left > 0 {
			return fmt.Errorf("%d of %d bytes: %w", want.n-left, want.n, err)
		}
	}
	if sum.Sum32() != r.plan.sums[i] {
		return fmt.Errorf("wrong bytes in %d from %d on", want.n, want.off)
	}
	r.done.Bytes += want.n
	if r.plan.how == whole {
		r.close()
	}
	return nil
}

// open returns what gives the wanted bytes.
func (r *reader) open(ctx context.Context, want read) (io.Reader, error) {
	f := r.plan.files[want.file]
	if r.target.Dir == "" {
		return r.fetch(ctx, f, want)
	}
	if r.in == nil || r.file != want.file {
		r.close()
		in, err := open(filepath.Join(r.target.Dir, f.Name))
		if err != nil {
			return nil, err
		}
		r.in, r.file = in, want.file
		if r.plan.how == mapped {
			if r.mem, err = unix.Mmap(int(in.Fd()), 0, int(f.Size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
				return nil, err
			}
		}
	}
	switch r.plan.how {
	case whole:
		return r.in, nil
	case mapped:
		return &memory{r.mem[want.off:]}, nil
	case pread, stream:
	}
	return io.NewSectionReader(r.in, want.off, want.n), nil
}

// open is os.Open without the poller: that takes in files of FUSE, but none of ext4, and costs more than opening a warm one. No other language's programs
// do that.
func open(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

type memory struct{ rest []byte }

// Read copies, which is when pages are fetched.
func (m *memory) Read(b []byte) (int, error) {
	n := copy(b, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// fetch asks for the same bytes without a file system: what nobody can be faster than with one request after the other.
func (r *reader) fetch(ctx context.Context, f data.File, want read) (io.Reader, error) {
	if r.plan.how == stream && r.body != nil && r.file == want.file {
		return r.body, nil
	}
	r.close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.target.URL+"/"+(&url.URL{Path: f.Name}).EscapedPath(), nil)
	if err != nil {
		return nil, err
	}
	if r.plan.how != stream {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", want.off, want.off+want.n-1))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		resp.Body.Close()
		return nil, errors.New(resp.Status)
	}
	r.body, r.file = resp.Body, want.file
	return r.body, nil
}

func (r *reader) close() {
	if r.mem != nil {
		unix.Munmap(r.mem)
	}
	if r.in != nil {
		r.in.Close()
	}
	if r.body != nil {
		io.CopyN(io.Discard, r.body, 1) // to its end, so that the connection serves again
		r.body.Close()
	}
	r.mem, r.in, r.body = nil, nil, nil
}

// inOrder reads whole files as they are listed.
func inOrder(files []data.File) []read {
	var all []read
	for i, f := range files {
		all = append(all, read{i, 0, f.Size})
	}
	return all
}

// shuffled reads whole files in an order of chance, the same each time.
func shuffled(files []data.File) []read {
	all := inOrder(files)
	random := rand.New(rand.NewPCG(6, 6))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// through reads files from front to end in pieces, so that a run that takes too long can end between two.
func through(files []data.File) []read {
	var all []read
	for i, f := range files {
		for off := int64(0); off < f.Size; off += 16 * mib {
			all = append(all, read{i, off, min(16*mib, f.Size-off)})
		}
	}
	return all
}

// scattered reads count pieces of n bytes at places of chance in the first file, the same each time. No two overlap: what was read before
// would be taken from a cache. Places are multiples of 4 KiB, as pages and most records are.
func scattered(count int, n int64) func(files []data.File) []read {
	return func(files []data.File) []read {
		random := rand.New(rand.NewPCG(7, uint64(n)))
		slot := files[0].Size / int64(count)
		all := make([]read, count)
		for i, at := range random.Perm(count) {
			all[i] = read{0, (int64(at)*slot + random.Int64N(slot-n)) &^ (4*kib - 1), n}
		}
		return all
	}
}
