package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/s3/s3test"
)

const testPart = 64 << 10

// writable starts s3test with a bucket "study" and keys that may write below v2/001/ in it.
func writable(t testing.TB, o s3test.Options, change func(*Options)) (*s3test.Server, *Source) {
	t.Helper()
	o.MinPart = testPart
	srv := s3test.New(o)
	h := httptest.NewServer(srv)
	t.Cleanup(func() { srv.Close(); h.Close() })
	srv.CreateBucket("study")
	srv.AddKey(s3test.AccessKey{ID: testID, Secret: testSecret, Grants: []s3test.Grant{{Bucket: "study", Prefix: "v2/001/", Write: true}}})
	so := options(h.URL)
	so.Region = "us-east-1"
	so.Write = WriteOptions{Threshold: testPart, PartSize: testPart}
	if change != nil {
		change(&so)
	}
	return srv, open(t, so)
}

// knowing is what an earlier run found out.
func knowing(o *Options) {
	o.Write.Abilities = backends.Abilities{Conditions: backends.Able, Checksums: backends.Able}
}

func conforms(t *testing.T, o s3test.Options, change func(*Options)) {
	t.Helper()
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		srv, src := writable(t, o, change)
		return backendtest.Harness{
			Source: src, Odd: true, Writes: true, Sizes: []int64{testPart, testPart + 1, 3*testPart + 5},
			Put:    func(key string, body []byte) { srv.Put("study", "v2/001/"+key, s3test.Bytes(body)) },
			Remove: func(key string) { srv.Delete("study", "v2/001/"+key) },
		}
	})
}

func TestWriterConformance(t *testing.T) { conforms(t, s3test.Options{}, nil) }

// Stores that know no CRC64NVME are held to the same promises by Content-MD5 and ETags.
func TestWriterConformanceWithoutChecksums(t *testing.T) {
	conforms(t, s3test.Options{NoChecksums: true, PageSize: 2}, nil)
}

// What was found out in an earlier run is believed.
func TestWriterConformanceWithKnownAbilities(t *testing.T) {
	conforms(t, s3test.Options{NoCopyConditions: true}, knowing)
}

func put(s *Source, u backends.Upload, b []byte) (backends.Entry, error) {
	return s.Put(context.Background(), u, bytes.NewReader(b))
}

// stored is what the server has.
func stored(t testing.TB, srv *s3test.Server, name string) []byte {
	t.Helper()
	o, ok := srv.Object("study", "v2/001/"+name)
	if !ok {
		return nil
	}
	b := make([]byte, o.Size)
	if n, err := o.Body.ReadAt(b, 0); int64(n) != o.Size {
		t.Fatal(err)
	}
	return b
}

// A hundred small files must not cost more than a request each and the one that finds out what the service can do.
func TestSmallFilesCostOneRequestEach(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, nil)
	for i := range 100 {
		b := backendtest.Noise(100, uint64(i))
		if _, err := put(s, backendtest.Upload(fmt.Sprint("f", i), b), b); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.Count(""); n != 101 {
		t.Errorf("%d requests for 100 files", n)
	}
	if a := s.Abilities(); a.Conditions != backends.Able || a.Checksums != backends.Able {
		t.Errorf("%+v", a)
	}
}

// Many first files at once: only one of them finds out about conditions.
func TestOneOfManyProbes(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, nil)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			b := backendtest.Noise(100, uint64(i))
			if _, err := put(s, backendtest.Upload(fmt.Sprint("f", i), b), b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := srv.Count(""); n != 21 {
		t.Errorf("%d requests for 20 files", n)
	}
}

// A store that ignores conditions would let two people overwrite each other unseen. It gets the one file by which that shows, and no more.
func TestCarelessStoreIsRefused(t *testing.T) {
	srv, s := writable(t, s3test.Options{NoConditions: true}, nil)
	b := []byte("first")
	if _, err := put(s, backendtest.Upload("a", b), b); err != nil {
		t.Fatal(err)
	}
	if _, err := put(s, backendtest.Upload("b", b), b); !errors.Is(err, backends.ErrUnsafe) {
		t.Errorf("the second: %v", err)
	}
	if stored(t, srv, "b") != nil || s.Abilities().Conditions != backends.Unable {
		t.Errorf("%q, %+v", stored(t, srv, "b"), s.Abilities())
	}
}

