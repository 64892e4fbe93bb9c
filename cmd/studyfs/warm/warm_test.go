package warm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"studyfs/backends"
)

// fake is a store of a folder with files, each of which takes one request.
type fake struct {
	files int
	fail  func(name string) error

	mu      sync.Mutex // guards fetched
	fetched map[string]bool
}

func (f *fake) Lookup(context.Context, string) (backends.Entry, error) {
	return backends.Entry{Name: "d", Dir: true}, nil
}

func (f *fake) List(context.Context, string) (all []backends.Entry, err error) {
	for i := range f.files {
		all = append(all, backends.Entry{Name: fmt.Sprintf("d/%03d", i), Size: 10})
	}
	return all, nil
}

func (f *fake) Missing(e backends.Entry) (bytes, requests int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fetched[e.Name] {
		return 0, 0
	}
	return e.Size, 1
}

func (f *fake) Fetch(_ context.Context, e backends.Entry) error {
	if err := f.fail(e.Name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetched[e.Name] = true
	return nil
}

// One file that cannot be had keeps nobody from the others; a service that refuses the keys is not asked two hundred times more. What has come
// is not fetched again.
func TestJobGoesOnAndGivesUp(t *testing.T) {
	bad := backends.ErrPermission
	f := &fake{files: 200, fetched: map[string]bool{}}
	f.fail = func(name string) error {
		if name == "d/007" {
			return fmt.Errorf("read: %w", bad)
		}
		return nil
	}
	run := func() (Report, error) {
		j := New([]Place{{Store: f, Name: "d", Shown: "study/"}}, time.Time{})
		err := errors.Join(j.Scan(t.Context(), nil), j.Fetch(t.Context()))
		return j.Report(), err
	}
	r, err := run()
	if err != nil || r.Fetched.Files != 199 || r.Failed.Files != 1 || len(r.Problems) != 1 || !strings.HasPrefix(r.Problems[0], "study/d/007: ") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = run(); err != nil || r.Missing.Files != 1 || r.Found.Files != 200 {
		t.Errorf("again: %+v, %v", r, err)
	}
	asked := 0
	f.fetched = map[string]bool{}
	f.fail = func(string) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		asked++
		return backends.ErrAuth
	}
	if _, err := run(); !errors.Is(err, backends.ErrAuth) || asked > 3*atOnce {
		t.Errorf("%d requests, %v", asked, err)
	}
}
