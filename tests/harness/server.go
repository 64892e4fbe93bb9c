package harness

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"studyfs/backends/s3/s3test"
)

// The keys that every server here knows.
const (
	ID     = "AKIASTUDYFSTESTS0000"
	Secret = "secretsecretsecretsecretsecretsecretsecr"
)

// Strict starts s3test with an empty bucket "study" and keys limited to prefix in it ("" for none).
func Strict(t testing.TB, prefix string, o s3test.Options) (*s3test.Server, string) {
	t.Helper()
	srv := s3test.New(o)
	h := httptest.NewServer(srv)
	t.Cleanup(func() { srv.Close(); h.Close() })
	srv.CreateBucket("study")
	key := s3test.AccessKey{ID: ID, Secret: Secret}
	if prefix != "" {
		key.Grants = []s3test.Grant{{Bucket: "study", Prefix: prefix}}
	}
	srv.AddKey(key)
	return srv, h.URL
}

// Fill puts files below a prefix of the bucket "study".
func Fill(srv *s3test.Server, prefix string, files map[string]File) {
	for name, f := range files {
		o := s3test.Bytes(f.Body)
		o.ModTime = f.Mod
		srv.Put("study", prefix+name, o)
	}
}

// KeysFile writes a Data Access Keys file as the portal gives it and returns its path.
func (e *Env) KeysFile(url string) string {
	e.t.Helper()
	path := filepath.Join(e.Home, "keys.csv")
	text := fmt.Sprintf("ACCESS KEY ID,SECRET ACCESS KEY,S3 ACCESS URL\r\n%s,%s,%s\r\n", ID, Secret, url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		e.t.Fatal(err)
	}
	return path
}

// Profile writes ~/.aws/credentials with one profile.
func (e *Env) Profile(name string) {
	e.t.Helper()
	text := fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", name, ID, Secret)
	if err := os.WriteFile(filepath.Join(e.Home, ".aws", "credentials"), []byte(text), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// gateway is versitygw, a real S3 server over a folder. There can be one per process.
type gateway struct {
	once sync.Once
	url  string
	root string
	err  error
	stop context.CancelFunc
	done chan struct{}

	buckets atomic.Int64
}

var theGateway gateway // one per test process, as versitygw wants it

// Gateway starts versitygw once per test process and returns its address and a client of it.
func Gateway(t testing.TB) (string, *s3.Client) {
	t.Helper()
	theGateway.once.Do(startGateway)
	if theGateway.err != nil {
		t.Fatal(theGateway.err)
	}
	return theGateway.url, s3.New(s3.Options{
		BaseEndpoint: aws.String(theGateway.url), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(ID, Secret, ""),
	})
}

// Bucket returns the name of a bucket that the gateway does not have yet.
func Bucket() string { return fmt.Sprintf("bucket-%d", theGateway.buckets.Add(1)) }

func startGateway() {
	fail := func(err error) { theGateway.err = fmt.Errorf("versitygw: %w", err) }
	var err error
	if theGateway.root, err = os.MkdirTemp("", "studyfs-gateway-"); err != nil {
		fail(err)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
		return
	}
	addr := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	theGateway.stop, theGateway.done, theGateway.url = cancel, make(chan struct{}), "http://"+addr
	go func() {
		defer close(theGateway.done)
		RunGateway(ctx, theGateway.root, addr) // the wait below finds out whether it runs
	}()
	if err := AwaitGateway(theGateway.url); err != nil {
		fail(err)
	}
}

// RunGateway serves the folder root with versitygw at an address of this machine until the context ends. There can be one per process.
func RunGateway(ctx context.Context, root, addr string) error {
	be, err := posix.New(root, meta.XattrMeta{}, posix.PosixOpts{CopyObjectThreshold: 5 << 30})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, be, &embedgw.Config{
		RootUserAccess: ID, RootUserSecret: Secret, Region: "us-east-1", Ports: []string{addr}, Quiet: true, KeepAlive: true,
		HealthPath: "/health", MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000,
	})
}

// AwaitGateway returns when versitygw answers at url, or an error after two minutes.
func AwaitGateway(url string) error {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if resp, err := http.Get(url + "/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return context.DeadlineExceeded
		}
	}
}

func stopGateway() {
	if theGateway.stop == nil {
		return
	}
	theGateway.stop()
	select {
	case <-theGateway.done:
	case <-time.After(5 * time.Second):
	}
	os.RemoveAll(theGateway.root)
}

// FillGateway makes a bucket and puts files below a prefix of it. The times are the server's own; they are put into files.
func FillGateway(t testing.TB, c *s3.Client, bucket, prefix string, files map[string]File) {
	t.Helper()
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	for name, f := range files {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(prefix + name), Body: bytes.NewReader(f.Body)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	p := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(prefix)})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			name := (*o.Key)[len(prefix):]
			f := files[name]
			f.Mod = *o.LastModified
			files[name] = f
		}
	}
}
