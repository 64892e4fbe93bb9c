package mem

import (
	"bytes"
	"errors"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
)

// Tests of uploaders need a store that loses an answer in the middle of a large object, and goes on there.
func TestLostAnswersAndResuming(t *testing.T) {
	s := New(0)
	s.SetPartSize(10)
	lost := errors.New("lost")
	parts := 0
	s.After(func(op Op) error {
		if op.Name == "part" {
			if parts++; parts == 2 {
				return lost
			}
		}
		return nil
	})
	b := backendtest.Noise(45, 1)
	u := backendtest.Upload("f", b)
	u.Checkpoint = func(state []byte) error { u.Resume = bytes.Clone(state); return nil }
	if _, err := s.Put(t.Context(), u, bytes.NewReader(b)); !errors.Is(err, lost) || s.Unfinished() != 1 {
		t.Fatalf("%v, %d unfinished", err, s.Unfinished())
	}
	if _, there := s.Bytes("f"); there {
		t.Error("half an object is there")
	}
	if _, err := s.Put(t.Context(), u, bytes.NewReader(b)); err != nil || s.Unfinished() != 0 || parts != 5 {
		t.Errorf("%v, %d unfinished, %d parts sent", err, s.Unfinished(), parts)
	}
	if got, _ := s.Bytes("f"); !bytes.Equal(got, b) {
		t.Error("other bytes")
	}
}

// And one that ignores conditions, and says so.
func TestCarelessOnRequest(t *testing.T) {
	s := New(0)
	s.SetAbilities(backends.Abilities{Conditions: backends.Unable})
	for _, body := range []string{"one", "two"} {
		if _, err := s.Put(t.Context(), backendtest.Upload("f", []byte(body)), bytes.NewReader([]byte(body))); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := s.Bytes("f"); string(got) != "two" {
		t.Errorf("%q", got)
	}
}
