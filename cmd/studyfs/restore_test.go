package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// archived is a mount of one source with three archived files, one that is on its way and one that can be read.
func archived(t *testing.T) (*mountServer, *mem.Source) {
	t.Helper()
	src := mem.New(2) // pages of two keys
	for i, class := range []string{"GLACIER", "GLACIER", "DEEP_ARCHIVE"} {
		src.Set(fmt.Sprintf("p/%d.edf", i), mem.Object{Body: strings.NewReader("brain"), Size: 5, Class: class, Tier: backends.Archived})
	}
	src.Set("p/way", mem.Object{Body: strings.NewReader("brain"), Size: 5, Class: "GLACIER", Tier: backends.Restoring})
	src.Set("q/here", mem.Object{Body: strings.NewReader("brain"), Size: 5, Class: "GLACIER"})
	return &mountServer{spec: &mountSpec{Dir: "/mnt"}, sources: []*liveSource{{spec: sourceSpec{Kind: kindS3, Bucket: "b"}, remote: src}}}, src
}

func runJob(ctx context.Context, m *mountServer, q restoreRequest) (last restoreReport) {
	newRestoreJob(m, q).run(ctx, func(r restoreReport) error {
		last = r
		return nil
	})
	return last
}

func asked(src *mem.Source) (n int) {
	for _, op := range src.Log() {
		if op.Name == "restore" {
			n++
		}
	}
	return n
}

// A folder is asked for once: what is on its way is not paid for twice, and what was refused is asked for when the same is run again.
func TestRestoreJob(t *testing.T) {
	m, src := archived(t)
	seen := runJob(t.Context(), m, restoreRequest{Do: restoreScan, Paths: []string{""}})
	if n := seen.Found.sum(backends.Archived); n != (tally{3, 15}) || seen.Found.sum(backends.Online).Files != 1 || !seen.Done || asked(src) != 0 {
		t.Fatalf("%+v", seen)
	}
	broken := errors.New("broken")
	src.Before(func(op mem.Op) error {
		if op.Name == "restore" && op.Object == "p/1.edf" {
			return broken
		}
		return nil
	})
	q := restoreRequest{Do: restoreAsk, Paths: []string{"p", "p/0.edf", "p"}, Days: 3, Tier: backends.RestoreBulk}
	got := runJob(t.Context(), m, q)
	if got.Asked.Files != 2 || got.Refused.Files != 1 || len(got.Problems) != 1 || !strings.HasPrefix(got.Problems[0], "p/1.edf") || got.Failure != nil {
		t.Errorf("%+v", got)
	}
	if n := got.Found.sum(backends.Restoring); n.Files != 3 {
		t.Errorf("on the way: %+v", n)
	}
	src.Before(nil)
	if again := runJob(t.Context(), m, q); again.Asked.Files != 1 || again.Refused.Files != 0 || asked(src) != 4 {
		t.Errorf("again: %+v after %d requests", again, asked(src))
	}
}

// A throttled service ends the run with the code that says "later", and the next run goes on where it was.
func TestRestoreJobIsThrottled(t *testing.T) {
	m, src := archived(t)
	src.Before(func(op mem.Op) error {
		if op.Name == "restore" && op.Object != "p/0.edf" {
			return backends.ErrBusy
		}
		return nil
	})
	q := restoreRequest{Do: restoreAsk, Paths: []string{"p"}, Days: 3, Tier: backends.RestoreBulk}
	if got := runJob(t.Context(), m, q); got.Failure == nil || got.Failure.Code != exitTryAgain {
		t.Fatalf("%+v", got)
	}
	src.Before(nil)
	if got := runJob(t.Context(), m, q); got.Failure != nil || got.Found.sum(backends.Restoring).Files != 4 {
		t.Errorf("%+v", got)
	}
}

// Keys without the right to restore are noticed after some refusals, not after a million.
func TestRestoreJobGivesUp(t *testing.T) {
	m, src := archived(t)
	for i := range 1000 {
		src.Set(fmt.Sprintf("p/many/%d", i), mem.Object{Size: 5, Class: "GLACIER", Tier: backends.Archived})
	}
	src.Before(func(op mem.Op) error {
		if op.Name == "restore" {
			return backends.ErrPermission
		}
		return nil
	})
	got := runJob(t.Context(), m, restoreRequest{Do: restoreAsk, Paths: []string{""}, Days: 3, Tier: backends.RestoreBulk})
	if n := got.Refused.Files; n < hopeless || n > hopeless+restoresAtOnce || len(got.Problems) != restoreProblems || got.Failure != nil {
		t.Errorf("%d refusals, %d problems, %v", n, len(got.Problems), got.Failure)
	}
}

