package main

import (
	"context"
	"fmt"
	"path"

	"studyfs/cache/stage"
	"studyfs/cmd/studyfs/livepage"
)

// pageAddress is where the live page listens, "" for nowhere.
type pageAddress string

func (p pageAddress) String() string { return string(p) }

// UnmarshalText takes addresses of this machine only.
func (p *pageAddress) UnmarshalText(text []byte) error {
	*p = pageAddress(text)
	if *p == "" || livepage.CheckAddress(string(*p)) == nil {
		return nil
	}
	return fmt.Errorf("%q: the page shows participants' names, so it can only be at an address of this machine; write 127.0.0.1:0, or 127.0.0.1 with a port", string(*p))
}

// sayPage tells where the live page is. The address is a secret: systemd would keep what it says to the journal.
func (a *app) sayPage(address string) {
	switch {
	case address == "":
	case a.env.get("JOURNAL_STREAM") != "":
		a.say("the live page is there; studyfs status shows its address")
	default:
		a.say("the live page: " + address)
	}
}

// listenPage takes the live page's address, if there is to be one, before anything else is done.
func (m *mountServer) listenPage(ctx context.Context) (err error) {
	if m.spec.HTTP == "" {
		return nil
	}
	m.page, err = livepage.Listen(ctx, livepage.Options{Address: string(m.spec.HTTP), Mount: shownMount{m}, Log: m.log})
	if err != nil {
		return &failure{
			What: "the live page at " + string(m.spec.HTTP), Why: lastCause(err),
			Do: "choose another port, or --http 127.0.0.1:0 for any that is free", Code: exitCannotCreate,
		}
	}
	return nil
}

func (m *mountServer) closePage(ctx context.Context) {
	if m.page == nil {
		return
	}
	if err := m.page.Close(); err != nil {
		m.log.WarnContext(ctx, "the live page", "err", err)
	}
}

// shownMount is a mount as the live page sees it: what the control socket tells and does, and nothing besides.
type shownMount struct{ m *mountServer }

// View is status.
func (s shownMount) View() livepage.View { return viewOf(s.m.status()) }

// Items is uploads ls.
func (s shownMount) Items() []livepage.Item {
	items := []livepage.Item{}
	for _, one := range s.m.sources {
		if one.writing == nil || one.writing.ended() {
			continue
		}
		id := one.spec.id()
		for _, i := range one.writing.stage.Items() {
			if i.State != stage.Stored {
				items = append(items, shownItem(id, i))
			}
		}
	}
	return items
}

func shownItem(source string, i stage.Info) livepage.Item {
	u := newUploadItem(i, i.Changed)
	return livepage.Item{
		Source: source, ID: uint64(u.ID), Name: u.shown(), Kind: u.Kind, State: u.State, Size: u.Size, Sent: u.Sent,
		Changed: u.Changed, Why: u.Error, Warnings: u.Warnings,
	}
}

// Act is uploads pause, resume, retry and resolve.
func (s shownMount) Act(ctx context.Context, a livepage.Action) *livepage.Problem {
	all, err := s.m.uploads(ctx, uploadsRequest{Do: a.Do, Source: a.Source, Item: stage.ID(a.Item), How: a.How, Limit: -1})
	if err != nil {
		return shownProblem(*asFailure(s.m.spec.Dir, err))
	}
	if len(all) == 0 {
		return &livepage.Problem{What: path.Base(s.m.spec.Dir), Why: "nothing can be written to this source now"}
	}
	return nil
}

func shownProblem(f failure) *livepage.Problem {
	return &livepage.Problem{What: f.What, Why: f.Why, Do: f.Do}
}

// viewOf turns what status tells into what the page and the metrics show.
func viewOf(m *mountStatus) livepage.View {
	v := livepage.View{
		Dir: m.Dir, ID: hashOf(m.Dir), Started: m.Started, Passthrough: m.Passthrough.On, PassthroughIs: m.Passthrough.Why,
		Memory: m.Memory.InUse, MemoryLimit: m.Memory.Limit, Sources: []livepage.Source{},
	}
	for _, s := range m.Sources {
		v.CacheLimit = max(v.CacheLimit, s.Cache.Limit)
		v.Sources = append(v.Sources, shownSource(s))
	}
	return v
}

func shownSource(s sourceStatus) livepage.Source {
	one := livepage.Source{
		ID: s.ID, Name: s.Name, Kind: s.Kind, URL: s.URL, Dir: s.Dir, In: s.Bytes.In, Out: s.Bytes.Out,
		Hidden: s.Listing.HiddenKeys, ListedS: s.Listing.AgeS, Problems: []livepage.Problem{},
		Cache:    livepage.Cache{Bytes: s.Cache.Bytes, Hits: s.Cache.Hits, Misses: s.Cache.Misses, Evicted: s.Cache.Evicted, Corrupt: s.Cache.Corrupt},
		Requests: livepage.Requests(s.Requests),
	}
	for _, f := range s.Errors {
		one.Problems = append(one.Problems, *shownProblem(f))
	}
	for _, f := range s.Fetching {
		one.Fetching = append(one.Fetching, fetchingLine(f))
	}
	if !s.ReadOnly {
		u := s.Uploads
		one.Uploads = &livepage.Uploads{
			Writing: u.Writing, Staged: u.Staged, Uploading: u.Uploading, Stored: u.Stored, Conflict: u.Conflict, Parked: u.Parked,
			Failed: u.Failed, Orphan: u.Orphan, Quarantined: u.Quarantined, BytesLeft: u.BytesLeft, Paused: u.Paused,
		}
	}
	return one
}
