// Package model plays random histories on a mount that is written to, and holds all that is seen, and the bucket in the end, against a model in
// memory. The mount is a real one, of the built program, and its process is killed: between calls, and in the middle of them.
//
// The model knows one outcome of each call, but for what docs/semantics.md leaves open:
//
//   - A call that the kill came into was done, or not; a rename of something stored may have left both names, since it is a copy and a removal;
//     a write may have ended at any page.
//   - What was open for writing at the kill holds what was written last, if it was sealed since it was staged, or the stored version, if it was
//     staged from one. If it was never sealed it is gone, and an orphan; what it was to replace is there again.
//   - A directory with something stored below it, now or at any time since a listing may still show it, may answer rename with EXDEV.
//   - Calls that need the service may fail while it does: then they were done, or not, as with a kill. Lost answers are why.
//   - What was opened for reading when it was stored stays that version, or is ESTALE; what was staged then shows each change until it is stored.
//   - Names that others change at the server: see contest.
package model

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// Op is one step of a history: a call of a program on the mount, or what somebody else does at the server. What does not apply when
// its turn comes (a handle that is not open) is left out.
type Op struct {
	Do   string
	A, B string // paths below the history's directory
	Slot int    // of an open file
	Flag int    // of open: see flagWords; of times: seconds
	Off  int
	Size int
	Mode uint32
}

// What flags of open are made of.
const (
	openWrite = 1 << iota
	openCreate
	openExcl
	openTrunc
	openAppend
)

func (o Op) String() string {
	switch o.Do {
	case "open":
		words := []string{}
		for i, w := range []string{"write", "creat", "excl", "trunc", "append"} {
			if o.Flag&(1<<i) != 0 {
				words = append(words, w)
			}
		}
		return fmt.Sprintf("open %s %s -> #%d", o.A, strings.Join(words, "|"), o.Slot)
	case "pwrite":
		return fmt.Sprintf("pwrite #%d %d bytes at %d", o.Slot, o.Size, o.Off)
	case "ftruncate":
		return fmt.Sprintf("ftruncate #%d %d", o.Slot, o.Size)
	case "pread", "fsync", "close", "fstat":
		return fmt.Sprintf("%s #%d", o.Do, o.Slot)
	case "rename":
		return fmt.Sprintf("rename %s %s", o.A, o.B)
	case "truncate", "save", "append", "theirs-save", "theirs-append", "others-put":
		return fmt.Sprintf("%s %s %d", o.Do, o.A, o.Size)
	case "chmod":
		return fmt.Sprintf("chmod %s %o", o.A, o.Mode)
	case "times":
		return fmt.Sprintf("times %s %d", o.A, o.Flag)
	}
	return o.Do + " " + o.A
}

// Phase is what all histories of a campaign do between two events.
type Phase struct {
	Ops    [][]Op // by history
	Faults string // that the server has meanwhile
	Event  string // what ends it
	After  int    // event "struck": how many steps of all histories come before the kill
}

// Campaign is histories that run side by side on one mount, each in a directory of its own, and die together.
type Campaign struct {
	Quiet       string // how soon what was closed is uploaded
	Passthrough bool
	Phases      []Phase
}

func (c Campaign) histories() int { return len(c.Phases[0].Ops) }

