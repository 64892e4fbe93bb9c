package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// Whoever waits for a file goes before what is fetched ahead, however much of that stands in line; what somebody begins to wait for goes with those.
func TestForegroundFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, later := newSlots(1), make(chan struct{})
		if ahead, err := s.acquire(t.Context(), later); err != nil || !ahead {
			t.Fatal(ahead, err)
		}
		order := make(chan string, 8)
		wait := func(name string, wanted <-chan struct{}) {
			go func() {
				ahead, err := s.acquire(t.Context(), wanted)
				if err != nil {
					t.Error(err)
				}
				order <- name
				s.release(ahead)
			}()
			synctest.Wait()
		}
		soon := make(chan struct{})
		wait("ahead", later)
		wait("ahead, but wanted now", soon)
		wait("foreground", hurried())
		gone, leave := context.WithCancel(t.Context())
		go func() {
			if _, err := s.acquire(gone, hurried()); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		synctest.Wait()
		close(soon)
		synctest.Wait()
		leave()
		synctest.Wait()
		s.release(true)
		synctest.Wait()
		for _, want := range []string{"foreground", "ahead, but wanted now", "ahead"} {
			if got := <-order; got != want {
				t.Errorf("%s before %s", got, want)
			}
		}
		if s.busy != 0 || s.busyAhead != 0 {
			t.Errorf("%d slots are held, %d of them ahead", s.busy, s.busyAhead)
		}
	})
}

// No more requests than allowed are under way at a time, listings among them, and everybody is served.
func TestRequestsAreLimited(t *testing.T) {
	for _, most := range []int{1, 3} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := mem.New(10)
				var now, peak atomic.Int64
				src.Before(func(mem.Op) error {
					if n := now.Add(1); n > peak.Load() {
						peak.Store(n)
					}
					time.Sleep(20 * time.Millisecond)
					now.Add(-1)
					return nil
				})
				names := numbered("d/%04d", 120)
				for _, name := range names {
					src.PutBytes(name, []byte("bytes"))
				}
				s, stop := openStore(t, src, t.TempDir(), Options{}, SourceOptions{Requests: most})
				defer stop()
				r := &shelf{t: t, src: src, s: s, size: 5}
				r.list("d")
				for _, name := range names[:40] {
					e, err := s.Lookup(t.Context(), name)
					if err != nil {
						t.Fatal(err)
					}
					mustOpen(t, s, e)
				}
				time.Sleep(time.Minute) // what is fetched ahead ends
				if peak.Load() > int64(most) {
					t.Errorf("%d requests at a time", peak.Load())
				}
				if inUse, _ := s.cache.Memory(); inUse != 0 {
					t.Errorf("%d bytes of buffers in use", inUse)
				}
			})
		})
	}
}

func mustOpen(t *testing.T, s *Store, e backends.Entry) {
	t.Helper()
	f, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// Bytes come at the rate that was set, and not faster; what somebody waits for takes no longer because of what is fetched ahead.
func TestBandwidthIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, size = 1 << 20, 4 << 20
		src := mem.New(0)
		src.PutBytes("large", bytes.Repeat([]byte("x"), 2*size))
		src.PutBytes("other", bytes.Repeat([]byte("y"), size))
		s, stop := openStore(t, src, t.TempDir(), Options{}, SourceOptions{Bandwidth: rate})
		defer stop()
		entry := func(name string) backends.Entry {
			e, err := s.Lookup(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		began := time.Now()
		done := make(chan error)
		go func() { done <- s.Fetch(t.Context(), entry("large")) }() // as studyfs warm does
		time.Sleep(100 * time.Millisecond)
		mustOpen(t, s, entry("other"))
		if took := time.Since(began); took < 3900*time.Millisecond || took > 4300*time.Millisecond {
			t.Errorf("4 MiB took %v at 1 MiB a second, beside a download", took)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 11900*time.Millisecond || took > 12300*time.Millisecond {
			t.Errorf("12 MiB took %v at 1 MiB a second", took)
		}
		s.SetBandwidth(0)
		src.PutBytes("third", bytes.Repeat([]byte("z"), size))
		s.lister.expire("")
		began = time.Now()
		mustOpen(t, s, entry("third"))
		if took := time.Since(began); took > 0 {
			t.Errorf("without a limit: %v", took)
		}
	})
}
