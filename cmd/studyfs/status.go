package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"studyfs/backends"
	"studyfs/backends/beiwe"
	"studyfs/cache"
	"studyfs/cache/stage"
)

// statusSchema changes only if a reader of an older one would be misled; new fields do not change it.
const statusSchema = 1

// statusReport is what status --json prints.
type statusReport struct {
	Schema int           `json:"schema"`
	Mounts []mountStatus `json:"mounts"`
}

type mountStatus struct {
	Dir         string            `json:"dir"`
	PID         int               `json:"pid"`
	Started     time.Time         `json:"started"`
	ReadOnly    bool              `json:"read_only"`
	Passthrough passthroughStatus `json:"passthrough"`
	Memory      memoryStatus      `json:"memory"`
	Sources     []sourceStatus    `json:"sources"`
	Reload      *reloadStatus     `json:"reload,omitempty"` // how the last reading of the configuration went, by SIGHUP
	Log         string            `json:"log,omitempty"`
	Page        string            `json:"page,omitempty"` // address of the live page; whoever has it can use it
}

type sourceStatus struct {
	ID          string            `json:"id"` // a hash of where it is
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	URL         string            `json:"url"`
	Region      string            `json:"region,omitempty"`
	Dir         string            `json:"dir"`
	ReadOnly    bool              `json:"read_only"`
	Passthrough passthroughStatus `json:"passthrough"`
	Cache       cacheStatus       `json:"cache"`
	AtRest      atRestStatus      `json:"at_rest"`
	Requests    requestStatus     `json:"requests"`
	Bytes       bytesStatus       `json:"bytes"`
	Listing     listingStatus     `json:"listing"`
	Uploads     uploadStatus      `json:"uploads"`
	Write       *writeStatus      `json:"write,omitempty"`    // of a source that can be written to
	Fetching    []beiwe.Progress  `json:"fetching,omitempty"` // what is on its way, where that takes long
	Errors      []failure         `json:"errors"`
}

type passthroughStatus struct {
	On  bool   `json:"on"`
	Why string `json:"why"`
}

type memoryStatus struct {
	InUse int64 `json:"in_use"`
	Limit int64 `json:"limit"`
}

type cacheStatus struct {
	Bytes   int64 `json:"bytes"`
	Limit   int64 `json:"limit"`
	Hits    int64 `json:"hits"`
	Misses  int64 `json:"misses"`
	Evicted int64 `json:"evicted"`
	Corrupt int64 `json:"corrupt"`
}

// atRestStatus tells how what is kept of a source lies on the disk.
type atRestStatus struct {
	Encrypted bool   `json:"encrypted"`     // all of it
	Key       string `json:"key,omitempty"` // where the key for that is, in words
}

type requestStatus struct {
	List    int64 `json:"list"`
	Get     int64 `json:"get"`
	Head    int64 `json:"head"`
	Put     int64 `json:"put"`
	Delete  int64 `json:"delete"`
	Other   int64 `json:"other"`
	Retries int64 `json:"retries"`
}

type bytesStatus struct {
	In  int64 `json:"in"`
	Out int64 `json:"out"`
}

type listingStatus struct {
	HiddenKeys int64   `json:"hidden_keys"`
	AgeS       float64 `json:"age_s"`
	Entries    int64   `json:"entries"`
	LostFiles  int64   `json:"lost_files,omitempty"` // seen so far that hold nothing but the salt which "openssl enc" writes before it fails
}

// uploadStatus is all zero on read-only sources.
type uploadStatus struct {
	Writing     int    `json:"writing"` // open for writing
	Staged      int    `json:"staged"`
	Uploading   int    `json:"uploading"`
	Stored      int    `json:"stored"` // since the mount
	Conflict    int    `json:"conflict"`
	Parked      int    `json:"parked"`
	Failed      int    `json:"failed"`
	Orphan      int    `json:"orphan"`
	Quarantined int    `json:"quarantined"`
	BytesLeft   int64  `json:"bytes_left"`
	Paused      string `json:"paused,omitempty"` // why nothing is uploaded now
}