// String lists the steps of each history.
func (c Campaign) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "quiet %s, passthrough %v\n", c.Quiet, c.Passthrough)
	for i, p := range c.Phases {
		fmt.Fprintf(&b, "phase %d: faults %q, then %s after %d\n", i, p.Faults, p.Event, p.After)
		for h, ops := range p.Ops {
			fmt.Fprintf(&b, "  h%02d:", h)
			for _, o := range ops {
				fmt.Fprintf(&b, " %v;", o)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Few names, so that they meet: each can be a file, a directory or a link.
func names() []string {
	return []string{"a", "b", "c", "d", "d/a", "d/b", "e", "e/a", "e/d", "e/d/a"}
}

// contested are names that others change at the server; only files, in the topmost directory.
func contested() []string { return []string{"x", "y"} }

// calls are what happens, as often as they stand here.
func calls() []string {
	text := strings.Repeat("save ", 10) + strings.Repeat("open ", 14) + strings.Repeat("pwrite ", 12) + strings.Repeat("close ", 9) +
		strings.Repeat("rename ", 10) + strings.Repeat("unlink ", 6) + strings.Repeat("mkdir ", 6) +
		"append append append truncate truncate ftruncate ftruncate fsync fsync fsync pread pread pread fstat rmdir rmdir rmdir symlink symlink " +
		"chmod chmod times times read read read list list " +
		"theirs-save theirs-save theirs-save theirs-append theirs-append theirs-read theirs-read theirs-unlink others-put others-put others-delete"
	return strings.Fields(text)
}

func genOp() *rapid.Generator[Op] {
	return rapid.Custom(func(t *rapid.T) Op {
		o := Op{Do: rapid.SampledFrom(calls()).Draw(t, "do")}
		path := rapid.SampledFrom(names())
		size := rapid.SampledFrom([]int{3, 0, 40, 4096, 5000, 70_000})
		switch o.Do {
		case "theirs-save", "theirs-append", "others-put":
			o.A, o.Size = rapid.SampledFrom(contested()).Draw(t, "name"), size.Draw(t, "size")
		case "theirs-read", "theirs-unlink", "others-delete":
			o.A = rapid.SampledFrom(contested()).Draw(t, "name")
		case "open":
			o.A, o.Slot = path.Draw(t, "path"), rapid.IntRange(0, 3).Draw(t, "slot")
			o.Flag = rapid.SampledFrom([]int{
				0, openWrite, openWrite | openCreate, openWrite | openCreate | openExcl, openWrite | openCreate | openTrunc, openWrite | openTrunc, openWrite | openCreate | openAppend,
			}).Draw(t, "flags")
		case "pwrite", "ftruncate":
			o.Slot, o.Size = rapid.IntRange(0, 3).Draw(t, "slot"), size.Draw(t, "size")
			o.Off = rapid.SampledFrom([]int{0, 2, 4095, 10_000}).Draw(t, "off")
		case "pread", "fsync", "close", "fstat":
			o.Slot = rapid.IntRange(0, 3).Draw(t, "slot")
		case "rename":
			o.A, o.B = path.Draw(t, "from"), path.Draw(t, "to")
		default:
			o.A, o.Size = path.Draw(t, "path"), size.Draw(t, "size")
			o.Mode = rapid.SampledFrom([]uint32{0o644, 0o600, 0o755}).Draw(t, "mode")
			o.Flag = rapid.IntRange(1, 5).Draw(t, "time")
		}
		return o
	})
}

// genCampaign makes campaigns of so many histories at most, each of 20 to 60 steps in all.
func genCampaign(histories int) *rapid.Generator[Campaign] {
	return rapid.Custom(func(t *rapid.T) Campaign {
		c := Campaign{
			Quiet:       rapid.SampledFrom([]string{"100ms", "20ms", "1s", "30s"}).Draw(t, "quiet"),
			Passthrough: rapid.Bool().Draw(t, "passthrough"),
		}
		phases := rapid.IntRange(2, 5).Draw(t, "phases")
		for i := range phases {
			p := Phase{
				Faults: rapid.SampledFrom([]string{"", "", "busy", "lost", "no uploads"}).Draw(t, "faults"),
				Event:  rapid.SampledFrom([]string{"struck", "kill", "struck", "kill", "drain", "umount", "term"}).Draw(t, "event"),
			}
			for range histories {
				p.Ops = append(p.Ops, rapid.SliceOfN(genOp(), 28/phases+1, 60/phases).Draw(t, "ops"))
			}
			if p.Event == "struck" {
				p.After = rapid.IntRange(1, histories*10).Draw(t, "after")
			}
			if i == phases-1 {
				p.Event, p.After = "end", 0
			}
			c.Phases = append(c.Phases, p)
		}
		return c
	})
}
