// Package survey finds out what a source holds, from listings alone and with a bounded number of them: how many participants, how much, and
// how new. What was not listed to its end is "at least".
package survey

import (
	"context"
	"strings"
	"time"

	"studyfs/backends"
)

// Layout says how to tell participants and days in names.
type Layout uint8

// The layouts: any (participants are folders named sub-…, as BIDS has them), Empatica's, and one in which every folder at the root is a
// participant, as HCP's.
const (
	Any Layout = iota
	Empatica
	FolderEach
)

// Options bound a survey.
type Options struct {
	Layout   Layout
	Requests int // the most listings; 0 means 60
}

// Count is a number that may be the least there is.
type Count struct {
	N       int64
	AtLeast bool
}

// Result is what was found. Newest is a day, "" where none can be told.
type Result struct {
	Participants Count
	Folders      Count // at the root
	Files        Count
	Bytes        Count
	Newest       string
}

const (
	defaultRequests = 60
	dataFolder      = "participant_data" // of Empatica: study/site/participant_data/day/participant-device
)

// Run surveys src. An error means that not even the root could be listed; what goes wrong later only makes numbers "at least".
func Run(ctx context.Context, src backends.Source, o Options) (Result, error) {
	if o.Requests <= 0 {
		o.Requests = defaultRequests
	}
	r := &run{src: src, layout: o.Layout, left: o.Requests, people: map[string]bool{}}
	if p, ok := src.(backends.Pager); ok {
		r.pager = p
	}
	if err := r.root(ctx); err != nil {
		return Result{}, err
	}
	if r.pager != nil {
		r.flat(ctx, r.left/2)
	} else {
		r.tree(ctx)
	}
	if !r.whole && r.layout == Empatica {
		r.days(ctx)
	}
	return r.result(), nil
}

// run is one survey.
type run struct {
	src    backends.Source
	pager  backends.Pager // nil: the source has no pages
	layout Layout
	left   int // listings that may still be asked for

	folders, files, bytes int64
	wholeRoot, whole      bool            // all was seen of the root, of everything
	people                map[string]bool // participants seen
	allPeople             bool
	day                   string    // newest of the names
	newest                time.Time // of the files
}

func (r *run) result() Result {
	all := Result{
		Folders: Count{r.folders, !r.wholeRoot}, Files: Count{r.files, !r.whole}, Bytes: Count{r.bytes, !r.whole},
		Participants: Count{int64(len(r.people)), !r.whole && !r.allPeople}, Newest: r.day,
	}
	if all.Newest == "" && r.whole && !r.newest.IsZero() && r.layout == Any {
		all.Newest = r.newest.UTC().Format(time.DateOnly)
	}
	return all
}

// root lists the root: that is also how a mount begins.
func (r *run) root(ctx context.Context) error {
	entries, whole, err := r.list(ctx, "")
	if err != nil {
		return err
	}
	r.wholeRoot = whole
	for _, e := range entries {
		if !e.Dir {
			continue
		}
		r.folders++
		if r.layout == FolderEach || r.layout == Any && strings.HasPrefix(e.Name, "sub-") {
			r.people[e.Name] = true
		}
	}
	r.allPeople = whole && r.layout != Empatica
	return nil
}

// mostEntries bounds one listing of a source without pages.
const mostEntries = 10_000

// list lists one directory, and reports whether it was all of it.
func (r *run) list(ctx context.Context, dir string) (entries []backends.Entry, whole bool, err error) {
	if r.pager == nil {
		r.left--
		for e, err := range r.src.List(ctx, dir) {
			if err != nil {
				return entries, false, err
			}
			if entries = append(entries, e); len(entries) == mostEntries {
				return entries, false, nil
			}
		}
		return entries, true, nil
	}
	for after := ""; r.left > 0; {
		r.left--
		page, err := r.pager.ListPage(ctx, dir, after)
		if err != nil {
			return entries, false, err
		}
		if entries = append(entries, page.Entries...); !page.More {
			return entries, true, nil
		}
		after = page.Last
	}
	return entries, false, nil
}

// flat looks at all files in the order of their keys, as far as most listings go.
func (r *run) flat(ctx context.Context, most int) {
	after := ""
	for range most {
		r.left--
		page, err := r.pager.WalkPage(ctx, "", after)
		if err != nil {
			return
		}
		for _, e := range page.Entries {
			r.see(e)
		}
		if !page.More {
			r.whole = true
			return
		}
		after = page.Last
	}
}

// tree does the same to a source that has no pages, directory by directory.
func (r *run) tree(ctx context.Context) {
	dirs := []string{""}
	for len(dirs) > 0 && r.left > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		entries, whole, err := r.list(ctx, dir)
		if err != nil || !whole {
			return
		}
		for _, e := range entries {
			if e.Dir {
				dirs = append(dirs, e.Name)
				continue
			}
			r.see(e)
		}
	}
	r.whole = len(dirs) == 0
}

// see takes a file in.
func (r *run) see(e backends.Entry) {
	if e.Dir {
		return
	}
	r.files++
	r.bytes += max(e.Size, 0)
	if e.ModTime.After(r.newest) {
		r.newest = e.ModTime
	}
	if r.layout == Empatica {
		r.seeDay(e.Name)
	}
}

// seeDay takes in what a name below participant_data tells.
func (r *run) seeDay(name string) {
	_, below, ok := strings.Cut("/"+name, "/"+dataFolder+"/")
	if !ok {
		return
	}
	day, rest, _ := strings.Cut(below, "/")
	person, _, _ := strings.Cut(rest, "/")
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return
	}
	r.day = max(r.day, day)
	if cut := strings.LastIndexByte(person, '-'); cut > 0 { // participant-device
		r.people[person[:cut]] = true
	}
}

// days finds the newest day, and as many participants as it can, from the newest day backwards.
func (r *run) days(ctx context.Context) {
	var all [][]string
	r.day = "" // of what happened to come first
	for _, dir := range r.dataFolders(ctx) {
		entries, whole, err := r.list(ctx, dir)
		if err != nil || !whole { // the newest is behind
			return
		}
		var days []string
		for _, e := range entries {
			if e.Dir {
				days = append(days, e.Name)
				r.seeDay(e.Name)
			}
		}
		all = append(all, days)
	}
	for back := 1; r.left > 0; back++ {
		more := false
		for _, days := range all {
			if back > len(days) {
				continue
			}
			more = true
			entries, _, err := r.list(ctx, days[len(days)-back])
			if err != nil {
				return
			}
			for _, e := range entries {
				r.seeDay(e.Name)
			}
		}
		if !more {
			r.allPeople = true
			return
		}
	}
}

// dataFolders finds the folders that hold days, two levels down as a rule.
func (r *run) dataFolders(ctx context.Context) (found []string) {
	level := []string{""}
	for range 3 {
		var next []string
		for _, dir := range level {
			entries, _, err := r.list(ctx, dir)
			if err != nil {
				return found
			}
			for _, e := range entries {
				switch {
				case !e.Dir:
				case strings.HasSuffix("/"+e.Name, "/"+dataFolder):
					found = append(found, e.Name)
				default:
					next = append(next, e.Name)
				}
			}
		}
		level = next
	}
	return found
}