func newUploadStatus(t stage.Totals) uploadStatus {
	return uploadStatus{
		Writing: t.Writing, Staged: t.Staged, Uploading: t.Uploading, Stored: t.Stored, Conflict: t.Conflict, Parked: t.Parked,
		Failed: t.Failed, Orphan: t.Orphan, Quarantined: t.Quarantined, BytesLeft: t.BytesLeft, Paused: t.Paused,
	}
}

// stalled counts what waits for somebody's decision.
func (u uploadStatus) stalled() int {
	return u.Conflict + u.Parked + u.Failed + u.Orphan + u.Quarantined
}

// moving counts what is on its way.
func (u uploadStatus) moving() int { return u.Staged + u.Uploading }

// writeStatus is how a source is written to, and what its service has shown to be able to do.
type writeStatus struct {
	Delete     bool   `json:"delete"`
	Durability string `json:"durability"`
	BIDS       string `json:"bids"`
	Conditions string `json:"conditions"` // untried, able, unable: whether it refuses to overwrite what is not known
	Checksums  string `json:"checksums"`  // whether it checks and tells checksums of whole objects
}

func abilityName(a backends.Ability) string {
	switch a {
	case backends.Able:
		return "able"
	case backends.Unable:
		return "unable"
	case backends.Untried:
	}
	return "untried"
}

// status tells how a source is written to.
func (w *writing) status() *writeStatus {
	can := w.places.recall(w.spec.id()).abilities()
	return &writeStatus{
		Delete: w.spec.Write.Delete, Durability: w.spec.Write.durability(), BIDS: w.spec.Write.BIDS.profile().String(),
		Conditions: abilityName(can.Conditions), Checksums: abilityName(can.Checksums),
	}
}

// objectStatus is what status PATH tells.
type objectStatus struct {
	Schema       int        `json:"schema"`
	Path         string     `json:"path"`
	Source       string     `json:"source"`
	Dir          bool       `json:"dir"`
	State        string     `json:"state,omitempty"`
	Size         int64      `json:"size"`
	ModTime      *time.Time `json:"mtime,omitempty"`
	ETag         string     `json:"etag,omitempty"`
	StorageClass string     `json:"storage_class,omitempty"`
	Sent         int64      `json:"sent,omitempty"`     // bytes of a staged file that have been uploaded
	Warnings     []string   `json:"warnings,omitempty"` // about the name of a staged file
	Tier         string     `json:"tier,omitempty"`
	Error        string     `json:"error,omitempty"`
}

// status gathers the figures of a mount; it asks nobody.
func (m *mountServer) status() *mountStatus {
	st := &mountStatus{Dir: m.spec.Dir, PID: os.Getpid(), Started: m.started.UTC(), ReadOnly: true, Log: m.spec.Log}
	st.Passthrough.On, st.Passthrough.Why = m.fs.Load().Passthrough()
	st.Memory.InUse, st.Memory.Limit = m.cache.Memory()
	if m.page != nil {
		st.Page = m.page.URL()
	}
	st.Reload = m.reloader.status()
	for _, s := range m.sources {
		one := s.status()
		st.ReadOnly = st.ReadOnly && one.ReadOnly
		one.Dir, one.Passthrough = path.Join(m.spec.Dir, m.spec.folder(s.spec)), st.Passthrough.of(s.spec)
		st.Sources = append(st.Sources, one)
	}
	if !slices.ContainsFunc(m.sources, func(s *liveSource) bool { return s.spec.AtRest == nil }) {
		st.Passthrough = st.Passthrough.of(m.sources[0].spec)
	}
	return st
}

// of is what holds for one source of the mount.
func (p passthroughStatus) of(s sourceSpec) passthroughStatus {
	if p.On && s.AtRest == nil && s.StageKey != nil {
		p.Why = "but for files that wait for their upload: they are encrypted on this disk"
	}
	if !p.On || s.AtRest == nil {
		return p
	}
	return passthroughStatus{Why: "what is kept is encrypted on this disk, and the kernel has no key; it keeps what it has read in its own memory"}
}