// Who has agreed to such a store still does not overwrite what can be seen to be another version.
func TestUnsafeOverwriteLooksFirst(t *testing.T) {
	srv, s := writable(t, s3test.Options{NoConditions: true}, func(o *Options) { o.Write.UnsafeOverwrite = true })
	one, two := []byte("one"), []byte("two")
	for _, name := range []string{"a", "b"} {
		if _, err := put(s, backendtest.Upload(name, one), one); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := put(s, backendtest.Upload("b", two), two); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("%v", err)
	}
	if got := stored(t, srv, "b"); string(got) != "one" {
		t.Errorf("%q", got)
	}
	e, err := s.Stat(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	srv.Put("study", "v2/001/b", s3test.Bytes([]byte("another's")))
	if err := s.Remove(t.Context(), e); !errors.Is(err, backends.ErrChanged) || stored(t, srv, "b") == nil {
		t.Errorf("remove of another version: %v", err)
	}
}

// noisy is a body that counts how much of it is read, and fails at an offset.
type noisy struct {
	io.ReaderAt
	read atomic.Int64
	bad  int64
}

var errDisk = errors.New("the disk is broken")

func (n *noisy) ReadAt(p []byte, off int64) (int, error) {
	if n.bad > 0 && off+int64(len(p)) > n.bad {
		return 0, errDisk
	}
	got, err := n.ReaderAt.ReadAt(p, off)
	n.read.Add(int64(got))
	return got, err
}

// A disk that cannot be read is not a network that must be tried again.
func TestUnreadableBodyIsToldAsItIs(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, knowing)
	for _, size := range []int64{10_000, 3 * testPart} {
		b := backendtest.Noise(size, 1)
		_, err := s.Put(t.Context(), backendtest.Upload("f", b), &noisy{ReaderAt: bytes.NewReader(b), bad: size / 2})
		if !errors.Is(err, errDisk) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if n := srv.Count(s3test.OpPut); n > 1 || s.Counts().Retries > 0 || stored(t, srv, "f") != nil {
		t.Errorf("%d puts, %d retries", n, s.Counts().Retries)
	}
}

// overTLS starts s3test as AWS is reached, with a bucket "study" and keys to all of it.
func overTLS(t *testing.T, o s3test.Options) (*s3test.Server, Options) {
	t.Helper()
	srv := s3test.New(o)
	h := httptest.NewTLSServer(srv)
	t.Cleanup(func() { srv.Close(); h.Close() })
	srv.CreateBucket("study")
	srv.AddKey(s3test.AccessKey{ID: testID, Secret: testSecret})
	so := options(h.URL)
	so.Region, so.Transport = "us-east-1", h.Client().Transport
	return srv, so
}

// Over TLS the signature does not cover the body, whose checksum does: so small files are read from disk once.
func TestBodyIsReadOnceOverTLS(t *testing.T) {
	srv, o := overTLS(t, s3test.Options{})
	knowing(&o)
	s := open(t, o)
	b := backendtest.Noise(300_000, 1)
	body := &noisy{ReaderAt: bytes.NewReader(b)}
	if _, err := s.Put(t.Context(), backendtest.Upload("f", b), body); err != nil {
		t.Fatal(err)
	}
	if n := body.read.Load(); n != int64(len(b)) || !bytes.Equal(stored(t, srv, "f"), b) {
		t.Errorf("%d bytes read of %d", n, len(b))
	}
}

// goesOn is a client that has not heard yet that a request is cancelled.
type goesOn struct{ http.RoundTripper }

func (c goesOn) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.RoundTripper.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
}

// A file that is deleted while it is being sent is cancelled. The HTTP client, which hears of it at the same time, had the rest out before it
// stopped where the machine was busy, and the file was in the bucket.
func TestNothingIsSentBehindACancel(t *testing.T) {
	srv, o := overTLS(t, s3test.Options{})
	knowing(&o)
	o.Transport = goesOn{o.Transport}
	ctx, cancel := context.WithCancel(t.Context())
	b := backendtest.Noise(300_000, 1)
	_, err := open(t, o).Put(ctx, backendtest.Upload("f", b), backendtest.Breaking{ReaderAt: bytes.NewReader(b), At: 200_000, Cancel: cancel})
	if !errors.Is(err, context.Canceled) || stored(t, srv, "f") != nil {
		t.Errorf("%v; %d bytes are in the bucket", err, len(stored(t, srv, "f")))
	}
}

