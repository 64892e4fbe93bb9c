package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
)

// What a mount can be asked to do about archived objects.
const (
	restoreScan  = "scan"  // count them
	restoreAsk   = "ask"   // ask for those that nobody has asked for yet
	restoreWatch = "watch" // look again and again until none is on its way
)

// restoreRequest is the part of a request that is about archived objects.
type restoreRequest struct {
	Do    string        `json:"do"`
	Paths []string      `json:"paths"` // relative to the mount
	Days  int           `json:"days,omitempty"`
	Tier  string        `json:"tier,omitempty"`
	Every time.Duration `json:"every,omitempty"` // between two looks
}

// restoreReport is what is known so far. It is sent now and then, and at the end.
type restoreReport struct {
	Found    found    `json:"found"`    // as it is now, by storage class
	Asked    tally    `json:"asked"`    // for this time
	Refused  tally    `json:"refused"`  // could not be asked for
	Problems []string `json:"problems"` // why, for the first of them
	Looks    int      `json:"looks"`    // complete ones, of a watch
	Done     bool     `json:"done"`
	Failure  *failure `json:"failure,omitempty"` // why it ended early
}

const (
	restoresAtOnce  = 16                     // AWS takes 1,000 a second of an account; a mount leaves room for others
	restoreProblems = 20                     // told
	hopeless        = 100                    // refusals without one success: nothing will be better with the next
	tellEvery       = 500 * time.Millisecond // how often a client hears of progress
)

// restoreJob looks through folders of a mount, by their names in the source. It holds nothing that a later job would need: what was asked for
// is known to the service, so whoever was interrupted begins again and goes on.
type restoreJob struct {
	m *mountServer
	q restoreRequest

	mu      sync.Mutex // guards what follows
	report  restoreReport
	guessed map[string]bool // objects of classes whose listing does not tell: looked at one by one, but only until they can be read
}

func newRestoreJob(m *mountServer, q restoreRequest) *restoreJob {
	return &restoreJob{m: m, q: q, guessed: map[string]bool{}, report: restoreReport{Problems: []string{}, Found: found{}}}
}

// run does what was asked for, and tells how it gets on.
func (j *restoreJob) run(ctx context.Context, tell func(restoreReport) error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var telling sync.WaitGroup
	ended := make(chan struct{})
	telling.Go(func() {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				if tell(j.state()) != nil {
					cancel() // nobody listens
				}
			}
		}
	})
	err := j.rounds(ctx)
	close(ended)
	telling.Wait()
	last := j.state()
	last.Done = true
	if err != nil {
		last.Failure = j.explain(err)
	}
	tell(last) //nolint:errcheck // the client may be gone
}

func (j *restoreJob) state() restoreReport {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.report
	r.Found, r.Problems = append(found{}, r.Found...), append([]string{}, r.Problems...)
	return r
}

// rounds looks once; a watch looks until nothing is on its way any more.
func (j *restoreJob) rounds(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := found{}
		if err := j.round(ctx, &now); err != nil {
			return err
		}
		if j.q.Do == restoreWatch {
			j.mu.Lock()
			j.report.Found = now
			j.report.Looks++
			j.mu.Unlock()
		}
		if j.q.Do != restoreWatch || now.sum(backends.Restoring).Files == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(j.q.Every):
		}
	}
}

// round goes through all paths once and counts in now; a watch shows that only when it is complete.
func (j *restoreJob) round(ctx context.Context, now *found) error {
	for _, p := range withoutNested(j.q.Paths) {
		for _, s := range j.m.sources {
			name, in := j.m.nameIn(s, p)
			if !in {
				continue
			}
			r, err := j.restorer(s)
			if err != nil {
				return err
			}
			walk := &restoreWalk{j: j, s: s, r: r, now: now}
			if err := walk.run(ctx, name); err != nil {
				return &sourceError{s.spec, err}
			}
		}
	}
	return nil
}

