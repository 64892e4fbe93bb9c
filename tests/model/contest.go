package model

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// contest is a name that others change at the server while programs here use it.
//
// What a reader sees is not determined there: a listing is believed for a minute, and for as long an older version or absence may be shown, or
// ESTALE where that version cannot be had any more. But what was written here and is not stored yet is what is read, always; and within
// one mount nobody is shown something older than before.
type contest struct {
	key    string
	mine   []byte   // what was closed here last, nil: nothing
	from   int      // the history of the key when it was begun
	floor  int      // the oldest version that may still be seen; -1: there was none
	absent bool     // it was removed here since
	doubt  [][]byte // a kill came into writing: it may be any of these, or what is at the server

	saved   []claim
	removed []int // the histories of the key when it was removed here
}

// claim is a body that was written here, with the history of the key when it was begun: what others stored later may not be overwritten.
type claim struct {
	from int
	body []byte
}

func (p *player) contested(o Op) {
	c := p.theirs[o.A]
	all := p.w.versions(c.key)
	switch o.Do {
	case "others-put":
		body := p.body(max(o.Size, 1))
		p.note("%v: %s", o, brief(body))
		p.w.others(c.key, body)
	case "others-delete":
		if len(all) > 0 && all[len(all)-1].there {
			p.note("%v", o)
			p.w.others(c.key, nil)
		}
	case "theirs-save":
		p.theirsSave(o, c, all)
	case "theirs-append":
		p.theirsAppend(o, c, all)
	case "theirs-unlink":
		p.theirsUnlink(o, c, all)
	default:
		p.theirsRead(o, c)
	}
}

// begin says from when on what others store must not be overwritten: from when what is staged was begun.
func (c *contest) begin(all []version) int {
	if c.mine != nil {
		if _, ok := landed(all, c.from, c.mine); !ok {
			return c.from
		}
	}
	return len(all)
}

func (p *player) theirsSave(o Op, c *contest, all []version) {
	body, from := p.body(o.Size), c.begin(all)
	p.w.may(body)
	err := writeAll(p.path(o.A), unix.O_CREAT|unix.O_TRUNC, body)
	p.note("%v: %s %s", o, brief(body), outcome(err))
	c.saved = append(c.saved, claim{from, body})
	switch {
	case err == nil:
		c.mine, c.from, c.absent = body, from, false
	case p.ended():
		p.doubt(c, 0, nil, body)
	default:
		p.fail("%v: %v", o, err)
	}
}

// theirsAppend: what is in it afterwards tells which version was copied.
func (p *player) theirsAppend(o Op, c *contest, all []version) {
	was, err := readFile(p.path(o.A))
	if err != nil {
		p.note("%v: %s", o, outcome(err))
		return
	}
	tail, from := p.body(max(o.Size, 1)), c.begin(all)
	may := append(c.views(all), was)
	for _, b := range may {
		p.w.may(put(b, len(b), tail))
		c.saved = append(c.saved, claim{from, put(b, len(b), tail)})
	}
	err = writeAll(p.path(o.A), unix.O_APPEND, tail)
	got, rerr := readFile(p.path(o.A))
	p.note("%v: %s %s, reads %s %s", o, brief(tail), outcome(err), brief(got), outcome(rerr))
	had, ok := bytes.CutSuffix(got, tail)
	switch {
	case p.ended() && (err != nil || rerr != nil):
		for _, b := range may {
			p.doubt(c, len(b), b, tail)
		}
	case err != nil && (p.faulty || newer(c, all)) && (transient(err) || errors.Is(err, unix.ENOENT)):
	case err != nil || rerr != nil:
		p.fail("%v: %v, %v", o, err, rerr)
	case !ok || !slices.ContainsFunc(may, func(b []byte) bool { return bytes.Equal(b, had) }):
		p.fail("%v: reads %s after %s", o, brief(got), brief(was))
	default:
		c.mine, c.from, c.absent = got, from, false
	}
}

// views are the bodies that may be seen.
func (c *contest) views(all []version) (out [][]byte) {
	if c.mine != nil {
		out = append(out, c.mine)
	}
	for i := max(c.floor, 0); i < len(all); i++ {
		if all[i].there {
			out = append(out, all[i].body)
		}
	}
	return out
}

// newer reports whether others have changed the name since the version that may be seen.
func newer(c *contest, all []version) bool {
	return slices.ContainsFunc(all[min(max(c.floor, 0), len(all)):], func(v version) bool { return !v.ours })
}

// writeAll opens, writes and closes.
func writeAll(path string, flags int, body []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|flags, 0o644)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if _, err := unix.Write(fd, body); err != nil {
		unix.Close(fd)
		return fmt.Errorf("write: %w", err)
	}
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// doubt notes what a write that was under way may have left, beside what is known.
func (p *player) doubt(c *contest, off int, had, body []byte) {
	c.doubt = append(c.doubt, had, []byte{}, put(had, off, body))
	c.doubt = append(c.doubt, torn(had, off, body)...)
	if c.mine != nil {
		c.doubt = append(c.doubt, c.mine)
	}
	for _, b := range c.doubt {
		p.w.may(b)
		c.saved = append(c.saved, claim{c.from, b})
	}
}