// A watch ends when nothing is on its way any more, and costs a listing per look.
func TestRestoreWatch(t *testing.T) {
	m, src := archived(t)
	var once sync.Once
	looks := 0
	src.Before(func(op mem.Op) error {
		if op.Name == "walk" && op.After == "" {
			if looks++; looks == 3 {
				once.Do(func() { src.SetTier("p/way", backends.Online) })
			}
		}
		return nil
	})
	got := runJob(t.Context(), m, restoreRequest{Do: restoreWatch, Paths: []string{"p"}, Every: time.Microsecond})
	if got.Looks != 3 || got.Found.sum(backends.Restoring).Files != 0 || got.Found.sum(backends.Online).Files != 1 || got.Found.sum(backends.Archived).Files != 3 {
		t.Errorf("%+v after %d looks", got, looks)
	}
	for _, op := range src.Log() {
		if op.Name != "walk" && op.Name != "stat" {
			t.Errorf("a watch did %+v", op)
		}
	}
}

// A path that does not exist, and a place where nothing can be restored from here, are said as such.
func TestRestoreOfWhatCannotBe(t *testing.T) {
	m, _ := archived(t)
	if got := runJob(t.Context(), m, restoreRequest{Do: restoreScan, Paths: []string{"nosuch"}}); got.Failure == nil || got.Failure.Code != exitError {
		t.Errorf("%+v", got.Failure)
	}
	m.sources[0].spec = sourceSpec{Kind: kindAzure, Azure: &azureSpec{Account: "lab", Container: "ecog"}}
	if got := runJob(t.Context(), m, restoreRequest{Do: restoreScan, Paths: []string{""}}); got.Failure == nil || !strings.Contains(got.Failure.Do, "set-tier") {
		t.Errorf("%+v", got.Failure)
	}
}

// A wrong price decides over real money.
func TestRestoreEstimates(t *testing.T) {
	p, err := newPriceList([]string{"deep_archive/bulk=0.005/0.05", "copy=0.03"})
	if err != nil {
		t.Fatal(err)
	}
	const tib = 1 << 40
	for _, c := range []struct {
		class, tier string
		asking      float64
		keeping     float64
	}{
		{"GLACIER", backends.RestoreBulk, 0, 1024 * 0.03 / 3},
		{"GLACIER", backends.RestoreExpedited, 1024*0.03 + 20, 1024 * 0.03 / 3},
		{"DEEP_ARCHIVE", backends.RestoreBulk, 1024*0.005 + 0.1, 1024 * 0.03 / 3},
		{"DEEP_ARCHIVE", backends.RestoreStandard, 1024*0.02 + 0.2, 1024 * 0.03 / 3},
		{"INTELLIGENT_TIERING", backends.RestoreStandard, 0, 0},
	} {
		e, ok := p.estimate(c.class, tally{2000, tib}, c.tier, 10)
		if near := func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }; !ok || !near(e.Asking, c.asking) || !near(e.Keeping, c.keeping) {
			t.Errorf("%+v: %+v", c, e)
		}
	}
	if _, ok := p.estimate("DEEP_ARCHIVE", tally{}, backends.RestoreExpedited, 1); ok {
		t.Error("expedited from the deep archive has a price")
	}
	for _, bad := range []string{"", "x", "copy", "copy=1/2", "copy=-1", "copy=NaN", "GLACIER=1", "GLACIER/fast=1", "STANDARD/bulk=1", "GLACIER/bulk=a", "GLACIER/bulk=1/"} {
		if _, err := newPriceList([]string{bad}); err == nil {
			t.Errorf("%q is taken for a price", bad)
		}
	}
}

func TestWithoutNested(t *testing.T) {
	got := withoutNested([]string{"a", "a/b", "b", "b", "ab", "c/d"})
	if fmt.Sprint(got) != "[a b ab c/d]" {
		t.Error(got)
	}
	if got := withoutNested([]string{"a", "", ""}); len(got) != 1 || got[0] != "" {
		t.Errorf("%q", got)
	}
}
