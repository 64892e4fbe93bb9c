package route

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/minio/crc64nvme"

	"studyfs/backends"
)

// A manifest is an object at a target for copies: DIR/DIR.manifest.jsonl for all files below a folder of the root (a patient), and
// manifest.jsonl for those of the root itself. Each line is a [Record]. It is not part of the tree.
const manifestEnd = "manifest.jsonl"

// manifestName is the name of a manifest. Where the one before cannot be read, more is the name of another beside it.
func manifestName(dir, more string) string {
	name := manifestEnd
	if more != "" {
		name = "manifest-" + more + ".jsonl"
	}
	if dir == "" {
		return name
	}
	return dir + "/" + dir + "." + name
}

// isManifest reports whether a name is that of a manifest: no file can have it.
func isManifest(name string) bool {
	base := name
	if dir, rest, below := strings.Cut(name, "/"); below {
		if base, below = strings.CutPrefix(rest, dir+"."); !below {
			return false
		}
	}
	return base == manifestEnd || strings.HasPrefix(base, "manifest-") && strings.HasSuffix(base, ".jsonl") && !strings.Contains(base, "/")
}

const (
	maxManifest   = 256 << 20
	manifestTries = 5 // others write it, too
)

// Run brings manifests up to date, until ctx ends: at once what an earlier process left, and then every Options.Every.
func (s *Source) Run(ctx context.Context) {
	t := time.NewTicker(s.o.Every)
	defer t.Stop()
	for {
		if err := s.Flush(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.WarnContext(ctx, "a manifest cannot be written now", "lacking", s.notes.left(), "target", targetOf(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// targetOf is what may be logged of an error.
func targetOf(err error) string {
	if t, ok := errors.AsType[*backends.TargetError](err); ok {
		return t.Target
	}
	return ""
}

// Flush returns when the manifests hold all that is stored. What fails now is tried again by Run, or by the next process.
func (s *Source) Flush(ctx context.Context) error {
	if s.notes.left() == 0 {
		return nil
	}
	free, err := s.own(ctx, "") // one at a time; no file has this name
	if err != nil {
		return err
	}
	defer free()
	return s.each(s.copies(), func(_, i int) error {
		var all error
		for dir, records := range s.notes.lacking(i) {
			err := s.writeManifest(ctx, i, dir, records)
			if err == nil {
				err = s.notes.told(i, records)
			}
			all = errors.Join(all, err)
		}
		return all
	})
}

// Lacking is how many files the manifests do not hold yet.
func (s *Source) Lacking() int { return s.notes.left() }

// writeManifest adds records to a manifest.
func (s *Source) writeManifest(ctx context.Context, i int, dir string, records []Record) error {
	for range manifestTries {
		old, all, err := s.readManifest(ctx, i, dir)
		name := manifestName(dir, "")
		if errors.Is(err, backends.ErrPermission) || errors.Is(err, backends.ErrArchived) || errors.Is(err, backends.ErrReadOnly) {
			// A machine may well have the public key only: then it cannot read what it wrote, and goes on beside it.
			name, old, all, err = manifestName(dir, strings.ToLower(rand.Text()[:10])), backends.Entry{}, map[string]Record{}, nil
		}
		if err != nil {
			return err
		}
		if !merge(all, records) {
			return nil
		}
		text, err := manifestText(all)
		if err != nil {
			return err
		}
		w, err := s.writer(i)
		if err != nil {
			return err
		}
		_, err = w.Put(ctx, backends.Upload{
			Name: name, Size: int64(len(text)), Old: old, Meta: map[string]string{metaBy: s.by},
			CRC64NVME: crc64nvme.Checksum(text),
		}, bytes.NewReader(text))
		if !errors.Is(err, backends.ErrChanged) {
			return err
		}
	}
	return fmt.Errorf("manifest: %w: others go on writing it", backends.ErrBusy)
}

// merge adds records to what is known, and reports whether anything is new.
func merge(all map[string]Record, records []Record) bool {
	changed := false
	for _, r := range records {
		old, ok := all[r.Name]
		if ok {
			r = newer(old, r)
		}
		if ok && r.Time.Equal(old.Time) && r.Removed == old.Removed {
			continue
		}
		all[r.Name], changed = r, true
	}
	return changed
}

// readManifest reads what lies there; nothing is an empty one.
func (s *Source) readManifest(ctx context.Context, i int, dir string) (backends.Entry, map[string]Record, error) {
	none := map[string]Record{}
	now, err := s.look(ctx, i, manifestName(dir, ""))
	if err != nil || !now.there || now.Entry.Size == 0 {
		return now.Entry, none, err
	}
	if now.Entry.Size > maxManifest {
		return now.Entry, none, fmt.Errorf("manifest: %w", backends.ErrTooLarge)
	}
	r, err := s.o.Targets[i].Source.ReadRange(ctx, now.Entry, 0, now.Entry.Size)
	if err != nil {
		return now.Entry, none, err
	}
	text, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return now.Entry, none, err
	}
	all, err := ReadManifest(bytes.NewReader(text))
	return now.Entry, all, err
}
