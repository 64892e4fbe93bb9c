package s3

import (
	"context"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"studyfs/backends"
)

var _ backends.Prober = (*Source)(nil)

// abilities is what the service has shown to be able to do.
type abilities struct {
	mu      sync.Mutex // guards the fields below; a leaf
	known   backends.Abilities
	deletes backends.Ability // refuses a delete whose condition does not hold: some services that know conditions do not know that one
	probing bool             // somebody is finding out about conditions
}

// Abilities tells what the service has shown so far. The caller may keep it for [WriteOptions] of a later run.
func (s *Source) Abilities() backends.Abilities {
	s.able.mu.Lock()
	defer s.able.mu.Unlock()
	return s.able.known
}

func (a *abilities) conditions(found backends.Ability) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known.Conditions = found
}

func (a *abilities) checksums(found backends.Ability) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known.Checksums = found
}

// claim reports whether the caller is the one to find out about conditions; then it calls settle.
func (a *abilities) claim() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known.Conditions != backends.Untried || a.probing {
		return false
	}
	a.probing = true
	return true
}

func (a *abilities) settle(found backends.Ability) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.probing = false
	if found != backends.Untried {
		a.known.Conditions = found
	}
}

// usable refuses a service that ignores conditions, unless the user has agreed to it.
func (s *Source) usable() error {
	if s.Abilities().Conditions == backends.Unable && !s.o.Write.UnsafeOverwrite {
		return backends.ErrUnsafe
	}
	return nil
}

// conditions are the headers of a write in the place of old, none for a service that does not know them.
func (s *Source) conditions(old string) (ifMatch, ifNoneMatch *string) {
	switch {
	case s.Abilities().Conditions == backends.Unable:
		return nil, nil
	case old == "":
		return nil, aws.String("*")
	}
	return aws.String(old), nil
}

// probe finds out, once, whether the service refuses a write whose condition does not hold: it repeats a create that has just
// succeeded. Even a service that ignores the condition then only stores the same bytes once more.
func (p *putting) probe(ctx context.Context) {
	if p.old != "" || !p.s.able.claim() {
		return
	}
	found := backends.Untried
	defer func() { p.s.able.settle(found) }()
	in, err := p.request(ctx)
	if err != nil {
		return
	}
	_, err = p.s.api().PutObject(ctx, in, p.s.unsigned)
	switch status := statusOf(err); {
	case err == nil:
		found = backends.Unable
		p.s.o.Log.WarnContext(ctx, "the service ignores the conditions of writes: what others store meanwhile could be overwritten", "bucket", p.s.o.Bucket)
	case status == http.StatusPreconditionFailed:
		found = backends.Able
	default: // nothing is learned; the next create tries again
	}
}

// without looks whether err may be the refusal of a header that the service does not know. Then another try goes without it.
func (p *putting) without(err error) error {
	status, code := statusOf(err), codeOf(err)
	known := p.s.Abilities()
	implemented := status != http.StatusNotImplemented && code != "NotImplemented"
	again := knownError{failure{kind: backends.ErrBadAnswer, detail: code, again: true}}
	switch {
	case implemented && code != "InvalidRequest" && code != "InvalidArgument":
		return err
	case known.Checksums == backends.Untried:
		p.s.able.checksums(backends.Unable)
		p.dropped = true
		return again
	case implemented || known.Conditions != backends.Untried:
		return err
	}
	p.keepSums()
	p.s.able.conditions(backends.Unable)
	if unsafe := p.s.usable(); unsafe != nil {
		return knownError{failure{kind: unsafe, detail: code}}
	}
	return again
}

// keepSums takes back that the service does not know checksums: it was something else.
func (p *putting) keepSums() {
	if p.dropped {
		p.dropped = false
		p.s.able.checksums(backends.Untried)
	}
}
