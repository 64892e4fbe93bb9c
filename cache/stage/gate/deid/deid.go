// Package deid makes codes for patients, and plans under which names their files go on: in the order in which they were recorded, and so
// that none replaces another. It moves nothing, touches no disk, and keeps no state.
//
// No error of this package holds a name: files are told by their place in the list that was given.
package deid

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"studyfs/cache/stage/gate/edf"
)

// LeastSecret is how many bytes a secret must have. Names of patients are few: with a secret that can be guessed, so can they.
const LeastSecret = 16

// ErrSecret is returned for secrets that are too short.
var ErrSecret = errors.New("the secret is too short: it needs at least 16 random bytes")

// NewCode returns the code of a patient: eight hexadecimal digits, the first a letter. The same secret and patient (any text that tells them
// apart, such as the record number; case and spaces around it do not matter) make the same code, as long as taken says the same; who does
// not have the secret cannot tell whose it is. taken reports whether a code is another patient's; nil stands for never.
func NewCode(secret []byte, patient string, taken func(code string) bool) (string, error) {
	if len(secret) < LeastSecret {
		return "", ErrSecret
	}
	patient = strings.ToLower(strings.TrimSpace(patient))
	if patient == "" {
		return "", errors.New("there is nothing that tells the patient")
	}
	const most = 10000 // one in 2.7 begins with a letter
	for try := range most {
		mac := hmac.New(sha256.New, secret)
		_, _ = mac.Write([]byte("studyfs code\x00" + strconv.Itoa(try) + "\x00" + patient)) // a hash takes all
		code := hex.EncodeToString(mac.Sum(nil)[:4])
		if edf.IsCode(code) && (taken == nil || !taken(code)) {
			return code, nil
		}
	}
	return "", errors.New("all codes are taken")
}

// Kind says where a file goes.
type Kind uint8

// The kinds.
const (
	Recording Kind = iota // all in one folder, counted from 1: c0ffee12_edf/c0ffee12_3.edf
	Video                 // in a folder for each day, counted from 0: c0ffee12/c0ffee12_4/c0ffee12_4_0012.avi
	Text                  // what the recorder exports beside a recording, counted as they are: c0ffee12_snc/c0ffee12_3.snc
)

// File is a file of one patient.
type File struct {
	Name  string // as it is now; any path, with / between its parts
	Kind  Kind
	Start time.Time // when it begins, in the time of the place where it was recorded
}

// Move is one renaming. Neither name is that of another move.
type Move struct{ From, To string }

// History is what a patient's files were called before, so that more of them go on behind it. The zero value says: nothing.
type History struct {
	First  time.Time            // midnight of day 0 by the clock of the place, called UTC
	Counts map[string]int       // how many names were given, by series: recordings, videos of a day, texts of an extension
	Last   map[string]time.Time // when the last file of a series begins
}

// Planned is a plan, and what is to be remembered of it.
type Planned struct {
	Moves []Move
	After History // where the next plan for this patient goes on
	Late  int     // files that begin before one of an earlier plan: their numbers do not tell their order
}

// Plan gives the files of one patient their names. Each kind is ordered by start; what starts at the same time, by name; videos begin with
// number 0 each day, and days are counted from that of the earliest file of all. exists reports whether there is something under a name. A
// plan never leads over what exists, nor over a file that is still to be moved; where it would, there is no plan but an error, and so the
// moves can be done in any order, and again after being interrupted: those that were done are known by From being gone.
func Plan(code string, files []File, exists func(name string) bool) ([]Move, error) {
	p, err := Continue(code, files, History{}, exists)
	return p.Moves, err
}

// Continue is [Plan] for a patient of whom files were renamed before: it counts on from there. before is not changed. No video may begin
// before the first day.
func Continue(code string, files []File, before History, exists func(name string) bool) (Planned, error) {
	if !edf.IsCode(code) {
		return Planned{}, errors.New("the code is not eight hexadecimal digits that begin with a letter")
	}
	order, err := ordered(files)
	if err != nil {
		return Planned{}, err
	}
	p := planner{code: code, counts: map[string]int{}, last: map[string]time.Time{}, first: before.First}
	maps.Copy(p.counts, before.Counts)
	maps.Copy(p.last, before.Last)
	from, to := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		from[f.Name] = true
	}
	var moves []Move
	for _, i := range order {
		f := files[i]
		if p.first.IsZero() { // the earliest comes first
			p.first = midnight(f.Start)
		}
		if f.Kind == Video && before.Precedes(f.Start) {
			return Planned{}, fmt.Errorf("file %d begins before the first day of the patient. Nothing was planned", i+1)
		}
		name := p.name(f)
		if to[name] || from[name] || exists != nil && exists(name) {
			return Planned{}, fmt.Errorf("file %d would get a name that another file has. Nothing was planned", i+1)
		}
		to[name] = true
		moves = append(moves, Move{From: f.Name, To: name})
	}
	return Planned{Moves: moves, After: History{First: p.first, Counts: p.counts, Last: p.last}, Late: p.late}, nil
}

