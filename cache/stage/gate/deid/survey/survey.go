// Package survey looks through the folders of a patient: which files get names by their code and order, when each begins, and which are left
// where they are, and why. It changes nothing.
//
// No error of this package holds a name.
package survey

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"studyfs/cache/stage/gate/deid"
)

// Reason is why a file is left where it is.
type Reason uint8

// The reasons.
const (
	OtherKind   Reason = iota // documents and whatever else may hold names
	Recorder                  // the recorder's own files name the patient inside
	NotAFile                  // a symbolic link, a pipe, …
	NoStart                   // it does not tell when it begins
	BeforeFirst               // a video of before the day from which days are counted
)

// String tells the reason in words that follow "left where they are: ".
func (r Reason) String() string {
	switch r {
	case Recorder:
		return "the recorder's own files: they name the patient inside"
	case NotAFile:
		return "links and other things that are no files"
	case NoStart:
		return "nothing in them tells when they begin"
	case BeforeFirst:
		return "videos of before the patient's first day"
	default:
		return "documents and other kinds that may hold names"
	}
}

// Found is a file that gets a name.
type Found struct {
	deid.File
	Origin Origin
	Size   int64
}

// Left is a file that does not.
type Left struct {
	Name   string
	Reason Reason
}

// Folder is a folder as it was, to be made again.
type Folder struct {
	Name string
	Mode fs.FileMode
}

// Survey is what the folders of a patient hold. Names are relative to the parent, with / between their parts.
type Survey struct {
	Files   []Found
	Left    []Left
	Folders []Folder // outer ones first
}

// ErrMount is returned where another file system is mounted in a folder: nothing can be renamed out of it.
var ErrMount = errors.New("another file system is mounted within")

// Look looks through folders of parent. Links are not followed. zone is that of the place where the files were recorded.
func Look(parent *os.Root, folders []string, zone *time.Location) (Survey, error) {
	l := &looker{root: parent, zone: zone, clips: map[string]time.Time{}}
	info, err := parent.Stat(".")
	if err != nil {
		return Survey{}, fmt.Errorf("look at the parent: %w", bare(err))
	}
	l.device = deviceOf(info)
	for _, folder := range folders {
		if err := fs.WalkDir(parent.FS(), folder, l.visit); err != nil {
			return Survey{}, fmt.Errorf("look through the folder: %w", bare(err))
		}
	}
	l.useClips()
	return l.Survey, nil
}

// bare takes the name out of an error.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func deviceOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev) //nolint:unconvert // 32 bits on macOS
	}
	return 0
}

type looker struct {
	Survey
	root   *os.Root
	zone   *time.Location
	device uint64
	clips  map[string]time.Time // of VTC files, by folder and name
}

func (l *looker) visit(name string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	info, err := d.Info()
	switch {
	case err != nil:
		return err
	case deviceOf(info) != l.device:
		return ErrMount
	case d.IsDir():
		l.Folders = append(l.Folders, Folder{Name: name, Mode: info.Mode().Perm()})
	case !info.Mode().IsRegular():
		l.Left = append(l.Left, Left{name, NotAFile})
	case strings.HasPrefix(path.Base(name), "."):
		l.Left = append(l.Left, Left{name, OtherKind})
	default:
		return l.file(name, info)
	}
	return nil
}

func (l *looker) file(name string, info fs.FileInfo) error {
	kind, ok := deid.KindOf(name)
	if !ok {
		l.Left = append(l.Left, Left{name, reasonOf(name)})
		return nil
	}
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if strings.EqualFold(path.Ext(name), ".vtc") {
		for _, c := range Clips(f, info.Size(), l.zone) {
			l.clips[clipKey(path.Dir(name), c.Name)] = c.Start
		}
	}
	start, origin, ok := Start(name, f, info.Size(), info.ModTime(), l.zone)
	if !ok {
		l.Left = append(l.Left, Left{name, NoStart})
		return nil
	}
	l.Files = append(l.Files, Found{File: deid.File{Name: name, Kind: kind, Start: start}, Origin: origin, Size: info.Size()})
	return nil
}

func reasonOf(name string) Reason {
	switch strings.ToLower(path.Ext(name)) {
	case ".eeg", ".ent", ".epo", ".erd", ".etc", ".stc", ".vt2":
		return Recorder
	}
	return OtherKind
}

func clipKey(dir, name string) string { return dir + "\x00" + strings.ToLower(name) }

// useClips takes the starts of videos from the VTC files beside them: these are the recorder's own, and to the tenth of a microsecond.
func (l *looker) useClips() {
	for i := range l.Files {
		f := &l.Files[i]
		if start, ok := l.clips[clipKey(path.Dir(f.Name), path.Base(f.Name))]; ok && f.Kind == deid.Video {
			f.Start, f.Origin = start, Contents
		}
	}
}

// Without leaves those videos that begin before the first day of a history.
func (s *Survey) Without(h deid.History) {
	s.Files = slices.DeleteFunc(s.Files, func(f Found) bool {
		early := f.Kind == deid.Video && h.Precedes(f.Start)
		if early {
			s.Left = append(s.Left, Left{f.Name, BeforeFirst})
		}
		return early
	})
}
