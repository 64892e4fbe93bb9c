package s3test_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"studyfs/backends/s3/s3test"
)

// Each fault leaves behind what it says: a request carried out or not.
func TestEveryWriteFaultStrikes(t *testing.T) {
	done := []s3test.Fault{s3test.Truncate, s3test.Stall, s3test.Delay, s3test.Late, s3test.WrongETag, s3test.NoETag, s3test.Lost, s3test.WrongSum}
	for _, fault := range s3test.WriteFaults() {
		for _, op := range []string{s3test.OpPut, s3test.OpPart, s3test.OpComplete, s3test.OpCopy, s3test.OpDelete} {
			t.Run(string(fault)+" "+op, func(t *testing.T) {
				srv, url := serve(t, s3test.Options{})
				srv.Put("b", "from", s3test.Bytes([]byte("all")))
				c := client(url, "AKIAALL", "all", "us-east-1")
				m := begin(t, c, nil)
				if op != s3test.OpPart {
					m.part(1, "all", nil)
				}
				srv.Inject(s3test.Rule{Op: op, Fault: fault, Wait: time.Millisecond})
				right, carried := write(t, srv, m, op)
				harmless := fault == s3test.Stall || fault == s3test.Delay || fault == s3test.Late
				switch {
				case op == s3test.OpDelete && slices.Contains([]s3test.Fault{s3test.WrongETag, s3test.NoETag, s3test.WrongSum, s3test.BitFlip}, fault):
					return // its answer has none of these
				case fault == s3test.BitFlip && (op == s3test.OpCopy || op == s3test.OpComplete):
					return // no body to speak of
				case fault == s3test.Stall && op == s3test.OpComplete:
					right = true // the client may close a connection that answers while it still looks whether its own body has an end
				case fault == s3test.Garbage && op == s3test.OpDelete:
					right = false // 200, which is not 204: a client must look
				}
				if right != harmless {
					t.Errorf("the answer was right: %v", right)
				}
				cut := fault == s3test.Reset && op != s3test.OpPut && op != s3test.OpPart // in the answer
				if carried != (slices.Contains(done, fault) || cut) {
					t.Errorf("carried out: %v", carried)
				}
				if r := srv.Requests(); r[len(r)-1].Fault != fault {
					t.Errorf("log says %+v", r[len(r)-1])
				}
			})
		}
	}
}

// write does one operation and reports whether its answer was right, and whether it was carried out.
func write(t *testing.T, srv *s3test.Server, m *multi, op string) (right, carried bool) {
	t.Helper()
	const tag, sum = `"a181a603769c1f98ad927e7367c7aa51"`, "1"
	want := *nvme([]byte("all"))
	switch op {
	case s3test.OpPut:
		in := putInput("all")
		in.ChecksumCRC64NVME = &want
		out, err := m.c.PutObject(t.Context(), in)
		right = err == nil && aws.ToString(out.ETag) == tag && aws.ToString(out.ChecksumCRC64NVME) == want
	case s3test.OpPart:
		right = m.part(1, "all", nil) == "" && aws.ToString(m.parts[0].ETag) == tag && aws.ToString(m.parts[0].ChecksumCRC64NVME) == want
		return right, len(srv.Uploads("b")[0].Parts) == 1
	case s3test.OpComplete:
		out, got := m.complete(nil)
		right = got == "" && strings.HasSuffix(aws.ToString(out.ETag), "-"+sum+`"`) && aws.ToString(out.ChecksumCRC64NVME) == want
	case s3test.OpCopy:
		in := copyInput("b/from")
		in.Key = aws.String("k")
		out, err := m.c.CopyObject(t.Context(), in)
		right = err == nil && out.CopyObjectResult != nil && aws.ToString(out.CopyObjectResult.ETag) == tag && aws.ToString(out.CopyObjectResult.ChecksumCRC64NVME) == want
	case s3test.OpDelete:
		_, err := m.c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("b"), Key: aws.String("from")})
		_, still := srv.Object("b", "from")
		return err == nil, !still
	}
	return right, read(t, srv, "k") == "all"
}

// A client that dies in the middle of a body stores nothing; the log tells how much came.
func TestShortBodyStoresNothing(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	c := client(url, "AKIAALL", "all", "us-east-1")
	body := strings.Repeat("x", 1000)
	if _, err := c.PutObject(t.Context(), putInput(body)); err != nil || srv.Requests()[0].BytesIn != 1000 || srv.Requests()[0].Status != 200 {
		t.Fatalf("%v, %+v", err, srv.Requests())
	}
	srv.Delete("b", "k")
	presigned := &recorder{}
	_, err := c.PutObject(t.Context(), putInput(body), func(o *s3.Options) { o.HTTPClient = presigned })
	if err == nil {
		t.Fatal("the request that was to be taken apart was sent")
	}
	srv.Reset()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, presigned.head+body[:400])
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), "IncompleteBody") {
		t.Errorf("%q, %v", answer, err)
	}
	if r := srv.Requests(); len(r) != 1 || r[0].BytesIn != 400 || len(srv.Keys("b")) != 0 {
		t.Errorf("%+v, stored %q", r, srv.Keys("b"))
	}
}

