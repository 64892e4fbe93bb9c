package s3

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// rekeyEvery is how often files that hold keys are looked at, while there are requests to sign.
const rekeyEvery = 2 * time.Second

// StaticFrom uses the given keys, which read has read from the file at path. When the file has changed, read is called
// again, so that whoever puts new keys there need not mount again; should it fail, the keys that there are stay.
// read may be called from any goroutine, never twice at once.
func StaticFrom(k Keys, path string, read func() (Keys, error)) Credentials {
	return Credentials{keys: &k, path: path, read: read}
}

// Rekey signs with c from now on, in the place of the credentials that Options named. Requests that are under way end with the old ones. The
// error is backends.ErrAuth where c leads to no keys; then nothing has changed. It is safe for concurrent use.
func (s *Source) Rekey(ctx context.Context, c Credentials) error {
	creds, _, err := c.resolve(ctx, s.o.Now)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.creds = creds
	s.use(s.region)
	return nil
}

func (k Keys) provider() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(k.AccessKey, k.SecretKey.Reveal(), k.Token.Reveal())
}

// rekeying signs with the keys that files hold now.
type rekeying struct {
	files []string
	load  func(context.Context) (aws.CredentialsProvider, error)
	now   func() time.Time

	mu      sync.Mutex // guards what follows, and is held while files are read
	current aws.CredentialsProvider
	looked  time.Time
	stamp   string
}

func newRekeying(current aws.CredentialsProvider, now func() time.Time, load func(context.Context) (aws.CredentialsProvider, error), files ...string) *rekeying {
	return &rekeying{files: files, load: load, now: now, current: current, looked: now(), stamp: stampOf(files)}
}

// Retrieve is called for each request that is signed.
func (r *rekeying) Retrieve(ctx context.Context) (aws.Credentials, error) {
	return r.newest(ctx).Retrieve(ctx)
}

func (r *rekeying) newest(ctx context.Context) aws.CredentialsProvider {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.looked) < rekeyEvery {
		return r.current
	}
	r.looked = now
	stamp := stampOf(r.files)
	if stamp == r.stamp {
		return r.current
	}
	if fresh, err := r.load(ctx); err == nil { // else it is half written, or gone: the next look may be luckier
		r.current, r.stamp = fresh, stamp
	}
	return r.current
}

// stampOf changes when one of the files does.
func stampOf(files []string) string {
	var b strings.Builder
	for _, path := range files {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%d %d;", info.Size(), info.ModTime().UnixNano())
		} else {
			b.WriteString("none;")
		}
	}
	return b.String()
}

// awsFiles are where AWS's own tools keep keys.
func awsFiles() []string {
	files := []string{config.DefaultSharedCredentialsFilename(), config.DefaultSharedConfigFilename()}
	for i, variable := range []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"} {
		if path := os.Getenv(variable); path != "" {
			files[i] = path
		}
	}
	return files
}
