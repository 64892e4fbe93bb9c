package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
	"studyfs/cache/stage"
)

// What can be asked of a stage.
const (
	doList    = "" // every answer has the list, too
	doWait    = "wait"
	doWatch   = "watch"
	doRetry   = "retry"
	doDrop    = "drop"
	doPause   = "pause"
	doResume  = "resume"
	doResolve = "resolve"
	doVerify  = "verify"
)

// uploadsRequest is what is asked of one stage, or of all stages of a mount.
type uploadsRequest struct {
	Do       string        `json:"do,omitempty"`
	Source   string        `json:"source,omitempty"` // id of the one that is meant; "": all of the mount
	Item     stage.ID      `json:"item,omitempty"`
	Name     string        `json:"name,omitempty"`     // wait: at or below it; retry: the name that an orphan gets
	How      string        `json:"how,omitempty"`      // resolve: mine, theirs, both
	Limit    int           `json:"limit,omitempty"`    // the most items to list; 0: all, less: none
	Patience time.Duration `json:"patience,omitempty"` // wait, watch: the longest until the answer
	After    string        `json:"after,omitempty"`    // verify: go on after this name
}

// asksService tells that the answer depends on the service, too.
func (q *uploadsRequest) asksService() bool { return q.Do == doResolve || q.Do == doVerify }

// stageReport is what is known of one stage. It is part of what "uploads ls --json" prints.
type stageReport struct {
	ID      string       `json:"id"` // of the source
	Source  string       `json:"source"`
	URL     string       `json:"url"`
	Dir     string       `json:"dir"` // where it is mounted, "" if it is not
	PID     int          `json:"pid,omitempty"`
	Error   string       `json:"error,omitempty"` // why nothing is known of it, or nothing goes on
	Uploads uploadStatus `json:"uploads"`
	Items   []uploadItem `json:"items"`
	More    int          `json:"more,omitempty"` // items that are not listed here

	Warned []warnedFile `json:"warned,omitempty"` // stored within the last day, under names that the rules know better

	Done   bool          `json:"done,omitempty"` // wait: nothing is on its way any more
	Verify *verifyReport `json:"verify,omitempty"`
}

// warnedFile is a stored file whose name breaks rules that only warn.
type warnedFile struct {
	Name     string   `json:"name"`
	Warnings []string `json:"warnings"`
}

// warnedFor is how long uploads ls shows them.
const warnedFor = 24 * time.Hour

func (t *uploadTarget) warned(now time.Time) (out []warnedFile) {
	all := t.stage.Warned(now.Add(-warnedFor))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, warnedFile{name, all[name]})
	}
	return out
}

