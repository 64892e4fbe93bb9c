package cache

import (
	"time"

	"studyfs/backends"
)

// modSlack is how far the time that a service lists an object with may lie behind the one with which it answered the upload. It may lie
// before it by any length: of an object sent in parts it is when the first of them began.
const modSlack = 15 * time.Minute

// settle returns k with the time under which the same version was put from here: that a listing rounds it, or has it from another
// clock, is no change.
func (k kid) settle(old kid) kid {
	if !old.put || old.version != k.version || old.size != k.size || k.mod.After(old.mod.Add(modSlack)) {
		return k
	}
	k.mod, k.put = old.mod, true
	return k
}

// open returns what is known of dir, to be added to.
func (x *index) open(dir string, now time.Time) *dirInfo {
	d := x.dirs[dir]
	if d == nil {
		d = &dirInfo{at: now}
		x.dirs[dir] = d
	}
	x.clock++
	d.used = x.clock
	return d
}

// put takes in that e is there, and all directories above it. What is returned was in its place with other bytes.
func (x *index) put(e backends.Entry, now time.Time, expired func(string, *dirInfo) bool) []backends.Entry {
	if e.Dir {
		x.putDir(e.Name, e.ModTime, now, expired)
		return nil
	}
	dir, _ := backends.Split(e.Name)
	x.putDir(dir, time.Time{}, now, expired)
	x.dropIfEmpty(e.Name, now)
	d, k := x.open(dir, now), kidOf(e)
	k.put = true
	var replaced []backends.Entry
	old, there := d.search(k.key)
	switch {
	case there && old.version != k.version:
		replaced = append(replaced, old.entry(dir))
	case there:
		k = k.settle(old)
	}
	x.set(d, k.key, []kid{k})
	return replaced
}

// set puts one kid, or none, where key is or would be.
func (x *index) set(d *dirInfo, key string, kids []kid) {
	d.unsee(key)
	from, there := d.kids.search(key)
	to := from
	if there {
		to++
	}
	x.kids += len(kids) - (to - from)
	if len(kids) > 0 || there {
		d.kids = d.kids.replace(from, to, kids)
	}
	d.known = addInterval(d.known, interval{key, next(key)})
}

// putDir takes in that dir is there, with all above it. Where a listing that is still believed shows that it was not, it is new, and
// all that lies below it is what is put there.
func (x *index) putDir(dir string, mod, now time.Time, expired func(string, *dirInfo) bool) {
	if dir == "" {
		return
	}
	parent, base := backends.Split(dir)
	x.putDir(parent, time.Time{}, now, expired)
	d, key := x.open(parent, now), base+"/"
	if _, there := d.search(key); there {
		d.known = addInterval(d.known, interval{key, next(key)})
		return
	}
	isNew := d.covers(key) && !expired(parent, d)
	x.set(d, key, []kid{{key: key, mod: mod}})
	if isNew && x.dirs[dir] == nil {
		x.dirs[dir] = &dirInfo{known: []interval{{"", top}}, at: d.at, used: x.clock}
	}
}

// drop takes in that name was deleted, and returns the file that it was, and the child key of what it was. A directory below which
// something is known stays: only what stood for the empty one is gone. So does one whose last child goes.
func (x *index) drop(name string, now time.Time) (removed []backends.Entry, key string) {
	dir, key := backends.Split(name)
	d := x.open(dir, now)
	old, there := d.search(key)
	if !there {
		if _, isDir := d.search(key + "/"); isDir {
			return nil, x.dropIfEmpty(name, now)
		}
	} else {
		removed = append(removed, old.entry(dir))
	}
	x.set(d, key, nil)
	return removed, key
}

// dropIfEmpty takes away a directory below which nothing is known, and returns its child key, or "".
func (x *index) dropIfEmpty(name string, now time.Time) string {
	dir, base := backends.Split(name)
	d, key := x.open(dir, now), base+"/"
	old, there := d.search(key)
	if !there {
		return ""
	}
	if below := x.dirs[name]; below != nil {
		for k := range below.kids.all() {
			if below.covers(k.key) {
				return ""
			}
		}
		x.gone(dir, old, &diff{}) // what is left there of older listings
	}
	x.set(d, key, nil)
	return key
}
