package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"studyfs/backends"
	"studyfs/backends/local"
)

// dirSpec is what a sourceSpec holds of a directory: a NAS, another disk.
type dirSpec struct {
	Path string `json:"path"` // absolute
}

// buildDir makes a source of dir:PATH.
func buildDir(name string, c sourceConfig, wrongURL int) (s sourceSpec, err error) {
	s = sourceSpec{Name: name, Kind: kindDir}
	rest, ok := strings.CutPrefix(c.URL, "dir:")
	if !ok || rest == "" {
		return s, &failure{What: s.describeName(), Why: quote(c.URL) + " names no directory", Do: "a directory is given as dir:PATH, such as dir:/mnt/nas/study", Code: wrongURL}
	}
	path, err := filepath.Abs(expandHome(rest))
	if err != nil {
		return s, &failure{What: c.URL, Why: lastCause(err), Code: wrongURL}
	}
	s.Dir = &dirSpec{Path: path}
	if s.Name == "" {
		s.Name = kindDir
		if base := filepath.Base(path); validFolder(base) {
			s.Name = base
		}
	}
	return s, nil
}

// connectDir opens a directory. One that is to be written to must be there now, since there is no way to tell an empty disk from none later.
func (m *mountServer) connectDir(ctx context.Context, s *liveSource) error {
	dir, err := local.New(local.Options{Dir: s.spec.Dir.Path, Now: time.Now})
	if err != nil {
		return err
	}
	if s.spec.Write != nil && !s.mayBeAway {
		if err := dir.Ready(ctx); err != nil {
			return err
		}
	}
	m.remember(s.spec, func(*known) {})
	near, end, err := decrypted(dir, s.spec, m.spec.places())
	if err != nil {
		return notDecrypted(s.spec, err)
	}
	s.remote, s.end = near, end
	return nil
}

// explainDir speaks of a directory whose disk is not there. "": something else is wrong.
func explainDir(s sourceSpec, err error) (why, do string) {
	mark := filepath.Join(s.Dir.Path, local.Reserved)
	switch {
	case errors.Is(err, backends.ErrUnreachable):
		return "its disk is not there: no folder has this name, or it holds no " + local.Reserved,
			"mount the disk. If it is mounted, say once that this is the place: mkdir " + quote(mark)
	case errors.Is(err, backends.ErrPermission):
		return "you may not use this directory", "ls -ld " + quote(s.Dir.Path) + " shows who may"
	}
	return "", ""
}
