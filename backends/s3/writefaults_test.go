package s3

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"sync"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/s3/s3test"
)

// refusals are the faults that are answers to be believed.
func refusals() map[s3test.Fault]error {
	return map[s3test.Fault]error{
		s3test.AccessDenied: backends.ErrPermission, s3test.ExpiredToken: backends.ErrAuth, s3test.InvalidAccessKeyID: backends.ErrAuth,
	}
}

// Whatever goes wrong once on the way: in the end the object is there, whole and once, or there is an error and nothing.
func TestOneFaultCostsNothing(t *testing.T) {
	for _, c := range []struct {
		size int64
		ops  []string
	}{
		{1000, []string{s3test.OpPut}},
		{3*testPart + 1, []string{s3test.OpCreateMultipart, s3test.OpPart, s3test.OpComplete, "HeadObject"}},
	} {
		for _, op := range c.ops {
			for _, fault := range s3test.WriteFaults() {
				t.Run(fmt.Sprintf("%s/%s", op, fault), func(t *testing.T) {
					t.Parallel()
					srv, s := writable(t, s3test.Options{}, knowing)
					b := backendtest.Noise(c.size, 1)
					srv.Inject(s3test.Rule{Op: op, Fault: fault, Times: 1})
					var mu sync.Mutex
					var sent int64
					u := backendtest.Upload("f", b)
					u.Sent = func(n int64) {
						mu.Lock()
						defer mu.Unlock()
						sent += n
					}
					e, err := put(s, u, b)
					switch want := refusals()[fault]; {
					case want != nil && op == "HeadObject": // it is stored, whether that could be looked at or not
						if !bytes.Equal(stored(t, srv, "f"), b) {
							t.Errorf("%v", err)
						}
						return
					case want != nil:
						if !errors.Is(err, want) || stored(t, srv, "f") != nil {
							t.Errorf("%v, want %v", err, want)
						}
						return
					case op == s3test.OpPut && fault == s3test.WrongETag:
						e.Version = quoted(fmt.Sprintf("%x", md5.Sum(b))) // the checksum is right: nothing else tells
					}
					listed, err2 := s.Stat(t.Context(), "f")
					if err != nil || err2 != nil || !bytes.Equal(stored(t, srv, "f"), b) || listed.Version != e.Version || sent != c.size {
						t.Errorf("%v, %v; returned %+v, listed %+v, %d bytes told", err, err2, e, listed, sent)
					}
				})
			}
		}
	}
}

// The same for a replacement: what was there before stays until the new object is whole.
func TestOneFaultInAReplacementCostsNothing(t *testing.T) {
	for _, fault := range s3test.WriteFaults() {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			srv, s := writable(t, s3test.Options{}, knowing)
			one, two := backendtest.Noise(1000, 1), backendtest.Noise(1000, 2)
			old, err := put(s, backendtest.Upload("f", one), one)
			if err != nil {
				t.Fatal(err)
			}
			srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: fault, Times: 1})
			u := backendtest.Upload("f", two)
			u.Old = old
			_, err = put(s, u, two)
			if want := refusals()[fault]; want != nil {
				if !errors.Is(err, want) || !bytes.Equal(stored(t, srv, "f"), one) {
					t.Errorf("%v, want %v", err, want)
				}
				return
			}
			if err != nil || !bytes.Equal(stored(t, srv, "f"), two) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Copies and removals whose answers were lost, or were none, happened once.
func TestOneFaultInACopyOrRemovalCostsNothing(t *testing.T) {
	for _, fault := range s3test.WriteFaults() {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			srv, s := writable(t, s3test.Options{}, knowing)
			b := backendtest.Noise(1000, 1)
			from, err := put(s, backendtest.Upload("f", b), b)
			if err != nil {
				t.Fatal(err)
			}
			srv.Inject(s3test.Rule{Op: s3test.OpCopy, Fault: fault, Times: 1})
			srv.Inject(s3test.Rule{Op: s3test.OpDelete, Fault: fault, Times: 1})
			e, err := s.Copy(t.Context(), from, backends.Upload{Name: "g", Meta: map[string]string{"mode": "600"}})
			err2 := s.Remove(t.Context(), from)
			if want := refusals()[fault]; want != nil {
				if !errors.Is(err, want) || !errors.Is(err2, want) || stored(t, srv, "g") != nil || stored(t, srv, "f") == nil {
					t.Errorf("%v, %v, want %v", err, err2, want)
				}
				return
			}
			if err != nil || !bytes.Equal(stored(t, srv, "g"), b) || e.Name != "g" {
				t.Errorf("copy: %v, %+v", err, e)
			}
			if err2 != nil || stored(t, srv, "f") != nil {
				t.Errorf("remove: %v", err2)
			}
		})
	}
}

// An afternoon on which the service throttles a third of all that comes: every file arrives, none twice.
func TestStormLosesNothing(t *testing.T) {
	srv, s := writable(t, s3test.Options{Seed: 7}, knowing)
	srv.Inject(s3test.Rule{Fault: s3test.SlowDown, Share: 0.3})
	srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: s3test.Lost, Share: 0.2})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			size := int64(100)
			if i%8 == 0 {
				size = 3 * testPart
			}
			b := backendtest.Noise(size, uint64(i))
			name := fmt.Sprint("f", i)
			if _, err := put(s, backendtest.Upload(name, b), b); err != nil || !bytes.Equal(stored(t, srv, name), b) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	if n := len(srv.Uploads("study")); n != 0 {
		t.Errorf("%d unfinished uploads", n)
	}
}

// A service that always says that something came in between is left alone after a while.
func TestEndlessConflictEnds(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, knowing)
	srv.Inject(s3test.Rule{Op: s3test.OpComplete, Fault: s3test.Conflict})
	b := backendtest.Noise(2*testPart, 1)
	if _, err := put(s, backendtest.Upload("f", b), b); !errors.Is(err, backends.ErrBusy) || stored(t, srv, "f") != nil {
		t.Errorf("%v", err)
	}
	if n := srv.Count(s3test.OpCreateMultipart); n != maxBegins {
		t.Errorf("begun %d times", n)
	}
}

// A cable that flips bits does not make us send the same film for ever.
func TestEndlessDamageEnds(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, knowing)
	srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: s3test.BitFlip})
	b := backendtest.Noise(1000, 1)
	if _, err := put(s, backendtest.Upload("f", b), b); !errors.Is(err, backends.ErrBadAnswer) || stored(t, srv, "f") != nil {
		t.Errorf("%v", err)
	}
	if n := srv.Count(s3test.OpPut); n != maxDigests {
		t.Errorf("sent %d times", n)
	}
}
