package stage

import (
	"context"
	"errors"
	"testing"
	"time"

	"studyfs/backends"
)

// A stored file was renamed, and then its inode number was another one, its mode 0644 and its time that of the copy: what was known of it
// stayed with the old name.
func TestWhatIsKnownMovesAlong(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	was := backends.Entry{Name: "d/a", Size: 3, Version: "v1"}
	a := Attr{Mode: 0o600, UID: 7, ModTime: time.Unix(5, 6), ATime: time.Unix(7, 8), XAttrs: map[string]string{"user.x": "y"}}
	if _, err := b.Retouch(was, a, func(*Attr) {}); err != nil {
		t.Fatal(err)
	}
	now := backends.Entry{Name: "d/b", Size: 3, Version: "v2"}
	id, err := b.Moved(was, now, a)
	if err != nil || id == 0 {
		t.Fatal(id, err)
	}
	for _, when := range []string{"at once", "after a restart"} {
		m, ok := b.Remember(now)
		if !ok || m.ID != id || !m.Attr.same(a) || !m.Attr.ATime.Equal(a.ATime) {
			t.Errorf("%s: %+v, %v", when, m, ok)
		}
		if m, ok := b.Remember(was); ok {
			t.Errorf("%s: the old name has %+v", when, m)
		}
		b = b.crash()
	}
	again, err := b.Moved(now, was, a)
	if err != nil || again != id {
		t.Errorf("back: %d instead of %d, %v", again, id, err)
	}
}

// A file was made private and renamed at once: the change of its metadata then went to a name that was gone.
func TestTouchEndsWithItsName(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	was := backends.Entry{Name: "a", Size: 3, Version: "v1"}
	a, err := b.Retouch(was, Attr{Mode: 0o644}, func(a *Attr) { a.Mode = 0o600 })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Moved(was, backends.Entry{Name: "b", Size: 3, Version: "v1"}, a); err != nil {
		t.Fatal(err)
	}
	if left := b.Items(); len(left) != 0 {
		t.Errorf("%+v is left to be done", left)
	}
}

// A file was given another mode and then other bytes: the answer to the first came after that to the second, and listings had the old version.
func TestBytesWaitForTheAnswerToMetadata(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Millisecond })
	was := backends.Entry{Name: "f", Size: 3, Version: "v1"}
	if _, err := b.Retouch(was, Attr{Mode: 0o644}, func(a *Attr) { a.Mode = 0o600 }); err != nil {
		t.Fatal(err)
	}
	touch := b.job()
	f, err := b.Create("f", Attr{Mode: 0o600}, was)
	b.must(err)
	b.must(f.Flush(t.Context()))
	b.must(f.Close())
	b.nothingDue()
	b.must(touch.Stored(was, nil))
	if j := b.job(); !touch.Touch || j.Touch || j.Name != "f" {
		t.Errorf("handed out: %+v", j.Info)
	}
}

// What is to be deleted is not shown again by an answer that comes late, nor changed in between.
func TestStill(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Millisecond })
	e := backends.Entry{Name: "f", Size: 3, Version: "v1"}
	change := func(mode uint32) {
		t.Helper()
		_, err := b.Retouch(e, Attr{Mode: 0o644}, func(a *Attr) { a.Mode = mode })
		b.must(err)
	}
	change(0o600)
	j := b.job()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.Still(ctx, "f"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before the answer: %v", err)
	}
	still := make(chan func())
	go func() {
		letGo, err := b.Still(t.Context(), "f")
		if err != nil {
			t.Error(err)
		}
		still <- letGo
	}()
	for waits := 0; waits == 0; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		waits = b.touches["f"].wanted
		b.mu.Unlock()
	}
	change(0o640) // is to be told later
	b.must(j.Stored(e, nil))
	letGo := <-still
	b.nothingDue()
	letGo()
	b.must(b.job().Stored(e, nil))
	if letGo, err := b.Still(t.Context(), "f"); err != nil || len(b.Items()) != 0 {
		t.Errorf("%v, %d left", err, len(b.Items()))
	} else {
		letGo()
	}
}
