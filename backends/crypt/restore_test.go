package crypt

import (
	"errors"
	"testing"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// Encrypted recordings in an archive are asked for by the name that the user sees, and it is the stored object that is restored.
func TestRestoreOfEncryptedObjects(t *testing.T) {
	below := mem.New(0)
	s := both(t, below)
	seed(t, below, s, "a.edf", []byte("brain"))
	below.SetTier("a.edf.age", backends.Archived)
	e := stat(t, s, "a.edf")
	if e.Tier != backends.Archived || e.Size != 5 {
		t.Fatalf("%+v", e)
	}
	if _, err := read(t.Context(), s, e, 0, 5); !errors.Is(err, backends.ErrArchived) {
		t.Errorf("read: %v", err)
	}
	if got, err := s.Restore(t.Context(), e, 1, backends.RestoreBulk); err != nil || got != backends.Restoring {
		t.Errorf("%d, %v", got, err)
	}
	if e := stat(t, s, "a.edf"); e.Tier != backends.Restoring {
		t.Errorf("%+v", e)
	}
	below.SetTier("a.edf.age", backends.Online)
	if got, err := read(t.Context(), s, stat(t, s, "a.edf"), 0, 5); err != nil || string(got) != "brain" {
		t.Errorf("%q, %v", got, err)
	}
	s.src = struct{ backends.Source }{below} // one that restores nothing
	if _, err := s.Restore(t.Context(), e, 1, backends.RestoreBulk); !errors.Is(err, backends.ErrPermission) {
		t.Errorf("%v", err)
	}
}