// recorder keeps the head of a request instead of sending it.
type recorder struct{ head string }

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	req.Header.Set("Content-Length", "1000")
	var head strings.Builder
	head.WriteString(req.Method + " " + req.URL.RequestURI() + " HTTP/1.1\r\nHost: " + req.URL.Host + "\r\n")
	req.Header.Del("Expect")
	req.Header.Write(&head)
	r.head = head.String() + "\r\n"
	return nil, errors.New("not sent")
}

// A large body is not sent in vain where the client asks before it sends; and an error that comes without being asked for is heard
// though the body was on its way.
func TestRefusedBeforeTheBody(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	c := client(url, "AKIAALL", "all", "us-east-1")
	srv.Put("b", "k", s3test.Bytes([]byte("one")))
	for _, expect := range []bool{true, false} {
		srv.Reset()
		in := putInput(strings.Repeat("x", 3<<20))
		in.IfNoneMatch = aws.String("*")
		_, err := c.PutObject(t.Context(), in, func(o *s3.Options) {
			if o.ContinueHeaderThresholdBytes = -1; expect {
				o.ContinueHeaderThresholdBytes, o.HTTPClient = 1, doer(patient)
			}
		})
		if r := srv.Requests(); code(err) != "PreconditionFailed" || len(r) != 1 || (r[0].BytesIn == 0) != expect {
			t.Errorf("expect %v: %v, %+v", expect, err, r)
		}
	}
	srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: s3test.SlowDown})
	if _, err := c.PutObject(t.Context(), putInput(strings.Repeat("x", 1<<20))); code(err) != "SlowDown" {
		t.Error(err)
	}
}

// A client that waits for leave to send, loses its patience while the server is slow to answer, and sends: the refusal is heard though
// all of the body was sent in vain. It was a reset on a busy machine, which a mount retries where it should say "changed by someone else".
func TestRefusalIsHeardByTheImpatient(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	srv.Put("b", "k", s3test.Bytes([]byte("one")))
	c := s3.New(client(url, "AKIAALL", "all", "us-east-1").Options(), func(o *s3.Options) {
		o.HTTPClient = doer(impatient)
		o.ContinueHeaderThresholdBytes = 1
	})
	in := putInput(strings.Repeat("x", 3<<20))
	in.IfNoneMatch = aws.String("*")
	if _, err := c.PutObject(t.Context(), in); code(err) != "PreconditionFailed" {
		t.Error(err)
	}
	if r := srv.Requests(); len(r) != 1 || r[0].BytesIn != 0 {
		t.Errorf("%+v", r)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(req *http.Request) (*http.Response, error) { return d(req) }

// patient waits for leave to send its body: Go's transport does so for requests of HTTP/1.1 alone, and the SDK leaves open what its
// requests are.
func patient(req *http.Request) (*http.Response, error) {
	req.ProtoMajor, req.ProtoMinor = 1, 1
	transport := &http.Transport{ExpectContinueTimeout: time.Hour, DisableKeepAlives: true}
	return transport.RoundTrip(req)
}

// impatient sends the whole request and only then looks for an answer.
func impatient(req *http.Request) (*http.Response, error) {
	conn, err := net.Dial("tcp", req.URL.Host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, err
}

// Writers, readers and tests that look, all at once: for the race detector, and no object is ever half of one and half of another.
func TestWritersAtOnce(t *testing.T) {
	srv, url := serve(t, s3test.Options{MinPart: 1})
	c := client(url, "AKIAALL", "all", "us-east-1")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 10 {
				body := strings.Repeat(string(rune('a'+i)), 1000)
				if i%2 == 0 {
					c.PutObject(t.Context(), putInput(body))
				} else {
					m := begin(t, c, nil)
					m.part(1, body[:400], nil)
					m.part(2, body[400:], nil)
					m.complete(nil)
				}
				out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), ChecksumMode: "ENABLED"})
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(out.Body)
				if err != nil || string(got) != strings.Repeat(string(got[:1]), 1000) {
					t.Errorf("%q, %v", got, err)
				}
				srv.Uploads("b")
				c.CopyObject(t.Context(), copyInput("b/k"))
			}
		})
	}
	wg.Wait()
	if left := srv.Uploads("b"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}
