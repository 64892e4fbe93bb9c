package route

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/mem"
)

func (r *rig) manifest(target, name string) map[string]Record {
	r.t.Helper()
	text, ok := r.at[target].Bytes(name)
	if !ok {
		return nil
	}
	all, err := ReadManifest(bytes.NewReader(text))
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// 200 files of two patients take one manifest each and target, and the manifests say what lies where.
func TestManifest(t *testing.T) {
	r := newRig(t)
	for i := range 100 {
		name := string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		r.mustPut("a1/"+name+".edf", "body", backends.Entry{})
		r.mustPut("b2/"+name+".avi", "body", backends.Entry{})
	}
	e := r.mustPut("a1/gone.edf", "body", backends.Entry{})
	if err := r.Remove(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(t.Context()); err != nil || r.Lacking() != 0 {
		t.Fatalf("%v, %d lacking", err, r.Lacking())
	}
	for _, target := range []string{"archive", "nas"} {
		a, b := r.manifest(target, "a1/a1.manifest.jsonl"), r.manifest(target, "b2/b2.manifest.jsonl")
		one := a["a1/a.edf"]
		if len(a) != 101 || len(b) != 100 || !a["a1/gone.edf"].Removed || one.Size != 4 || !slices.Equal(one.Targets, []string{"edf", "archive", "nas"}) ||
			one.SHA256 != "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5" {
			t.Errorf("%s: %d and %d lines, %+v", target, len(a), len(b), one)
		}
		n := 0
		for _, op := range r.at[target].Log() {
			if op.Name == "finish" && strings.Contains(op.Object, "manifest") {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%s: %d manifests were written", target, n)
		}
	}
	if _, err := r.Put(t.Context(), backendtest.Upload("a1/a1.manifest.jsonl", nil), strings.NewReader("")); !errors.Is(err, backends.ErrName) {
		t.Errorf("a user's manifest: %v", err)
	}
}

// The process is killed before the manifests are written, or while a target is away: the next one writes them. Two writers lose nothing
// of each other.
func TestManifestRepaired(t *testing.T) {
	r := newRig(t)
	r.mustPut("a1/one.edf", "body", backends.Entry{})
	up := r.down("archive")
	if err := r.Flush(t.Context()); err == nil {
		t.Error("no error")
	}
	if got := r.manifest("nas", "a1/a1.manifest.jsonl"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	up()
	f, err := os.OpenFile(filepath.Join(r.state, "pending.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"name":"cut o`)
	f.Close()
	r.open(".avi")
	other := &rig{t: t, at: r.at, state: t.TempDir(), now: r.now}
	other.open(".avi")
	other.mustPut("a1/two.edf", "body", backends.Entry{})
	if err := errors.Join(other.Flush(t.Context()), r.Flush(t.Context())); err != nil || r.Lacking() != 0 {
		t.Fatal(err)
	}
	for _, target := range []string{"archive", "nas"} {
		got := slices.Sorted(maps.Keys(r.manifest(target, "a1/a1.manifest.jsonl")))
		if !slices.Equal(got, []string{"a1/one.edf", "a1/two.edf"}) {
			t.Errorf("%s: %q", target, got)
		}
	}
	if info, err := os.Stat(filepath.Join(r.state, "pending.jsonl")); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// Names of files that waited, encrypted themselves, could be read in what the manifests lacked.
func TestWhatManifestsLackIsEncrypted(t *testing.T) {
	r := newRig(t)
	r.mustPut("a1/first.edf", "body", backends.Entry{}) // in clear, as an earlier version left it
	r.key = []byte("0123456789abcdef0123456789abcdef")
	r.open(".avi")
	r.mustPut("a1/second.edf", "body", backends.Entry{})
	path := filepath.Join(r.state, "pending.jsonl")
	if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte("first")) || bytes.Contains(text, []byte("second")) || len(text) < 200 {
		t.Errorf("%q, %v", text, err)
	}
	for _, key := range [][]byte{nil, []byte("another key, another key, another")} {
		if _, err := New(Options{State: r.state, Key: key, Targets: r.o.Targets}); !errors.Is(err, ErrKey) {
			t.Errorf("with the key %q: %v", key, err)
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("AAAA") // cut off
	f.Close()
	r.open(".avi")
	r.open(".avi") // once more: what was cut off is not taken for another key's
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(r.manifest("nas", "a1/a1.manifest.jsonl")))
	if !slices.Equal(got, []string{"a1/first.edf", "a1/second.edf"}) {
		t.Errorf("%q", got)
	}
}

// A machine that may only encrypt cannot read the manifest: it goes on beside it, and nothing is lost.
func TestManifestThatCannotBeRead(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"a1/one.edf", "a1/two.edf"} {
		r.mustPut(name, "body", backends.Entry{})
		for _, m := range r.at {
			m.Before(func(op mem.Op) error {
				if op.Name == "read" {
					return backends.ErrPermission
				}
				return nil
			})
		}
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]Record{}
	page, err := r.at["nas"].WalkPage(t.Context(), "a1", "")
	if err != nil {
		t.Fatal(err)
	}
	for page.More {
		more, _ := r.at["nas"].WalkPage(t.Context(), "a1", page.Last)
		page.Entries, page.More, page.Last = append(page.Entries, more.Entries...), more.More, more.Last
	}
	for _, e := range page.Entries {
		if isManifest(e.Name) {
			maps.Copy(found, r.manifest("nas", e.Name))
		}
	}
	if got := slices.Sorted(maps.Keys(found)); !reflect.DeepEqual(got, []string{"a1/one.edf", "a1/two.edf"}) {
		t.Errorf("%q", got)
	}
}