// interrupt stops an upload in parts after its first parts, and returns it ready to be resumed.
func interrupt(t *testing.T, srv *s3test.Server, s *Source, b []byte) backends.Upload {
	t.Helper()
	u := backendtest.Upload("f", b)
	u.Checkpoint = func(state []byte) error { u.Resume = slices.Clone(state); return nil }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	srv.Inject(s3test.Rule{Op: s3test.OpPart, Skip: 3, Times: 1, Fault: s3test.Refuse})
	parts := 0
	var once sync.Once
	srv.OnRequest(func(r s3test.Request) {
		if r.Op == s3test.OpPart {
			if parts++; parts == 4 {
				once.Do(cancel)
			}
		}
	})
	if _, err := s.Put(ctx, u, bytes.NewReader(b)); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if u.Resume == nil || stored(t, srv, "f") != nil || len(srv.Uploads("study")) != 1 {
		t.Fatalf("resume %q, %d uploads", u.Resume, len(srv.Uploads("study")))
	}
	return u
}

func oneAtATime(o *Options) {
	knowing(o)
	o.Write.Parts = 1
}

// A laptop was closed in the middle of a video: what has arrived is not sent again.
func TestResumeSendsOnlyWhatIsMissing(t *testing.T) {
	srv, s := writable(t, s3test.Options{PageSize: 2}, oneAtATime)
	b := backendtest.Noise(8*testPart, 1)
	u := interrupt(t, srv, s, b)
	there := len(srv.Uploads("study")[0].Parts)
	if there != 3 {
		t.Fatalf("%d parts", there)
	}
	srv.Reset()
	var sent int64
	u.Sent = func(n int64) { sent += n }
	if _, err := put(s, u, b); err != nil {
		t.Fatal(err)
	}
	if n := srv.Count(s3test.OpPart); n != 8-there || srv.Count(s3test.OpCreateMultipart) != 0 || sent != int64(len(b)) {
		t.Errorf("%d parts sent, %d were there; %d bytes told", n, there, sent)
	}
	if !bytes.Equal(stored(t, srv, "f"), b) || len(srv.Uploads("study")) != 0 {
		t.Errorf("other bytes, or %d uploads left", len(srv.Uploads("study")))
	}
}

// The file was changed between two tries, and the checksum with it: no part of the old bytes may get into the new object.
func TestResumeOfOtherBytesBeginsAnew(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, oneAtATime)
	b := backendtest.Noise(8*testPart, 1)
	u := interrupt(t, srv, s, b)
	b[10]++
	u.CRC64NVME = backendtest.Upload("f", b).CRC64NVME
	if _, err := put(s, u, b); err != nil || !bytes.Equal(stored(t, srv, "f"), b) {
		t.Errorf("%v", err)
	}
}

// A part that is damaged at the service (or of a file that was changed back) is sent again.
func TestResumeChecksWhatIsThere(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, oneAtATime)
	b := backendtest.Noise(8*testPart, 1)
	was := slices.Clone(b)
	was[10]++
	u := interrupt(t, srv, s, was)
	sum := fmt.Sprint(u.CRC64NVME)
	u.CRC64NVME = backendtest.Upload("f", b).CRC64NVME
	u.Resume = []byte(strings.Replace(string(u.Resume), sum, fmt.Sprint(u.CRC64NVME), 1))
	there := len(srv.Uploads("study")[0].Parts)
	srv.Reset()
	if _, err := put(s, u, b); err != nil || !bytes.Equal(stored(t, srv, "f"), b) {
		t.Errorf("%v", err)
	}
	if n := srv.Count(s3test.OpPart); n != 8-there+1 {
		t.Errorf("%d parts sent, %d of 8 were there, one of them wrong", n, there)
	}
}

// The bucket's rules have removed an old upload.
func TestResumeOfWhatIsGoneBeginsAnew(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, oneAtATime)
	b := backendtest.Noise(8*testPart, 1)
	u := interrupt(t, srv, s, b)
	srv.DropUpload("study", srv.Uploads("study")[0].ID)
	before, noted := string(u.Resume), ""
	u.Checkpoint = func(state []byte) error { noted = string(state); return nil }
	if _, err := put(s, u, b); err != nil || !bytes.Equal(stored(t, srv, "f"), b) || noted == "" || noted == before {
		t.Errorf("%v", err)
	}
}

