package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"studyfs/backends"
	"studyfs/backends/beiwe"
	"studyfs/backends/crypt/cryptease"
	"studyfs/cache"
	"studyfs/cmd/studyfs/audit"
)

func (a *app) exportCommand() *cobra.Command {
	var studies, people []string
	c := &cobra.Command{
		Use: "export beiwe:SECTION DIR", Short: "copy Beiwe studies to a directory, as mano's downloader lays them out",
		Long: `Copies what the source shows to DIR/STUDY/PARTICIPANT/STREAM/..., where files that are there already and have not changed are
left alone. Streams named with --lock are written as .lock files, encrypted with the study's passphrase from SECRETS in the
keyring, as msync.save(lock=...) of mano does; cryptease opens them. Beside each participant's streams lies .registry, the
server's own names and hashes of the files.

Exit code 3: some files could not be fetched; the others are there.`,
		Example: "  studyfs export beiwe:beiwe.onnela ~/data --lock gps,audio_recordings --since 2026-10-01\n" +
			"  studyfs export beiwe: ~/data --study \"Sleep 2026\" --streams survey_answers",
		ValidArgsFunction: a.completeSources,
		Args:              exactly(2, "a source and a directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.export(args[0], args[1], studies, people)
		},
	}
	a.sourceFlags(c)
	c.Flags().StringSliceVar(&studies, "study", nil, "only these studies")
	c.Flags().StringSliceVar(&people, "participant", nil, "only these participants")
	return c
}

// exporter copies one source.
type exporter struct {
	source          *liveSource
	remote          *beiwe.Source
	out             string
	studies, people []string
	lock            []string
	secrets         map[string]backends.Secret

	ctx      context.Context //nolint:containedctx // of the one export
	keys     map[string]lockKey
	registry map[string]string // of the participant at hand
	copied   int
	bytes    int64
	same     int
	failed   []string
}

// lockKey is what locks the files of one study: derived once, since each derivation takes a tenth of a second.
type lockKey struct{ key, salt []byte }

func (a *app) export(source, dir string, studies, people []string) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	spec, _, err := l.parseSource(source)
	if err != nil {
		return err
	}
	if spec.Beiwe == nil {
		return usagef("export: %s is not a Beiwe source; files of others can be copied out of a mount", source)
	}
	out, err := absolute(dir)
	if err != nil {
		return err
	}
	m, err := l.newMountSpec(out, []sourceSpec{spec})
	if err == nil {
		err = newCacheKeys(l.env, m.places()).fill(m.Sources)
	}
	if err != nil {
		return err
	}
	x := &exporter{out: out, studies: studies, people: people, lock: spec.Beiwe.Lock, keys: map[string]lockKey{}}
	if len(x.lock) > 0 {
		if x.secrets, err = spec.Beiwe.lockSecrets(); err != nil {
			return err
		}
	}
	ctx, release := interruptible()
	defer release()
	return a.runExport(ctx, x, m)
}

// lockSecrets are the passphrases that studies lock their files with.
func (b *beiweSpec) lockSecrets() (map[string]backends.Secret, error) {
	if b.Section == "" {
		return nil, &failure{
			What: "--lock", Why: "the BEIWE_* variables hold no passphrase to lock with",
			Do: "use a keyring whose section has SECRETS: beiwe:SECTION", Code: exitConfig,
		}
	}
	return b.secrets, nil
}

func (a *app) runExport(ctx context.Context, x *exporter, m *mountSpec) error {
	log := newLogger(a.err, max(m.LogLevel, slog.LevelWarn), secretsOf(m.Sources))
	server := &mountServer{spec: m, log: log, started: time.Now()}
	server.cache = cache.New(cache.Options{MaxBytes: m.CacheSize, Memory: m.Memory, Now: time.Now, Log: log})
	var notice string
	var err error
	if server.audit, notice, err = openAudit(m.places(), "", m.AuditDays, m.Sources); err != nil {
		return err
	}
	if notice != "" {
		a.say(notice)
	}
	defer server.audit.close() //nolint:errcheck // what cannot be noted any more was done
	x.ctx, x.source = ctx, &liveSource{spec: m.Sources[0], audit: server.audit}
	err = server.openSource(ctx, x.source)
	defer func() {
		if err := x.source.close(); err != nil { //nolint:contextcheck // it must save whatever was cancelled
			log.WarnContext(ctx, "saving the cache", "err", err)
		}
	}()
	if err != nil {
		return err
	}
	x.remote, _ = x.source.remote.(*beiwe.Source)
	if err := x.run(); err != nil {
		return err
	}
	a.say(fmt.Sprintf("exported %d files (%s) to %s; %d were there already", x.copied, humanBytes(x.bytes), x.out, x.same))
	if len(x.failed) > 0 {
		for _, text := range x.failed[:min(len(x.failed), 10)] {
			a.say(text)
		}
		a.say(fmt.Sprintf("%d could not be fetched; run it again to try them again", len(x.failed)))
		return statusError(exitPartial)
	}
	return nil
}

