package stage

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// rig is a stage with an uploader to a target in memory. It lives in a bubble: all time is simulated.
type rig struct {
	*bench
	src *mem.Source
	u   *Uploader
	log *lines
	end func()
}

// lines keeps what is logged for people.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	return len(p), nil
}

func (l *lines) count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.text {
		if strings.Contains(s, part) {
			n++
		}
	}
	return n
}

// inBubble runs a test of an uploader. Backoffs are as long as they can be.
func inBubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	dir := t.TempDir() // its removal waits for nobody's goroutine
	synctest.Test(t, func(t *testing.T) {
		r := &rig{bench: openBench(t, dir, nil), src: mem.New(0), log: &lines{}, end: func() {}}
		r.src.SetNow(time.Now)
		defer func() { r.end() }()
		test(t, r)
	})
}

func (r *rig) start(change func(*UploaderOptions)) {
	o := UploaderOptions{
		Stage: r.Stage, Dst: r.src, Log: slog.New(slog.NewTextHandler(r.log, nil)), Rand: func() float64 { return 1 },
	}
	if change != nil {
		change(&o)
	}
	r.u = NewUploader(o)
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.u.Run(ctx) }()
	r.end = func() {
		r.end = func() {}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			r.t.Errorf("run: %v", err)
		}
	}
}

// unheard has the next request carried out, which closes landed; its answer is lost after so long.
func (r *rig) unheard(after time.Duration) (landed <-chan struct{}) {
	done := make(chan struct{})
	var once sync.Once
	r.src.After(func(mem.Op) (err error) {
		once.Do(func() {
			close(done)
			time.Sleep(after)
			err = backends.ErrUnreachable
		})
		return err
	})
	return done
}

// busy has the target refuse all until goOn is called.
func (r *rig) busy() (goOn func()) {
	var free atomic.Bool
	r.src.Before(func(mem.Op) error {
		if !free.Load() {
			return backends.ErrBusy
		}
		return nil
	})
	return func() { free.Store(true) }
}

// settled waits until all is stored.
func (r *rig) settled() {
	r.t.Helper()
	if err := r.Wait(r.t.Context(), ""); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) holds(key, want string) {
	r.t.Helper()
	if got, ok := r.src.Bytes(key); !ok || string(got) != want {
		r.t.Errorf("the target holds %.40q, %v under %s; want %.40q", got, ok, key, want)
	}
}

func (r *rig) count(op string) (n int) {
	for _, o := range r.src.Log() {
		if o.Name == op {
			n++
		}
	}
	return n
}

func (r *rig) entry(name string) backends.Entry {
	r.t.Helper()
	e, err := r.src.Stat(r.t.Context(), name)
	r.must(err)
	return e
}

// onlyWrites fails those calls that change something.
func onlyWrites(op mem.Op, err error) error {
	switch op.Name {
	case "put", "part", "finish", "copy", "remove":
		return err
	}
	return nil
}
