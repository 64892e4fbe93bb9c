package cache

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"studyfs/backends"
)

func openBundles(t testing.TB, src *fakeBundler, o Options) *Store {
	t.Helper()
	s, _ := openStore(t, src, t.TempDir(), o, SourceOptions{})
	return s
}

// waitFor waits until something is true that another goroutine makes true.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// flightState is a copy of what the tests want to see of a flight.
type flightState struct {
	ahead   bool
	waiters int
}

// fetching are the bundles on their way.
func fetching(s *Store) (all []flightState) {
	s.bundles.mu.Lock()
	defer s.bundles.mu.Unlock()
	for _, f := range s.bundles.flights {
		all = append(all, flightState{f.ahead, f.waiters})
	}
	return all
}

func waiters(s *Store) (n int) {
	for _, f := range fetching(s) {
		n += f.waiters
	}
	return n
}

func gate() (chan struct{}, func(context.Context, string) error) {
	open := make(chan struct{})
	return open, func(ctx context.Context, _ string) error {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Fifty programs list the same day at once: the server is asked for it once.
func TestOneFetchForAllWhoWait(t *testing.T) {
	src := newBundles(t)
	src.add("1/a", 1, 1000)
	src.add("1/b", 1, 2000)
	var open chan struct{}
	open, src.onFetch = gate()
	s := openBundles(t, src, Options{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			all, err := s.List(t.Context(), "1")
			if err != nil || len(all) != 2 || all[0].Name != "1/a" || all[1].Size != 2000 {
				t.Errorf("got %v, %v", all, err)
			}
		})
	}
	waitFor(t, "all wait", func() bool { return waiters(s) == 50 })
	if f := fetching(s); len(f) != 1 || f[0].ahead {
		t.Errorf("under way: %+v", f)
	}
	close(open)
	wg.Wait()
	if got := src.asked(); len(got) != 1 {
		t.Errorf("fetched %v, want the day once", got)
	}
	if f := fetching(s); len(f) != 0 {
		t.Errorf("still under way: %+v", f)
	}
}

// The program that asked first is killed: the others get their answer from the same fetch.
func TestWhoLeavesTakesNothingFromTheOthers(t *testing.T) {
	src := newBundles(t)
	src.add("1/a", 1, 1000)
	var open chan struct{}
	open, src.onFetch = gate()
	s := openBundles(t, src, Options{})
	ctx, kill := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := s.List(ctx, "1"); first <- err }()
	waitFor(t, "the first waits", func() bool { return waiters(s) == 1 })
	go func() { _, err := s.Lookup(t.Context(), "1/a"); second <- err }()
	waitFor(t, "the second waits", func() bool { return waiters(s) == 2 })
	kill()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("killed: %v", err)
	}
	close(open)
	if err := <-second; err != nil || len(src.asked()) != 1 {
		t.Errorf("the other: %v, fetched %v", err, src.asked())
	}
}

// Everybody who waited was killed: the download ends. Whoever comes while it does gets a new one, not the end of the old one, and
// never two at once.
func TestLastWaiterLeavingEndsTheBundle(t *testing.T) {
	src := newBundles(t)
	src.add("1/a", 1, 1000)
	ended, linger := make(chan struct{}), make(chan struct{})
	var once sync.Once
	src.onFetch = func(ctx context.Context, _ string) (err error) {
		once.Do(func() {
			<-ctx.Done()
			close(ended)
			<-linger
			err = ctx.Err()
		})
		return err
	}
	s := openBundles(t, src, Options{})
	ctx, kill := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := s.List(ctx, "1"); first <- err }()
	waitFor(t, "somebody waits", func() bool { return waiters(s) == 1 })
	kill()
	<-first
	<-ended
	go func() { _, err := s.List(t.Context(), "1"); second <- err }()
	time.Sleep(20 * time.Millisecond)
	close(linger)
	if err := <-second; err != nil || len(src.asked()) != 2 {
		t.Errorf("got %v, fetched %v", err, src.asked())
	}
}

