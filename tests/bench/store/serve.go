package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"studyfs/backends/beiwe/beiwetest"
	"studyfs/backends/s3/s3test"
	"studyfs/tests/bench/data"
	"studyfs/tests/harness"
)

// server is all stores of the child process.
type server struct {
	gate    gate
	in, out link
	strict  *s3test.Server
	beiwe   *beiwetest.Server
	direct  string // versitygw's own address, "" without
	urls    map[Name]string
	added   map[Name]map[string]bool // buckets
}

// Serve answers questions from in to out until in ends. Everything that it started has ended then.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{
		strict: s3test.New(s3test.Options{}), beiwe: beiwetest.New(beiwetest.Options{V2: true}),
		urls: map[Name]string{}, added: map[Name]map[string]bool{Strict: {}, Gateway: {}, Beiwe: {}},
	}
	defer s.strict.Close()
	defer s.beiwe.Close()
	s.strict.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret})
	s.fillBeiwe()
	for name, handler := range map[Name]http.Handler{Strict: s.strict, Beiwe: s.beiwe} {
		if err := s.open(ctx, name, handler); err != nil {
			return err
		}
	}
	if os.Getenv(Child+"_GATEWAY") == "true" {
		ended, err := s.runGateway(ctx)
		if err != nil {
			return err
		}
		defer ended()
	}
	return s.answerAll(ctx, in, out)
}

// open serves a store behind the gate at a port of this machine only.
func (s *server) open(ctx context.Context, name Name, handler http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	h := &http.Server{Handler: s.gate.before(handler), ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { h.Close() })
	go h.Serve(shaped{Listener: l, in: &s.in, out: &s.out}) // ends with the context
	s.urls[name] = "http://" + l.Addr().String()
	return nil
}

// fillBeiwe makes a study of three people and a week.
func (s *server) fillBeiwe() {
	s.beiwe.AddKey(harness.BeiweAccess, harness.BeiweSecret)
	beiwetest.Fill(s.beiwe, beiwetest.FillOptions{
		Study:        beiwetest.Study{ID: harness.BeiweStudyID, Name: harness.BeiweStudy},
		Participants: 3, Days: 7, End: time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour),
		Streams: []string{"gps", "calls", "accelerometer"},
	})
}

// runGateway starts versitygw over a folder of its own, behind a proxy at which the gate and the line are.
func (s *server) runGateway(ctx context.Context) (ended func(), err error) {
	root, err := os.MkdirTemp("", "studyfs-bench-gateway-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	go func() {
		defer close(done)
		harness.RunGateway(ctx, root, addr) // whether it runs is found out below
	}()
	s.direct = "http://" + addr
	ended = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
		}
		os.RemoveAll(root)
	}
	if err := harness.AwaitGateway(s.direct); err != nil {
		ended()
		return nil, err
	}
	to, err := url.Parse(s.direct)
	if err != nil {
		ended()
		return nil, err
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	return ended, s.open(ctx, Gateway, proxy)
}

func (s *server) answerAll(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	encoder := json.NewEncoder(out)
	for lines.Scan() {
		var q command
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return err
		}
		a, err := s.answer(ctx, q)
		if err != nil {
			a.Error = err.Error()
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (s *server) answer(ctx context.Context, q command) (a answer, err error) {
	switch q.Op {
	case "addresses":
		a.URLs = s.urls
	case "add":
		err = s.add(ctx, q.Store, q.Set)
	case "shape":
		s.gate.set(q.Shape.Latency)
		s.in.set(q.Shape.Rate)
		s.out.set(q.Shape.Rate)
		s.gate.reset()
		s.strict.Reset()
		s.beiwe.ResetLog()
	case "counts":
		a.Counts = s.gate.read()
	case "check":
		a.Check = s.check(q.Bucket, q.Set)
	case "arrived":
		a.Check = s.arrived(q.Bucket, q.Set)
	case "study":
		a.Files = s.study(q.Stream)
	default:
		err = errors.New("unknown question")
	}
	return a, err
}

// add makes and fills a bucket. In the strict store anybody may read it, so that the reference needs no signatures.
func (s *server) add(ctx context.Context, name Name, set data.Spec) error {
	if s.added[name][set.Bucket] || name == Beiwe {
		return nil
	}
	s.added[name][set.Bucket] = true
	if name == Gateway {
		return s.upload(ctx, set)
	}
	s.strict.CreateBucket(set.Bucket)
	s.strict.AllowAnonymous(set.Bucket)
	for _, f := range set.Files() {
		s.strict.Put(set.Bucket, f.Name, set.Object(f))
	}
	return nil
}

// upload fills a bucket of versitygw past the gate.
func (s *server) upload(ctx context.Context, set data.Spec) error {
	if s.direct == "" {
		return errors.New("versitygw was not started")
	}
	c := s3.New(s3.Options{
		BaseEndpoint: aws.String(s.direct), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(harness.ID, harness.Secret, ""),
	})
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(set.Bucket)}); err != nil {
		return err
	}
	for _, f := range set.Files() {
		body, err := io.ReadAll(io.NewSectionReader(f.Body(), 0, f.Size))
		if err != nil {
			return err
		}
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(set.Bucket), Key: aws.String(f.Name), Body: bytes.NewReader(body)}); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

// arrived looks at sizes alone. What some peers store of a file before its bytes does not count.
func (s *server) arrived(bucket string, set data.Spec) (c Check) {
	for _, f := range set.Files() {
		if o, ok := s.strict.Object(bucket, f.Name); ok && o.Size == f.Size {
			c.Objects++
		}
	}
	return c
}

// check reads all. Folders that a peer stores as empty objects do not count.
func (s *server) check(bucket string, set data.Spec) (c Check) {
	for _, f := range set.Files() {
		o, ok := s.strict.Object(bucket, f.Name)
		if !ok {
			c.Missing++
			continue
		}
		c.Objects++
		sum := data.NewSum()
		io.Copy(sum, io.NewSectionReader(o.Body, 0, o.Size)) // it is in memory
		if o.Size != f.Size || sum.Sum32() != f.Sum(0, f.Size) {
			c.Wrong++
		}
	}
	return c
}

func (s *server) study(stream string) (files []File) {
	for _, f := range s.beiwe.Files(harness.BeiweStudyID) {
		if f.Stream != stream {
			continue
		}
		sum := data.NewSum()
		io.Copy(sum, f.Body.Open()) // it is made up
		files = append(files, File{Name: harness.BeiweStudy + "/" + strings.TrimPrefix(f.Path, "/"), Size: f.Body.Size(), Sum: sum.Sum32()})
	}
	return files
}