func (p *player) theirsUnlink(o Op, c *contest, all []version) {
	c.removed = append(c.removed, len(all))
	err := unix.Unlink(p.path(o.A))
	p.note("%v: %s", o, outcome(err))
	switch {
	case p.ended() && err != nil:
		c.doubt = append(c.doubt, c.mine)
		c.absent = true
	case err == nil:
		c.mine, c.absent = nil, true
	case errors.Is(err, unix.ENOENT):
		p.mayBeAbsent(o, c, all)
	case transient(err) && (p.faulty || newer(c, all)):
	default:
		p.fail("%v: %v", o, err)
	}
}

func (p *player) mayBeAbsent(o Op, c *contest, all []version) {
	if c.mine != nil {
		if at, ok := landed(all, c.from, c.mine); !ok || !slices.ContainsFunc(all[at:], func(v version) bool { return !v.there }) {
			p.fail("%v: it is not there, but %s was written", o, brief(c.mine))
			return
		}
	}
	if c.mine == nil && !c.absent && c.floor >= 0 && !slices.ContainsFunc(all[min(c.floor, len(all)):], func(v version) bool { return !v.there }) {
		p.fail("%v: it is not there", o)
		return
	}
	c.mine = nil
}

// theirsRead reads, and learns from what it sees.
func (p *player) theirsRead(o Op, c *contest) {
	got, err := readFile(p.path(o.A))
	all := p.w.versions(c.key)
	p.note("%v: %s %s", o, brief(got), outcome(err))
	at := slices.IndexFunc(all[min(max(c.floor, 0), len(all)):], func(v version) bool { return v.there && bytes.Equal(v.body, got) })
	switch {
	case p.ended() && err != nil:
	case errors.Is(err, unix.ENOENT):
		if c.doubt == nil {
			p.mayBeAbsent(o, c, all)
		}
	case err != nil && transient(err) && (p.faulty || newer(c, all)):
	case err != nil:
		p.fail("%v: %v", o, err)
	case c.doubt != nil:
		c.learn(got, all)
	case c.mine != nil && bytes.Equal(got, c.mine):
	case c.mine != nil:
		p.notMine(o, c, all, got)
	case at < 0:
		p.fail("%v: %s, which is nothing that it may hold", o, brief(got))
	default:
		c.floor, c.absent = max(c.floor, 0)+at, false
	}
}

// notMine: something else than what was written here is read, which must be what others have stored after it was stored.
func (p *player) notMine(o Op, c *contest, all []version, got []byte) {
	at, ok := landed(all, c.from, c.mine)
	if !ok {
		p.fail("%v: %s instead of %s, which is not stored yet", o, brief(got), brief(c.mine))
		return
	}
	for i, v := range all[at:] {
		if v.there && bytes.Equal(v.body, got) {
			c.mine, c.floor = nil, at+i
			return
		}
	}
	p.fail("%v: %s instead of %s", o, brief(got), brief(c.mine))
}

// learn ends the doubt that a kill has left. What others have stored is not ours, though it was to be appended to: they may remove it.
func (c *contest) learn(got []byte, all []version) {
	theirs := slices.ContainsFunc(all, func(v version) bool { return v.there && !v.ours && bytes.Equal(v.body, got) })
	if !theirs && slices.ContainsFunc(c.doubt, func(b []byte) bool { return b != nil && bytes.Equal(b, got) }) {
		c.mine = got
	} else {
		c.mine = nil
	}
	c.doubt = nil
}

// restarted: the listing that was kept may be older than what was shown, but not than what was last done from here.
func (c *contest) restarted(all []version) {
	c.floor = -1
	for i, v := range all {
		if v.ours {
			c.floor = i
		}
	}
}

// judge looks at the end whether anything of others was overwritten or removed unseen, and where what was written here is now: stored, or
// in a conflict with all its bytes here.
func (p *player) judge(name string, c *contest, states map[string]string) {
	all := p.w.versions(c.key)
	for i := 1; i < len(all); i++ {
		theirs, ours := all[i-1], all[i]
		if !ours.ours || theirs.ours || !theirs.there || bytes.Equal(theirs.body, ours.body) {
			continue
		}
		seen := slices.ContainsFunc(c.saved, func(s claim) bool { return s.from >= i && bytes.Equal(s.body, ours.body) })
		if !ours.there {
			seen = slices.ContainsFunc(c.removed, func(from int) bool { return from >= i })
		}
		if !seen {
			p.fail("%s: %v was replaced unseen by %v; all: %v", name, theirs, ours, all)
		}
	}
	if c.mine == nil || c.doubt != nil {
		return
	}
	if _, ok := landed(all, c.from, c.mine); ok && states[c.key] == "" {
		return
	}
	got, err := readFile(p.path(name))
	if states[c.key] != "conflict" || err != nil || !bytes.Equal(got, c.mine) {
		p.fail("%s: %s is not stored, and is %q here and reads %s, %v; all: %v", name, brief(c.mine), states[c.key], brief(got), err, all)
	}
}