// run copies all studies that are wanted.
func (x *exporter) run() error {
	all, err := x.source.store.List(x.ctx, "")
	if err != nil {
		return explainSource(x.source.spec, err)
	}
	found := 0
	for _, study := range all {
		if len(x.studies) > 0 && !slices.Contains(x.studies, study.Name) {
			continue
		}
		found++
		people, err := x.source.store.List(x.ctx, study.Name)
		if err != nil {
			return explainSource(x.source.spec, err)
		}
		for _, p := range people {
			_, id := backends.Split(p.Name)
			if len(x.people) > 0 && !slices.Contains(x.people, id) {
				continue
			}
			if err := x.person(p.Name); err != nil {
				return err
			}
		}
	}
	if found == 0 && len(x.studies) > 0 {
		return &failure{What: strings.Join(x.studies, ", "), Why: "no such study", Do: "studyfs mount shows which there are", Code: exitError}
	}
	return nil
}

// person copies one participant and then notes the server's names of what came.
func (x *exporter) person(name string) error {
	x.registry = map[string]string{}
	if err := x.folder(name); err != nil {
		return err
	}
	return x.saveRegistry(filepath.Join(x.out, filepath.FromSlash(name), ".registry"))
}

// folder copies a directory and all below it. An error is one of the local disk, or the user's leaving; what the server cannot give is noted.
func (x *exporter) folder(name string) error {
	entries, err := x.source.store.List(x.ctx, name)
	if err != nil {
		return x.miss(name, err)
	}
	for _, e := range entries {
		if e.Dir {
			err = x.folder(e.Name)
		} else {
			err = x.file(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// miss notes what could not be fetched.
func (x *exporter) miss(name string, err error) error {
	if x.ctx.Err() != nil {
		return x.ctx.Err()
	}
	x.failed = append(x.failed, name+": "+lastCause(err))
	return nil
}

// file copies one file, unless it is there already: same size, same time.
func (x *exporter) file(e backends.Entry) error {
	target, size := filepath.Join(x.out, filepath.FromSlash(e.Name)), e.Size
	key, locked, err := x.lockOf(e.Name)
	if err != nil {
		return err
	}
	if locked {
		target, size = target+".lock", size+cryptease.Overhead
	}
	if chunk, hash := x.remote.ServerName(e.Name); chunk != "" {
		x.registry[chunk] = hash
	}
	if info, err := os.Stat(target); err == nil && info.Size() == size && info.ModTime().Equal(e.ModTime) {
		x.same++
		return nil
	}
	r, err := x.source.store.Open(x.ctx, e)
	if err != nil {
		return x.miss(e.Name, err)
	}
	defer r.Close() //nolint:errcheck // only read
	source := &readerOf{ctx: x.ctx, r: r}
	err = replaceFile(target, e.ModTime, func(w io.Writer) error {
		if !locked {
			_, err := io.Copy(w, source)
			return err
		}
		iv := make([]byte, 16)
		rand.Read(iv)
		return cryptease.Seal(w, source, key.key, key.salt, iv)
	})
	if source.err != nil {
		return x.miss(e.Name, source.err)
	}
	if err != nil {
		return &failure{What: target, Why: lastCause(err), Code: exitIO}
	}
	x.source.audit.did(x.source.spec, audit.Event{Op: audit.OpExport, Name: e.Name, Bytes: max(e.Size, 0)})
	x.copied++
	x.bytes += e.Size
	return nil
}

// lockOf tells whether a file is to be locked, and with what.
func (x *exporter) lockOf(name string) (key lockKey, locked bool, err error) {
	if !x.source.spec.Beiwe.locked(name) {
		return key, false, nil
	}
	study, _, _ := strings.Cut(name, "/")
	if key, ok := x.keys[study]; ok {
		return key, true, nil
	}
	secret, ok := x.secrets[study]
	if !ok || secret.Empty() {
		return key, false, &failure{
			What: "study " + study, Why: "SECRETS of the keyring has no passphrase for it", Code: exitConfig,
			Do: "add one (studyfs config keyring decrypt, edit, encrypt), or leave out --lock",
		}
	}
	key.salt = make([]byte, 32)
	rand.Read(key.salt)
	key.key, err = cryptease.DeriveKey([]byte(secret.Reveal()), key.salt)
	x.keys[study] = key
	return key, true, err
}

// readerOf reads an object from its beginning to its end, and keeps its errors apart from those of whoever copies.
type readerOf struct {
	ctx context.Context //nolint:containedctx // of the one copy
	r   *cache.Reader
	off int64
	err error
}

func (r *readerOf) Read(p []byte) (int, error) {
	n, err := r.r.ReadAt(r.ctx, p, r.off)
	r.off += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// replaceFile writes a file under another name and gives it its own when it is whole.
func replaceFile(path string, mod time.Time, write func(io.Writer) error) error {
	dir, base := filepath.Split(path)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as mano makes them
		return err
	}
	f, err := os.CreateTemp(dir, "."+base+"-")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil && !mod.IsZero() {
		err = os.Chtimes(f.Name(), mod, mod)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) //nolint:errcheck // the first error counts
	}
	return err
}

// saveRegistry merges the server's names into what an earlier export, or mano, left.
func (x *exporter) saveRegistry(path string) error {
	if len(x.registry) == 0 {
		return nil
	}
	merged := map[string]string{}
	if raw, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(raw, &merged); err != nil {
			return &failure{What: path, Why: "it is no registry (" + err.Error() + ")", Do: "move it away", Code: exitIO}
		}
	}
	maps.Copy(merged, x.registry)
	raw, err := json.MarshalIndent(merged, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, time.Time{}, func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}