// withoutNested leaves away what lies in another path, so that nothing is counted and asked for twice.
func withoutNested(paths []string) (out []string) {
	for i, p := range paths {
		nested := false
		for k, other := range paths {
			nested = nested || k != i && (other == "" && p != "" || isBelow(p, other) && (p != other || k < i))
		}
		if !nested {
			out = append(out, p)
		}
	}
	return out
}

// nameIn takes a path in the mount to a name in a source. The root of a mount of several lies in all of them.
func (m *mountServer) nameIn(s *liveSource, p string) (string, bool) {
	p = strings.Trim(path.Clean("/"+p), "/")
	folder := m.spec.folder(s.spec)
	switch {
	case folder == "", p == "":
		return p, true
	case isBelow(p, folder):
		return strings.TrimPrefix(p[len(folder):], "/"), true
	}
	return "", false
}

func (j *restoreJob) restorer(s *liveSource) (backends.Restorer, error) {
	f := &failure{What: s.spec.describe(), Code: exitError}
	r, ok := s.remote.(backends.Restorer)
	switch {
	case s.spec.Azure != nil:
		f.Why = "studyfs only reads from Azure, and bringing a blob back there changes it"
		f.Do = "az storage blob set-tier --account-name " + s.spec.Azure.Account + " --container-name " + s.spec.Azure.Container +
			" --tier Hot --rehydrate-priority Standard --name BLOB\nstudyfs status PATH tells when it is there"
		return nil, f
	case s.trouble != nil:
		return nil, s.trouble
	case !ok:
		f.Why = "nothing is ever archived there"
		return nil, f
	}
	return r, nil
}

// sourceError is an error of one source.
type sourceError struct {
	spec sourceSpec
	err  error
}

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// explain says why a job ended early, and that it can be taken up again.
func (j *restoreJob) explain(err error) *failure {
	var of *sourceError
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if !errors.As(err, &of) || errors.Is(err, context.Canceled) {
		return &failure{What: "restore", Why: "the mount was taken away meanwhile", Do: "mount again and run the same: it goes on where it was", Code: exitTryAgain}
	}
	f := explainSource(of.spec, of.err)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		f.Why, f.Do, f.Code = "there is no such file or folder", "studyfs status lists the mounts", exitError
	case errors.Is(err, backends.ErrBusy), isUnreachable(err):
		f.Do, f.Code = "run the same again later: what was asked for is not asked for twice", exitTryAgain
	case errors.Is(err, backends.ErrPermission):
		f.Why, f.Do = "the keys are good but may not restore (s3:RestoreObject)", "ask whoever looks after the bucket for that right"
	}
	return f
}

// count counts an entry where it is now: in a report that grows for scan and ask.
func (j *restoreJob) count(now *found, e backends.Entry, n int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now.class(e.Class).of(e.Tier).add(n, e)
	if j.q.Do != restoreWatch {
		j.report.Found = append(found{}, *now...)
	}
}

// settled counts what became of asking for e.
func (j *restoreJob) settled(e backends.Entry, err error) (giveUp bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		j.report.Asked.add(1, e)
		return false
	}
	j.report.Refused.add(1, e)
	if len(j.report.Problems) < restoreProblems {
		j.report.Problems = append(j.report.Problems, fmt.Sprintf("%s: %s", e.Name, becauseOf(err)))
	}
	return j.report.Asked.Files == 0 && j.report.Refused.Files >= hopeless
}

func becauseOf(err error) string {
	switch {
	case errors.Is(err, backends.ErrTier):
		return backends.ErrTier.Error() + because(err, backends.ErrTier)
	case errors.Is(err, backends.ErrPermission):
		return "the keys may not restore it"
	case errors.Is(err, backends.ErrNotExist):
		return "it is gone"
	}
	return lastCause(err)
}

// guess notes whether an object has to be looked at by itself the next time, too.
func (j *restoreJob) guess(key string, still bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.guessed[key] = still
}

func (j *restoreJob) settledGuess(key string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	still, seen := j.guessed[key]
	return seen && !still
}