// Precedes reports whether a time lies before the day from which days are counted: no video of it can have a name.
func (h History) Precedes(t time.Time) bool { return !h.First.IsZero() && midnight(t).Before(h.First) }

// ordered returns the numbers of the files by start.
func ordered(files []File) ([]int, error) {
	seen := map[string]int{}
	order := make([]int, len(files))
	for i, f := range files {
		order[i] = i
		if j, twice := seen[f.Name]; twice {
			return nil, fmt.Errorf("files %d and %d are the same", j+1, i+1)
		}
		seen[f.Name] = i
		if f.Start.IsZero() {
			return nil, fmt.Errorf("file %d does not tell when it begins", i+1)
		}
		if f.Kind > Text || extension(f.Name) == "" {
			return nil, fmt.Errorf("file %d is of no known kind", i+1)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(files[a].Start.Compare(files[b].Start), cmp.Compare(files[a].Name, files[b].Name))
	})
	return order, nil
}

// planner counts while names are given.
type planner struct {
	code   string
	first  time.Time
	counts map[string]int
	last   map[string]time.Time
	late   int
}

func (p *planner) name(f File) string {
	ext := extension(f.Name)
	switch f.Kind {
	case Video:
		day := fmt.Sprintf("%s_%d", p.code, int(midnight(f.Start).Sub(p.first).Hours()+0.5)/24)
		return fmt.Sprintf("%s/%s/%s_%04d%s", p.code, day, day, p.count(day, f.Start), ext)
	case Text:
		return fmt.Sprintf("%s_%s/%s_%d%s", p.code, ext[1:], p.code, p.count(ext, f.Start)+1, ext)
	default:
		return fmt.Sprintf("%s_edf/%s_%d%s", p.code, p.code, p.count("", f.Start)+1, ext)
	}
}

// count counts from 0.
func (p *planner) count(of string, start time.Time) int {
	if start.Before(p.last[of]) {
		p.late++
	} else {
		p.last[of] = start
	}
	p.counts[of]++
	return p.counts[of] - 1
}

// midnight returns the day of a time by the clock that it was told by.
func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

// KindOf returns where a file goes by the end of its name; false where that is of no kind that gets a name here.
func KindOf(name string) (Kind, bool) {
	switch extension(name) {
	case "":
		return 0, false
	case ".edf", ".bdf":
		return Recording, true
	case ".snc", ".vtc", ".txt", ".csv":
		return Text, true
	}
	return Video, true
}

// extension returns the end of a name in small letters; "" if it has none that may be kept: it could be a part of a name.
func extension(name string) string {
	i := strings.LastIndexAny(name, "./")
	if i < 0 || name[i] != '.' {
		return ""
	}
	switch ext := strings.ToLower(name[i:]); ext {
	case ".edf", ".bdf", ".avi", ".mp4", ".mkv", ".mov", ".mpg", ".wmv", ".snc", ".vtc", ".txt", ".csv":
		return ext
	}
	return ""
}

// Pair finds for each file of a the one of b that begins nearest to it, at most so long before or after, such as VTC and SNC exports within ten
// minutes. It returns the numbers in b by the numbers in a, from 0; -1 where there is none. It is an error if two of a would get the same,
// for then nobody can tell which is meant.
func Pair(a, b []File, within time.Duration) ([]int, error) {
	pairs := make([]int, len(a))
	owner := map[int]int{}
	for i, f := range a {
		pairs[i] = -1
		least := within
		for j, g := range b {
			if d := f.Start.Sub(g.Start).Abs(); d <= least && (pairs[i] < 0 || d < least) {
				pairs[i], least = j, d
			}
		}
		if pairs[i] < 0 {
			continue
		}
		if other, taken := owner[pairs[i]]; taken {
			return nil, fmt.Errorf("files %d and %d both belong to file %d of the others", other+1, i+1, pairs[i]+1)
		}
		owner[pairs[i]] = i
	}
	return pairs, nil
}
