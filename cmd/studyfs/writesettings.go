package main

import (
	"fmt"
	"strings"
	"time"

	"studyfs/cache/stage"
	"studyfs/cache/stage/gate"
)

// durability is the name of a [stage.Durability], "" for the default.
type durability string

func (d durability) String() string { return string(d) }

// UnmarshalText reads a durability's name.
func (d *durability) UnmarshalText(text []byte) error {
	switch string(text) {
	case "local", "remote", "relaxed":
		*d = durability(text)
		return nil
	}
	return fmt.Errorf("%q is not a durability; write local, remote or relaxed", text)
}

func (d durability) level() stage.Durability {
	switch d {
	case "remote":
		return stage.Remote
	case "relaxed":
		return stage.Relaxed
	}
	return stage.Local
}

// bidsRules is the name of a [gate.Profile], "" for the default.
type bidsRules string

func (b bidsRules) String() string { return string(b) }

// UnmarshalText reads the name of a set of rules.
func (b *bidsRules) UnmarshalText(text []byte) error {
	switch string(text) {
	case "off", "bidsish", "strict":
		*b = bidsRules(text)
		return nil
	}
	return fmt.Errorf("%q is not a set of rules; write off, bidsish or strict", text)
}

func (b bidsRules) profile() gate.Profile {
	switch b {
	case "off":
		return gate.Off
	case "strict":
		return gate.Strict
	}
	return gate.Bidsish
}

// junkRule says what becomes of what desktops leave in folders, "" for the default.
type junkRule string

func (r junkRule) String() string { return string(r) }

// UnmarshalText reads a rule's name.
func (r *junkRule) UnmarshalText(text []byte) error {
	switch string(text) {
	case "keep-local", "upload":
		*r = junkRule(text)
		return nil
	}
	return fmt.Errorf("%q says nothing of junk; write keep-local or upload", text)
}

// accountID is the id of an AWS account.
type accountID string

func (i accountID) String() string { return string(i) }

// UnmarshalText reads an account's id, with or without the dashes that AWS's console shows.
func (i *accountID) UnmarshalText(text []byte) error {
	digits := strings.ReplaceAll(string(text), "-", "")
	if len(digits) != 12 || strings.Trim(digits, "0123456789") != "" {
		return fmt.Errorf("%q is not an account id; it has 12 digits (aws sts get-caller-identity shows it)", text)
	}
	*i = accountID(digits)
	return nil
}

// writeSpec is what a sourceSpec holds of a source that can be written to.
type writeSpec struct {
	Delete     bool          `json:"delete,omitempty"`
	Durability durability    `json:"durability,omitempty"`
	Class      string        `json:"class,omitempty"`
	BIDS       bidsRules     `json:"bids,omitempty"`
	Junk       junkRule      `json:"junk,omitempty"`
	Owner      accountID     `json:"owner,omitempty"`
	Unsafe     bool          `json:"unsafe,omitempty"`
	Parallel   int           `json:"parallel,omitempty"`
	Bandwidth  int64         `json:"bandwidth,omitempty"`
	Quota      int64         `json:"quota,omitempty"`
	Quiet      time.Duration `json:"quiet,omitempty"`
}

// durability is the level in force, by name.
func (w *writeSpec) durability() string {
	if w.Durability == "" {
		return "local"
	}
	return string(w.Durability)
}

// takesFiles tells the kinds of sources that can be written to.
func takesFiles(kind string) bool { return kind == kindS3 || kind == kindDir || kind == kindEcog }

// buildWrite says how a source is written to, nil for not at all: --read-only wins.
func (l *loaded) buildWrite(s sourceSpec, c sourceConfig) (*writeSpec, error) {
	if !c.Write {
		if l.given.flags["delete"] == "true" && !l.ReadOnly {
			return nil, usagef("--delete is for sources that are written to: add --write")
		}
		return nil, nil
	}
	if !takesFiles(c.Kind) {
		return nil, &failure{
			What: s.describe(), Why: "nothing can be written to a source of kind " + c.Kind + "; only s3, dir and ecog take files",
			Do: "leave out --write, or put write = true into the [source.NAME] of the configuration that is meant", Code: exitUsage,
		}
	}
	if c.Anonymous {
		return nil, &failure{What: s.describe(), Why: "nobody may write without keys", Do: "choose --write with keys (--profile), or --anonymous", Code: exitUsage}
	}
	if l.ReadOnly {
		return nil, nil
	}
	return &writeSpec{
		Delete: c.Delete, Durability: c.Durability, Class: c.StorageClass, BIDS: bidsOf(c), Junk: c.Junk, Owner: c.Owner, Unsafe: c.UnsafeOverwrite,
		Parallel: c.UploadParallel, Bandwidth: int64(c.UploadBandwidth), Quota: int64(c.StageSize), Quiet: time.Duration(c.Quiet),
	}, nil
}
