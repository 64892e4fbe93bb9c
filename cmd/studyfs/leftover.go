package main

import "fmt"

// leftover is what a mount has not uploaded when it goes.
type leftover struct {
	Files   int   `json:"files"` // on their way
	Bytes   int64 `json:"bytes"` // of theirs
	Stalled int   `json:"stalled"`
	Open    int   `json:"open"` // never closed: orphans from now on
}

func (l *leftover) add(t heldByStage) {
	l.Files += t.Staged + t.Uploading
	l.Bytes += t.moving
	l.Stalled += t.Conflict + t.Parked + t.Failed + t.Orphan + t.Quarantined
	l.Open += t.Writing
}

// done tells that everything is stored.
func (l *leftover) done() bool { return l == nil || *l == leftover{} }

// lines tell a user about it, one by one.
func (l *leftover) lines() []string {
	var lines []string
	if l.done() {
		return nil
	}
	if l.Files > 0 {
		lines = append(lines, fmt.Sprintf("%s (%s) %s not uploaded yet; %s safe on this machine and %s on at the next mount, or: studyfs uploads run",
			countFiles(l.Files), humanBytes(l.Bytes), pick(l.Files, "is", "are"), pick(l.Files, "it is", "they are"), pick(l.Files, "goes", "go")))
	}
	if l.Open > 0 {
		lines = append(lines, fmt.Sprintf("%s still open and may not be complete; %s kept, and not uploaded by %s: studyfs uploads ls",
			countFiles(l.Open)+pick(l.Open, " was", " were"), pick(l.Open, "it is", "they are"), pick(l.Open, "itself", "themselves")))
	}
	if l.Stalled > 0 {
		lines = append(lines, fmt.Sprintf("%s %s for a decision of yours: studyfs uploads ls", countFiles(l.Stalled), pick(l.Stalled, "waits", "wait")))
	}
	return lines
}

// left is what the mount has not uploaded, nil where nothing is written.
func (m *mountServer) left() *leftover {
	var l *leftover
	for _, s := range m.sources {
		if s.writing == nil {
			continue
		}
		if l == nil {
			l = &leftover{}
		}
		l.add(s.writing.held())
	}
	return l
}

func countFiles(n int) string { return fmt.Sprintf("%d %s", n, pick(n, "file", "files")) }

// pick chooses between singular and plural.
func pick(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