// uploadItem is one staged file, link or directory.
type uploadItem struct {
	ID       stage.ID  `json:"id"`
	Name     string    `json:"name"` // relative to the source
	Kind     string    `json:"kind"`
	State    string    `json:"state"`
	Size     int64     `json:"size"`
	Sent     int64     `json:"sent"`
	Changed  time.Time `json:"changed"`
	AgeS     float64   `json:"age_s"`
	Error    string    `json:"error,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
}

func newUploadItem(i stage.Info, now time.Time) uploadItem {
	kind := "file"
	switch i.Kind {
	case stage.Dir:
		kind = "directory"
	case stage.Link:
		kind = "link"
	case stage.Regular:
	}
	return uploadItem{
		ID: i.ID, Name: i.Name, Kind: kind, State: i.State.String(), Size: i.Size, Sent: i.Sent,
		Changed: i.Changed.UTC(), AgeS: now.Sub(i.Changed).Seconds(), Error: i.Err, Warnings: i.Warnings,
	}
}

// stalled tells that an item waits for somebody's decision.
func (i uploadItem) stalled() bool {
	switch i.State {
	case stage.Conflict.String(), stage.Parked.String(), stage.Failed.String(), stage.Orphan.String(), stage.Quarantined.String():
		return true
	}
	return false
}

// uploadTarget is a stage with the way to where its files go.
type uploadTarget struct {
	spec    sourceSpec
	stage   *stage.Stage
	trouble func() error // of the service; nil where nobody talks to it
	// examiner returns what can look at stored objects; it may have to connect first.
	examiner func(ctx context.Context) (backends.Examiner, error)
	// remote is what uploads go to; nil where nothing is uploaded here.
	remote remote
}

// do does what q asks and tells how things are then.
func (t *uploadTarget) do(ctx context.Context, q uploadsRequest) (stageReport, error) {
	done := false
	var verified *verifyReport
	var err error
	switch q.Do {
	case doWait:
		done, err = t.wait(ctx, q)
	case doWatch:
		t.await(ctx, q.Patience)
	case doRetry:
		err = t.retry(q)
	case doDrop:
		err = t.stage.Drop(q.Item)
	case doPause:
		t.stage.Pause("paused by hand: studyfs uploads resume")
	case doResume:
		t.stage.Resume()
	case doResolve:
		err = t.resolve(ctx, q)
	case doVerify:
		verified, err = t.verify(ctx, q)
	}
	if err != nil {
		return stageReport{}, t.explain(q, err)
	}
	r := t.report(q)
	r.Done, r.Verify = done, verified
	return r, nil
}

// report lists what is staged, what moves first if there is room for some only.
func (t *uploadTarget) report(q uploadsRequest) stageReport {
	r := stageReport{ID: t.spec.id(), Source: t.spec.Name, URL: t.spec.url(), Uploads: newUploadStatus(t.stage.Totals()), Items: []uploadItem{}}
	r.Error = t.troubleText()
	if q.Limit < 0 {
		return r
	}
	all := t.stage.Items()
	now := time.Now()
	list := func(moving bool) {
		for _, i := range all {
			if (i.State == stage.Uploading) != moving || i.State == stage.Stored {
				continue
			}
			if q.Limit > 0 && len(r.Items) >= q.Limit {
				r.More++
				continue
			}
			r.Items = append(r.Items, newUploadItem(i, now))
		}
	}
	if q.Limit > 0 {
		list(true)
		list(false)
		return r
	}
	for _, i := range all {
		if i.State != stage.Stored {
			r.Items = append(r.Items, newUploadItem(i, now))
		}
	}
	r.Warned = t.warned(now)
	return r
}

// troubleText says what keeps uploads from going on, and which target that is where there are several.
func (t *uploadTarget) troubleText() string {
	if t.trouble == nil {
		return ""
	}
	err := t.trouble()
	if err == nil {
		return ""
	}
	f := explainSource(t.spec, err)
	if isOfTarget(err) {
		return f.What + ": " + f.Why
	}
	return f.Why
}

// wait reports whether all at or below a name is stored or needs somebody, after the asked-for patience at the latest.
func (t *uploadTarget) wait(ctx context.Context, q uploadsRequest) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, q.Patience)
	defer cancel()
	err := t.stage.Wait(limited, q.Name)
	if errors.Is(err, stage.ErrUnfinished) { // the figures tell
		err = nil
	}
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return false, nil
	}
	if f, ok := t.remote.(flusher); ok && err == nil {
		if err = f.Flush(limited); err != nil && limited.Err() != nil && ctx.Err() == nil {
			return false, nil
		}
	}
	return err == nil, err
}

// await returns when something has changed.
func (t *uploadTarget) await(ctx context.Context, patience time.Duration) {
	changes, cancel := t.stage.Subscribe()
	defer cancel()
	select {
	case <-changes:
	case <-time.After(patience):
	case <-ctx.Done():
	}
}

// retry puts an item back into the queue. An orphan becomes a file by that: somebody has looked at it.
func (t *uploadTarget) retry(q uploadsRequest) error {
	for _, i := range t.stage.Items() {
		if i.ID == q.Item && i.State == stage.Orphan {
			as := q.Name
			if as == "" {
				as = i.Name
			}
			return t.stage.Adopt(q.Item, as)
		}
	}
	return t.stage.Retry(q.Item)
}

// resolve ends a conflict by somebody's decision, on what lies at the target now.
func (t *uploadTarget) resolve(ctx context.Context, q uploadsRequest) error {
	how, ok := map[string]stage.Resolution{"mine": stage.Mine, "theirs": stage.Theirs, "both": stage.Both}[q.How]
	if !ok {
		return usagef("resolve: %q is none of mine, theirs, both", q.How)
	}
	name := ""
	for _, i := range t.stage.Items() {
		if i.ID == q.Item {
			name = i.Name
			if i.State != stage.Conflict {
				return &failure{What: i.Name, Why: "it is not in conflict but " + i.State.String(), Do: "studyfs uploads ls", Code: exitError}
			}
		}
	}
	if name == "" {
		return fmt.Errorf("resolve: %w", backends.ErrNotExist)
	}
	to, err := t.examiner(ctx)
	if err != nil {
		return err
	}
	now, err := to.Examine(ctx, name)
	if err != nil && !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	return t.stage.Resolve(q.Item, how, now.Entry)
}

// explain turns an error of a stage into a message.
func (t *uploadTarget) explain(q uploadsRequest, err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	f := &failure{What: t.spec.describe(), Why: err.Error(), Code: exitError}
	switch {
	case errors.Is(err, backends.ErrNotExist):
		f.Why, f.Do = "it is not staged any more: stored, dropped or removed meanwhile", "studyfs uploads ls"
	case errors.Is(err, backends.ErrExist):
		f.Why = strings.TrimSuffix(err.Error(), ": "+backends.ErrExist.Error())
		f.Do = "studyfs uploads ls shows what it is doing"
		if q.Do == doRetry {
			f.Do += "; studyfs uploads retry --as NEWNAME gives an orphan another name"
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		f.Why, f.Code = "the mount is going away", exitTryAgain
	case q.Do == doResolve || q.Do == doVerify || isOfTarget(err):
		return explainSource(t.spec, err)
	}
	return f
}

// isOfTarget tells an error of one of several targets.
func isOfTarget(err error) bool {
	_, ok := errors.AsType[*backends.TargetError](err)
	return ok
}
