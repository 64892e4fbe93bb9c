package cache

import (
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// line is what all answers of a source come through: each waits for its first byte, and all share the bandwidth.
type line struct {
	wait time.Duration
	rate int64 // bytes a second

	mu   sync.Mutex // guards free
	free time.Time  // when what is promised so far has come
}

func (l *line) shape(s *fakeSource) {
	s.onGet = func(string, int64) error { time.Sleep(l.wait); return nil }
	s.onBody = func(r io.Reader) io.Reader { return lineReader{l, r} }
}

type lineReader struct {
	l *line
	r io.Reader
}

func (r lineReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), 16<<10)])
	r.l.mu.Lock()
	if now := time.Now(); r.l.free.Before(now) {
		r.l.free = now
	}
	r.l.free = r.l.free.Add(time.Duration(int64(n)) * time.Second / time.Duration(r.l.rate))
	until := r.l.free
	r.l.mu.Unlock()
	time.Sleep(time.Until(until))
	return n, err
}

// A program that reads a large image from front to end gets what the line carries. It got less: all that was fetched ahead came to its end at
// about the same time, and the line stood still while more was asked for.
func TestASequenceKeepsTheLineBusy(t *testing.T) {
	for _, c := range []struct {
		name       string
		wait       time.Duration
		step, size int64
	}{
		{"20 ms, as the kernel reads", 20 * time.Millisecond, 1 << 20, 256 << 20},
		{"100 ms, by 128 KiB", 100 * time.Millisecond, 128 << 10, 128 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFake()
				e := src.put("image", 1, c.size)
				l := &line{wait: c.wait, rate: 125e6}
				l.shape(src)
				s, stop := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
				defer stop()
				began := time.Now()
				r, err := s.Open(t.Context(), e)
				if err != nil {
					t.Fatal(err)
				}
				p := make([]byte, c.step)
				for off := int64(0); off < c.size; off += c.step {
					if _, err := r.ReadAt(t.Context(), p, off); err != nil && !errors.Is(err, io.EOF) {
						t.Fatal(err)
					}
					time.Sleep(time.Duration(c.step) * time.Second / 1e9) // what the program and the kernel do with it
				}
				took := time.Since(began)
				r.Close()
				least := time.Duration(c.size) * time.Second / time.Duration(l.rate)
				t.Logf("%v, %.2f of the line's pace, %d requests", took, float64(least)/float64(took), src.count())
				if took > least+least/33+6*c.wait { // six rounds until enough is on its way
					t.Errorf("%v for what the line carries in %v", took, least)
				}
			})
		})
	}
}