// Somebody stored a file of that name while ours went out in parts. Theirs stays, and nothing of ours is left to be paid for; nor is anything
// of a third party's touched.
func TestConflictAtTheEndAbortsOnlyOurs(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, oneAtATime)
	b := backendtest.Noise(8*testPart, 1)
	interrupt(t, srv, s, b) // as a third party's
	var once sync.Once
	srv.OnRequest(func(r s3test.Request) {
		if r.Op == s3test.OpComplete {
			once.Do(func() { srv.Put("study", "v2/001/f", s3test.Bytes([]byte("theirs"))) })
		}
	})
	if _, err := put(s, backendtest.Upload("f", b), b); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("%v", err)
	}
	if string(stored(t, srv, "f")) != "theirs" || len(srv.Uploads("study")) != 1 {
		t.Errorf("%d uploads left", len(srv.Uploads("study")))
	}
}

// A bucket of that name that belongs to another account gets nothing.
func TestAnotherOwnersBucketGetsNothing(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, func(o *Options) { o.Write.Owner = "999988887777" })
	b := []byte("private")
	if _, err := put(s, backendtest.Upload("f", b), b); !errors.Is(err, backends.ErrPermission) || stored(t, srv, "f") != nil {
		t.Errorf("%v", err)
	}
}

// A copy that only changes times must not make a film a nameless heap of bytes for browsers.
func TestCopyKeepsTheContentType(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, knowing)
	b := []byte("film")
	o := s3test.Bytes(b)
	o.ContentType, o.Class = "video/mp4", "STANDARD_IA"
	srv.Put("study", "v2/001/f", o)
	e, err := s.Stat(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	e, err = s.Copy(t.Context(), e, backends.Upload{Name: "f", Old: e, Meta: map[string]string{"mode": "600"}})
	if err != nil || e.Class != "STANDARD_IA" {
		t.Fatalf("%+v, %v", e, err)
	}
	if o, _ := srv.Object("study", "v2/001/f"); o.Meta["mode"] != "600" || o.ContentType != "video/mp4" || o.Class != "STANDARD_IA" {
		t.Errorf("%+v", o)
	}
}

// Objects above the limit of one copy are copied in parts, bytes, checksum and metadata included.
func TestLargeCopyGoesInParts(t *testing.T) {
	srv, s := writable(t, s3test.Options{}, func(o *Options) { knowing(o); o.Write.CopyLimit = testPart })
	b := backendtest.Noise(3*testPart+7, 1)
	from, err := put(s, backendtest.Upload("f", b), b)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Copy(t.Context(), from, backends.Upload{Name: "g", Meta: map[string]string{"mode": "600"}})
	if err != nil || srv.Count(s3test.OpPartCopy) != 4 {
		t.Fatalf("%v, %d part copies", err, srv.Count(s3test.OpPartCopy))
	}
	x, err := s.Examine(t.Context(), "g")
	if err != nil || x.Meta["mode"] != "600" || x.Entry != e || !x.HasCRC || x.CRC64NVME != backendtest.Upload("", b).CRC64NVME {
		t.Errorf("%+v, %v; copied %+v", x, err, e)
	}
	if !bytes.Equal(stored(t, srv, "g"), b) {
		t.Error("other bytes")
	}
	srv.Put("study", "v2/001/f", s3test.Bytes(backendtest.Noise(3*testPart+7, 2)))
	if _, err := s.Copy(t.Context(), from, backends.Upload{Name: "h"}); !errors.Is(err, backends.ErrChanged) || len(srv.Uploads("study")) != 0 {
		t.Errorf("copy of what was replaced: %v, %d uploads left", err, len(srv.Uploads("study")))
	}
}

// What reaches AWS goes over TLS, where the body is not signed.
func TestWriterConformanceOverTLS(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		srv, o := overTLS(t, s3test.Options{MinPart: testPart})
		o.Write = WriteOptions{Threshold: 50 * testPart, PartSize: testPart}
		return backendtest.Harness{
			Source: open(t, o), Odd: true, Writes: true, Sizes: []int64{40*testPart + 1, 51 * testPart}, // above 2 MiB the service is asked before the body goes out
			Put:    func(key string, body []byte) { srv.Put("study", "v2/001/"+key, s3test.Bytes(body)) },
			Remove: func(key string) { srv.Delete("study", "v2/001/"+key) },
		}
	})
}
