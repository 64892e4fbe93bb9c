package fs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
	"studyfs/cache"
	"studyfs/cache/stage"
)

// lab is a writable tree of a served mount: a source in memory, its stage, and an uploader that works when it is told.
type lab struct {
	name  string
	src   *mem.Source
	store *cache.Store
	stage *stage.Stage
}

// openLab makes the writable tree of a setup.
func (s *server) openLab(c *cache.Cache, name, dir string) (Tree, error) {
	l := &lab{name: name, src: mem.New(0)}
	for _, obj := range s.o.Objects {
		l.src.PutBytes(obj.Name, l.body(obj))
	}
	var err error
	l.store, err = c.Open(testContext(), l.src, cache.SourceOptions{
		Dir: dir, SmallFile: 1 << 20,
		TTL:     func(string, time.Time) time.Duration { return time.Duration(s.ttl.Load()) },
		Changed: func(c backends.Change) { s.fs.Changed(name, c) },
	})
	if err != nil {
		return Tree{}, err
	}
	quiet := time.Hour
	if s.o.Eager {
		quiet = time.Millisecond
	}
	l.stage, err = stage.Open(stage.Options{
		Dir: filepath.Join(dir, "stage"), Reserve: -1, Quiet: quiet, Quota: s.o.Quota, Key: s.o.StageKey,
		Changed: func(c backends.Change) { s.fs.Changed(name, c) },
	})
	if err != nil {
		return Tree{}, err
	}
	if s.o.Eager {
		u := stage.NewUploader(stage.UploaderOptions{
			Stage: l.stage, Dst: l.src, Listed: l.store.Put, Gone: l.store.Gone,
			Stored: func(e backends.Entry, local string) bool { return l.store.Adopt(e, local) }, StoredBytes: l.store.AdoptBytes,
		})
		go u.Run(testContext()) // ends with the process
	}
	if s.labs == nil {
		s.labs = map[string]*lab{}
	}
	s.labs[name] = l
	return Tree{Name: name, Store: l.store, Stage: l.stage, Writer: l.src, Delete: s.o.Delete}, err
}

func (*lab) body(obj object) []byte {
	if strings.HasSuffix(obj.Name, stage.LinkSuffix) {
		return []byte(obj.Link)
	}
	return content(obj.Name, obj.Version, 0, obj.Size)
}

// do runs the commands that only writable trees have.
func (l *lab) do(cmd []string) string {
	switch cmd[0] {
	case "upload":
		return fmt.Sprint(l.upload())
	case "wait":
		ctx, cancel := context.WithTimeout(testContext(), time.Minute)
		defer cancel()
		return fmt.Sprint(l.stage.Wait(ctx, ""))
	case "objects":
		return strconv.Quote(strings.Join(l.objects(), " "))
	case "object":
		b, ok := l.src.Bytes(cmd[2])
		return fmt.Sprint(strconv.Quote(string(b)), " ", ok)
	case "requests":
		return strconv.Itoa(len(l.src.Log()))
	case "set": // as another client of the source does
		l.src.PutBytes(cmd[2], []byte(cmd[3]))
	case "known":
		info, ok := l.stage.Lookup(cmd[2])
		return fmt.Sprint(info.State, " ", info.Open, " ", ok)
	case "conflict":
		return fmt.Sprint(l.end(func(j *stage.Job) error { return j.Conflict("another version lies there") }))
	default:
		return "?"
	}
	return "ok"
}

func (l *lab) objects() []string {
	page, err := l.src.WalkPage(testContext(), "", "")
	if err != nil {
		return []string{err.Error()}
	}
	var names []string
	for _, e := range page.Entries {
		name := e.Name
		if e.Dir {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// upload stores all that can be stored now.
func (l *lab) upload() error { return l.end(l.put) }

func (l *lab) end(each func(*stage.Job) error) error {
	for {
		l.stage.Hasten()
		ctx, cancel := context.WithTimeout(testContext(), 300*time.Millisecond)
		j, err := l.stage.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err == nil {
			err = each(j)
		}
		if err != nil {
			return err
		}
	}
}

func (l *lab) put(j *stage.Job) error {
	u := backends.Upload{Name: j.Name, Size: j.Size, Old: j.Base, Dir: j.Kind == stage.Dir, CRC64NVME: j.CRC64NVME, Meta: stage.Meta(j.Attr)}
	var e backends.Entry
	var err error
	switch {
	case j.Touch:
		e, err = l.src.Copy(testContext(), j.Base, u)
	case j.Kind == stage.Link:
		u.Name += stage.LinkSuffix
		e, err = l.src.Put(testContext(), u, strings.NewReader(j.Target))
	case j.Kind == stage.Dir:
		e, err = l.src.Put(testContext(), u, strings.NewReader(""))
	default:
		e, err = l.src.Put(testContext(), u, j.Body())
	}
	if errors.Is(err, backends.ErrChanged) {
		return j.Conflict("another version lies there")
	}
	if err != nil {
		return errors.Join(err, j.Fail(err.Error()))
	}
	l.store.Put(e)
	return j.Stored(e, func(local string, e backends.Entry) bool {
		if local == "" {
			return l.store.AdoptBytes(e, j.Body())
		}
		return l.store.Adopt(e, local)
	})
}
