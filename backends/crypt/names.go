package crypt

import (
	"strconv"
	"strings"

	"studyfs/backends"
)

// kind is how an object lies in the source below.
type kind uint8

const (
	plain kind = iota
	aged
	des
	locked
)

// suffix is what the stored name has and the shown one has not.
func (k kind) suffix() string {
	switch k {
	case aged:
		return ".age"
	case des:
		return ".enc"
	case locked:
		return ".lock"
	default:
		return ""
	}
}

// rank tells which of several objects stands for a name: the one with the highest. What studyfs itself has written comes first,
// since it may have taken the place of the others; a plain object before old ciphertexts, since nobody can doubt its bytes.
func (k kind) rank() int { return [...]int{plain: 2, aged: 3, des: 1, locked: 0}[k] }

// The smallest objects that can be of a kind: shorter ones are shown as they are.
const (
	minAge  = 100
	minDES  = 16
	minLock = 4 + 2 + 16
)

// kindOf tells how an object of that stored name and size is read. legacy: there is a password.
func kindOf(name string, size int64, legacy bool) kind {
	_, base := backends.Split(name)
	is := func(k kind) bool { return len(base) > len(k.suffix()) && strings.HasSuffix(base, k.suffix()) }
	switch {
	case is(aged) && size >= minAge:
		return aged
	case is(des) && legacy && size >= minDES && size%8 == 0:
		return des
	case is(locked) && legacy && size >= minLock:
		return locked
	}
	return plain
}

// shown is the entry of a stored object as this source shows it.
func (k kind) shown(in backends.Entry, size int64) backends.Entry {
	if k == plain || in.Dir {
		return in
	}
	e := in
	e.Name = strings.TrimSuffix(in.Name, k.suffix())
	e.Version = in.Version + "+" + k.suffix()[1:] + ":" + strconv.FormatInt(in.Size, 10)
	e.Size = size
	return e
}

// stored takes an entry of this source back to the stored object.
func stored(e backends.Entry) (kind, backends.Entry) {
	at := strings.LastIndexByte(e.Version, '+')
	if e.Dir || at < 0 {
		return plain, e
	}
	tag, number, _ := strings.Cut(e.Version[at+1:], ":")
	size, err := strconv.ParseInt(number, 10, 64)
	for _, k := range []kind{aged, des, locked} {
		if err != nil || size < 0 || tag != k.suffix()[1:] {
			continue
		}
		in := e
		in.Name, in.Version, in.Size = e.Name+k.suffix(), e.Version[:at], size
		return k, in
	}
	return plain, e
}

// keyOf is under what is remembered of a version.
func keyOf(e backends.Entry) string { return e.Name + "\x00" + e.Version }
