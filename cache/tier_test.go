package cache

import (
	"errors"
	"io"
	"testing"

	"studyfs/backends"
	"studyfs/backends/mem"
)

func readAll(t *testing.T, s *Store, e backends.Entry) error {
	t.Helper()
	r, err := s.Open(t.Context(), e)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.ReadAt(t.Context(), make([]byte, 10), 0)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// A copy that somebody has restored can be read at once when it is noticed, not only when the listing is asked for again; and
// when it has expired, what was read of it stays readable, but nothing that would have to be fetched.
func TestRestoredAndExpired(t *testing.T) {
	src := mem.New(0)
	cold := func(name string, tier backends.Tier) {
		src.Set(name, mem.Object{Body: content0{}, Size: 5, Tier: tier, Class: "GLACIER"})
	}
	cold("d/a", backends.Archived)
	cold("d/b", backends.Archived)
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	lookup := func(name string) backends.Entry {
		e, err := s.Lookup(t.Context(), name)
		check(t, err)
		return e
	}
	a := lookup("d/a")
	if err := readAll(t, s, a); !errors.Is(err, backends.ErrArchived) {
		t.Errorf("archived: %v", err)
	}
	a.Tier = backends.Online
	other := lookup("d/b")
	other.Version, other.Tier = "another", backends.Online
	if n := s.Noted([]backends.Entry{a, a, other, {Name: "d/none", Version: "1"}, {Name: "d", Dir: true}}); n != 1 {
		t.Errorf("%d entries changed", n)
	}
	if lookup("d/b").Tier != backends.Archived || lookup("d/a").Tier != backends.Online {
		t.Error("the listing did not take it in")
	}
	src.SetTier("d/a", backends.Online)
	if err := readAll(t, s, lookup("d/a")); err != nil {
		t.Errorf("restored: %v", err)
	}
	a.Tier = backends.Archived
	src.SetTier("d/a", backends.Archived)
	s.Noted([]backends.Entry{a})
	if err := readAll(t, s, lookup("d/a")); err != nil {
		t.Errorf("expired, but all of it lies here: %v", err)
	}
}

// A copy that expires before its listing does is refused once, and the listing is asked for again.
func TestExpiredSinceListed(t *testing.T) {
	src := mem.New(0)
	src.Set("d/a", mem.Object{Body: content0{}, Size: 5, Class: "GLACIER"})
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	e, err := s.Lookup(t.Context(), "d/a")
	check(t, err)
	src.SetTier("d/a", backends.Archived)
	if err := readAll(t, s, e); !errors.Is(err, backends.ErrArchived) {
		t.Errorf("%v", err)
	}
	if now, err := s.Lookup(t.Context(), "d/a"); err != nil || now.Tier != backends.Archived {
		t.Errorf("%+v, %v", now, err)
	}
}

// content0 is a body of zeros.
type content0 struct{}

func (content0) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
