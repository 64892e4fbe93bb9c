package azure

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"studyfs/backends"
)

// Source is a container, or what lies below a prefix of it. It is safe for concurrent use.
type Source struct {
	o    Options
	wire *transport

	retries atomic.Int64
	hidden  hiddenKeys
	marks   marks

	mu      sync.Mutex // guards the fields below and o.Credentials; a leaf but for the reading of a key file
	client  *container.Client
	looked  time.Time // at the key file
	stamp   string    // of the key file
	begins  begins
	trouble error
}

var (
	_ backends.Source   = (*Source)(nil)
	_ backends.Seeker   = (*Source)(nil)
	_ backends.Reporter = (*Source)(nil)
)

// Open makes ready to read. It sends nothing.
func Open(o Options) (*Source, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("azure: %w", err)
	}
	s := &Source{o: o, wire: newTransport(o), looked: o.Now()}
	if o.Credentials.path != "" {
		s.stamp = stampOf(o.Credentials.path)
	}
	client, err := s.dial(o.Credentials.key)
	if err != nil {
		return nil, err
	}
	s.client = client
	return s, nil
}

// dial makes a client that shows the given key. Its errors hold no key: the SDK's, of which that is not known, stay here.
func (s *Source) dial(k Key) (*container.Client, error) {
	o := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: s.wire.client(),
		Retry:     policy.RetryOptions{MaxRetries: -1}, // see try
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}}
	address := strings.TrimSuffix(s.o.Endpoint, "/") + "/" + url.PathEscape(s.o.Container)
	var client *container.Client
	var err error
	switch {
	case k.text.Empty():
		client, err = container.NewClientWithNoCredential(address, o)
	case k.token:
		o.InsecureAllowCredentialWithHTTP = true // the options have checked that http goes to this machine only
		client, err = container.NewClient(address, &identity{now: s.o.Now, read: s.o.Credentials.read, key: k}, o)
	case k.sas:
		client, err = container.NewClientWithNoCredential(address+"?"+k.text.Reveal(), o)
	default:
		var shared *container.SharedKeyCredential
		if shared, err = container.NewSharedKeyCredential(s.o.Account, k.text.Reveal()); err == nil {
			client, err = container.NewClientWithSharedKeyCredential(address, shared, o)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("azure: %w: the key cannot be used", backends.ErrAuth)
	}
	return client, nil
}

// api is the client for the next request, with the key that its file holds now.
func (s *Source) api() *container.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, changed := s.fresh(); changed {
		if client, err := s.dial(k); err == nil {
			s.client = client
		}
	}
	return s.client
}

// Counts tells what was sent and received so far.
func (s *Source) Counts() backends.Counts {
	c := s.wire.counts()
	c.Retries = s.retries.Load()
	c.HiddenKeys = s.hidden.count()
	return c
}

// key returns the container's key of a name.
func (s *Source) key(name string) string { return s.o.Prefix + name }

// prefix is the key prefix of a directory, with its slash.
func (s *Source) prefix(dir string) string {
	if dir == "" {
		return s.o.Prefix
	}
	return s.key(dir) + "/"
}