// A reader of one file of a large day goes on as soon as that file is there, and the rest goes on coming.
func TestReaderDoesNotWaitForTheRestOfTheBundle(t *testing.T) {
	src := newBundles(t)
	a := src.add("1/a", 1, 300_000)
	b := src.add("1/b", 2, 1000)
	open, wait := gate()
	src.onObject = func(ctx context.Context, name string) error {
		if name == "1/b" {
			return wait(ctx, name)
		}
		return nil
	}
	s := openBundles(t, src, Options{})
	e, err := s.Lookup(t.Context(), "1/a")
	if err != nil || e.Version != a.Version {
		t.Fatalf("got %v, %v", e, err)
	}
	mustRead(t, s, e, 1, 0, e.Size)
	if f := fetching(s); len(f) != 1 || f[0].waiters != 0 {
		t.Errorf("under way: %+v", f)
	}
	close(open)
	waitFor(t, "the rest has come", func() bool { return s.State(b) == Cached })
	mustRead(t, s, b, 2, 0, b.Size)
	if got := src.asked(); len(got) != 1 || src.past() != 0 {
		t.Errorf("fetched %v, %d reads past the cache", got, src.past())
	}
}

// The bytes of a file that is listed were evicted: its day is fetched again at open, once for all who open.
func TestOpenFetchesTheDayAgain(t *testing.T) {
	src := newBundles(t)
	e := src.add("1/a", 1, 300_000)
	s := openBundles(t, src, Options{})
	if _, err := s.List(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	s.dropAll([]backends.Entry{e})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { mustRead(t, s, e, 1, 100, 200_000) })
	}
	wg.Wait()
	if got := src.asked(); len(got) != 2 || src.past() != 0 {
		t.Errorf("fetched %v, %d reads past the cache", got, src.past())
	}
}