func (s *liveSource) status() sourceStatus {
	st := sourceStatus{ID: s.spec.id(), Name: s.spec.Name, Kind: s.spec.Kind, URL: s.spec.url(), ReadOnly: true, Errors: []failure{}}
	trouble := s.trouble
	if s.remote != nil {
		n := s.remote.Counts()
		if s.region != nil {
			st.Region = s.region()
		}
		st.Requests = requestStatus{List: n.List, Get: n.Get, Head: n.Head, Put: n.Put, Delete: n.Delete, Other: n.Other, Retries: n.Retries}
		st.Bytes = bytesStatus{In: n.BytesIn, Out: n.BytesOut}
		st.Listing.HiddenKeys = n.HiddenKeys
		if c, ok := s.remote.(interface{ Lost() int64 }); ok {
			st.Listing.LostFiles = c.Lost()
		}
		trouble = s.remote.Trouble()
	}
	if s.writing != nil {
		st.ReadOnly = false
		st.Uploads, st.Write = newUploadStatus(s.writing.held().Totals), s.writing.status()
	}
	if s.progress != nil {
		st.Fetching = s.progress()
	}
	if s.store != nil {
		n := s.store.Stats()
		st.Cache = cacheStatus{Bytes: n.Bytes, Limit: n.Limit, Hits: n.Hits, Misses: n.Misses, Evicted: n.Evicted, Corrupt: n.Corrupt}
		if s.spec.AtRest != nil {
			st.AtRest = atRestStatus{Encrypted: true, Key: s.spec.AtRest.Where}
		}
		st.Listing.AgeS, st.Listing.Entries = n.ListingAge.Seconds(), n.ListedEntries
	}
	if trouble != nil {
		var f *failure
		if !errors.As(trouble, &f) {
			f = explainSource(s.spec, trouble)
		}
		st.Errors = append(st.Errors, *f)
	}
	if f := s.audit.trouble(); f != nil && s.spec.audited() != auditOff {
		st.Errors = append(st.Errors, *f)
	}
	return st
}

// stat tells what is known of one path below the mount.
func (m *mountServer) stat(ctx context.Context, name string) (*objectStatus, error) {
	info, err := m.fs.Load().Stat(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &failure{What: path.Join(m.spec.Dir, name), Why: "no such file", Code: exitError}
	case err != nil:
		return nil, explainSource(m.specOf(info.Tree), err)
	}
	e := info.Entry
	o := &objectStatus{
		Schema: statusSchema, Path: path.Join(m.spec.Dir, name), Source: m.specOf(info.Tree).Name, Dir: e.Dir,
		Size: e.Size, ETag: e.Version, StorageClass: e.Class, Error: info.Trouble,
	}
	if !e.ModTime.IsZero() {
		o.ModTime = &e.ModTime
	}
	if !e.Dir && e.Tier != backends.Online && info.State != cache.Cached {
		o.Error = m.archivedHint(e, o.Path)
	}
	switch i := info.Staged; {
	case i.ID != 0:
		o.State, o.Size, o.ModTime, o.Sent, o.Warnings, o.Error = i.State.String(), i.Size, &i.Attr.ModTime, i.Sent, i.Warnings, i.Err
		o.Tier = tierName(backends.Online)
	case !e.Dir:
		o.State, o.Tier = info.State.String(), tierName(e.Tier)
	}
	return o, nil
}

// archivedHint says why a file cannot be read, and what to do.
func (m *mountServer) archivedHint(e backends.Entry, file string) string {
	if e.Tier == backends.Restoring {
		return "archived: it was asked for and is on its way; studyfs restore --watch " + quote(file) + " tells when it is there"
	}
	return "archived: it can be read some hours after it was asked for; studyfs restore --dry-run " + quote(file) + " shows what that costs"
}

func (m *mountServer) specOf(folder string) sourceSpec {
	for _, s := range m.sources {
		if m.spec.folder(s.spec) == folder {
			return s.spec
		}
	}
	return m.sources[0].spec
}

func tierName(t backends.Tier) string {
	switch t {
	case backends.Archived:
		return "archived"
	case backends.Restoring:
		return "restoring"
	case backends.Online:
	}
	return "online"
}