// A file was replaced, or removed, on the server since it was listed.
func TestOpenOfAFileThatIsNoMore(t *testing.T) {
	src := newBundles(t)
	old := src.add("1/a", 1, 1000)
	gone := src.add("1/b", 1, 1000)
	s := openBundles(t, src, Options{})
	if _, err := s.List(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	now := src.add("1/a", 2, 1500)
	src.mu.Lock()
	delete(src.server, "1/b")
	src.mu.Unlock()
	s.dropAll([]backends.Entry{old, gone})
	if _, err := s.Open(t.Context(), old); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("replaced: %v", err)
	}
	mustRead(t, s, now, 2, 0, 1500)
	src.mu.Lock()
	delete(src.index, "1/b")
	src.mu.Unlock()
	if _, err := s.Open(t.Context(), gone); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

// Whoever reads in order finds the next day there already. One such fetch at a time; it ends with the store.
func TestAheadOfTheReader(t *testing.T) {
	src := newBundles(t)
	src.readAhead = true
	for _, day := range []string{"1", "11", "111", "2", "12"} {
		src.add(day+"/a", 1, 1000)
	}
	open, wait := gate()
	defer close(open)
	src.onFetch = func(ctx context.Context, bundle string) error {
		if bundle == "111" {
			return wait(ctx, bundle)
		}
		return nil
	}
	s := openBundles(t, src, Options{})
	read := func(name string) {
		e, err := s.Lookup(t.Context(), name)
		check(t, err)
		mustRead(t, s, e, 1, 0, 1000)
	}
	read("1/a")
	waitFor(t, "the next day has come", func() bool { return len(src.asked()) == 2 && len(fetching(s)) == 0 })
	read("11/a") // no request of its own; begins 111, which hangs
	waitFor(t, "the third is under way", func() bool { return len(src.asked()) == 3 })
	if f := fetching(s); len(f) != 1 || !f[0].ahead || f[0].waiters != 0 {
		t.Errorf("under way: %+v", f)
	}
	read("2/a") // would begin 12
	if got := strings.Join(src.asked(), " "); got != "1 11 111 2" {
		t.Errorf("fetched %s", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.List(ctx, "111"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if len(fetching(s)) != 1 {
		t.Error("a fetch ahead ended with the first who waited for it and left")
	}
}

// The server is down: what is known is shown. What was never known is an error, and so is a refusal.
func TestIndexIsServedWhileTheServerIsAway(t *testing.T) {
	src := newBundles(t)
	e := src.add("1/a", 1, 1000)
	src.add("2/a", 1, 1000)
	s := openBundles(t, src, Options{})
	before, err := s.List(t.Context(), "1")
	check(t, err)
	src.stale("1")
	src.mu.Lock()
	src.whole["1"], src.stubborn = true, true
	src.onFetch = func(context.Context, string) error { return backends.ErrUnreachable }
	src.mu.Unlock()
	if all, err := s.List(t.Context(), "1"); err != nil || len(all) != 1 || &all[0] != &before[0] {
		t.Errorf("list: %v, %v", all, err)
	}
	if got, err := s.Lookup(t.Context(), "1/a"); err != nil || got != e {
		t.Errorf("lookup: %v, %v", got, err)
	}
	mustRead(t, s, e, 1, 0, 1000)
	if _, err := s.List(t.Context(), "2"); !errors.Is(err, backends.ErrUnreachable) {
		t.Errorf("never listed: %v", err)
	}
	if _, err := s.Lookup(t.Context(), "2/a"); !errors.Is(err, backends.ErrUnreachable) {
		t.Errorf("never seen: %v", err)
	}
	src.mu.Lock()
	src.onFetch = func(context.Context, string) error { return backends.ErrAuth }
	src.mu.Unlock()
	if _, err := s.List(t.Context(), "1"); !errors.Is(err, backends.ErrAuth) {
		t.Errorf("refused: %v", err)
	}
}

// Revoked keys close what is kept, too; once they are good again, one request opens it.
func TestRefusedKeysCloseTheIndexToo(t *testing.T) {
	src := newBundles(t)
	e := src.add("1/a", 1, 1000)
	s := openBundles(t, src, Options{})
	_, err := s.List(t.Context(), "1")
	check(t, err)
	src.mu.Lock()
	src.trouble = backends.ErrAuth
	src.onFetch = func(context.Context, string) error { return backends.ErrAuth }
	src.mu.Unlock()
	if _, err := s.Open(t.Context(), e); !errors.Is(err, backends.ErrAuth) {
		t.Errorf("open: %v", err)
	}
	if got := src.asked(); len(got) != 2 || got[1] != "root" {
		t.Errorf("the probe fetched %v", got)
	}
}

// A source that never has enough must not keep a program forever.
func TestEndlessBundlesAreAnError(t *testing.T) {
	src := newBundles(t)
	src.add("1/a", 1, 1000)
	src.stubborn = true
	s := openBundles(t, src, Options{})
	if _, err := s.List(t.Context(), "1"); !errors.Is(err, backends.ErrBadAnswer) || len(src.asked()) != maxAgain {
		t.Errorf("got %v after %v", err, src.asked())
	}
}

// A listing that did not change is the very slice of before: by that the kernel's own copy is known to be good.
func TestUnchangedListingIsTheSameSlice(t *testing.T) {
	src := newBundles(t)
	src.add("1/a", 1, 1000)
	s := openBundles(t, src, Options{})
	list := func() []backends.Entry {
		all, err := s.List(t.Context(), "1")
		check(t, err)
		return all
	}
	first := list()
	src.stale("1")
	if again := list(); &first[0] != &again[0] {
		t.Error("another slice of the same")
	}
	src.add("1/a", 2, 1000)
	src.stale("1")
	if now := list(); &first[0] == &now[0] || now[0].Version != "2" || first[0].Version != "1" {
		t.Errorf("got %v, before %v", now, first)
	}
}

// Listings kept for that do not grow without bound.
func TestLastListingsAreBounded(t *testing.T) {
	l := newLastLists(10)
	for _, dir := range []string{"a", "b", "c", "d"} {
		l.keep(dir, make([]backends.Entry, 4))
	}
	l.keep("d", make([]backends.Entry, 5))
	if l.entries > 10 || l.order.Len() != 2 {
		t.Errorf("%d entries of %d directories", l.entries, l.order.Len())
	}
	l.keep("e", make([]backends.Entry, 50))
	if l.entries != 50 || l.order.Len() != 1 {
		t.Errorf("%d entries of %d directories", l.entries, l.order.Len())
	}
}

// After a restart nothing is fetched that was known and kept.
func TestIndexAndBytesOutliveTheProcess(t *testing.T) {
	src, dir := newBundles(t), t.TempDir()
	e := src.add("1/a", 1, 300_000)
	s, stop := openStore(t, src, dir, Options{}, SourceOptions{})
	_, err := s.List(t.Context(), "1")
	check(t, err)
	stop()
	if info, err := os.Stat(filepath.Join(dir, "listing")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("stored index: %v, %v", info, err)
	}
	for range 3 {
		src = src.again()
		s, stop = openStore(t, src, dir, Options{}, SourceOptions{})
		if all, err := s.List(t.Context(), "1"); err != nil || len(all) != 1 || !sameEntry(all[0], e) {
			t.Errorf("list: %v, %v", all, err)
		}
		mustRead(t, s, e, 1, 0, e.Size)
		waitFor(t, "the books are complete", s.scanned.Load)
		if !s.have(e) {
			t.Error("the books lack what is there")
		}
		if got := src.asked(); len(got) != 0 || src.past() != 0 {
			t.Errorf("fetched %v", got)
		}
		stop()
	}
	flipAt(t, filepath.Join(dir, "listing"), 20)
	var log bytes.Buffer
	src = src.again()
	s, _ = openStore(t, src, dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, SourceOptions{})
	if all, err := s.List(t.Context(), "1"); err != nil || len(all) != 1 || len(src.asked()) != 1 {
		t.Errorf("damaged index: %v, %v", all, err)
	}
	if !strings.Contains(log.String(), "level=WARN") || strings.Contains(log.String(), "1/a") {
		t.Errorf("log: %s", log.String())
	}
}

func flipAt(t *testing.T, path string, off int64) {
	t.Helper()
	raw, err := os.ReadFile(path)
	check(t, err)
	raw[off] ^= 1
	check(t, os.WriteFile(path, raw, 0o600))
}

// A day may take longer than any call's usual limit, and what was learned is stored every minute.
func TestBundlesHaveNoOverallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dir := newBundles(t), t.TempDir()
		src.add("1/a", 1, 1000)
		src.onFetch = func(context.Context, string) error {
			time.Sleep(10 * time.Minute)
			return nil
		}
		s, stop := openStore(t, src, dir, Options{}, SourceOptions{Timeout: time.Minute})
		if _, err := s.List(t.Context(), "1"); err != nil {
			t.Error(err)
		}
		time.Sleep(saveEvery + time.Second)
		raw, err := os.ReadFile(filepath.Join(dir, "listing"))
		if err != nil || !bytes.Contains(raw, []byte("1/a")) {
			t.Errorf("stored index: %q, %v", raw, err)
		}
		stop()
	})
}

// A deleted participant's bytes leave the disk as soon as the source knows, and the kernel is told.
func TestGoneVersionsLeaveTheDisk(t *testing.T) {
	src, dir := newBundles(t), t.TempDir()
	e := src.add("1/a", 1, 1<<20)
	var told []backends.Change
	s, _ := openStore(t, src, dir, Options{}, SourceOptions{Changed: func(c backends.Change) { told = append(told, c) }})
	_, err := s.List(t.Context(), "1")
	check(t, err)
	src.tell(backends.Change{Dir: "1", Names: []string{"1/a"}, Gone: []backends.Entry{e}})
	if used := diskUse(t, dir); used != 0 || s.Stats().Bytes != 0 || len(told) != 1 || told[0].Dir != "1" {
		t.Errorf("%d bytes on disk, %d in the books, told %v", used, s.Stats().Bytes, told)
	}
}

// The cache disk takes nothing: files are listed, and read past it.
func TestBundlesWithoutAUsableDisk(t *testing.T) {
	src, dir := newBundles(t), t.TempDir()
	small, large := src.add("1/a", 1, 1000), src.add("1/b", 2, 3<<20)
	s, _ := openStore(t, src, dir, Options{}, SourceOptions{SmallFile: 1 << 20})
	check(t, os.WriteFile(filepath.Join(dir, "blocks"), nil, 0o600)) // no directory can be made there
	if all, err := s.List(t.Context(), "1"); err != nil || len(all) != 2 {
		t.Fatalf("list: %v, %v", all, err)
	}
	mustRead(t, s, small, 1, 0, 1000)
	mustRead(t, s, large, 2, 2<<20, 1<<20)
	if got := src.asked(); len(got) != 1 || src.past() == 0 {
		t.Errorf("fetched %v, %d reads past the cache", got, src.past())
	}
}
