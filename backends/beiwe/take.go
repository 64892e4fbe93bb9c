package beiwe

import (
	"context"
	"crypto/sha1" //nolint:gosec // the server's own choice: its registry names contents by it
	"errors"
	"fmt"
	"io"
	"path"

	"studyfs/backends"
	"studyfs/backends/beiwe/zipstream"
)

// arrival is one member of a zip, in the order in which they came: the registry at its end names them in the same order.
type arrival struct {
	member
	file   *file // guarded by the Source's mu once it is listed
	listed bool  // it is in the index already; else it waits for its name

	chunk, hash string // what the registry says of it
}

// errEnough ends a probe.
var errEnough = errors.New("enough")

// take reads a zip as it comes. only, where given, decides on each member whether to take it: a probe leaves at the first.
func (j *job) take(ctx context.Context, body io.Reader, zstd bool, only func(member) error) error {
	z := zipstream.NewReader(body, zipstream.Options{Zstd: zstd})
	defer z.Close() //nolint:errcheck // a decoder's memory
	var came []arrival
	for {
		m, err := z.Next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: a zip without registry", backends.ErrBadAnswer)
		case errors.Is(err, zipstream.ErrName):
			j.s.hidden.Add(1)
			came = append(came, arrival{listed: true})
			continue
		case err != nil:
			return zipError(err)
		case m.Name == "registry":
			return j.close(z, came)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		one, err := j.takeMember(ctx, z, m, only)
		if err != nil {
			return zipError(err)
		}
		came = append(came, one)
	}
}

// zipError tells a broken connection, which is worth another try, from a broken zip.
func zipError(err error) error {
	if errors.Is(err, backends.ErrUnreachable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, errEnough) || errors.Is(err, backends.ErrBadAnswer) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the answer breaks off: %w", backends.ErrUnreachable, err)
	}
	return fmt.Errorf("%w: %w", backends.ErrBadAnswer, err)
}

// takeMember hands one member on. One that does not belong to what was asked for is passed over: a stream that the server's list has
// gained since is not, if all streams are wanted.
func (j *job) takeMember(ctx context.Context, z *zipstream.Reader, m zipstream.Member, only func(member) error) (arrival, error) {
	what, ok := parseMember(m.Name)
	if !ok || what.person != j.window.person || !j.s.wanted(what.stream) {
		j.s.hidden.Add(1)
		return arrival{listed: true}, nil
	}
	if only != nil {
		if err := only(what); err != nil {
			return arrival{}, err
		}
	}
	one := arrival{member: what}
	hash := sha1.New() //nolint:gosec // as above
	counted := &counter{r: io.TeeReader(z, hash)}
	err := j.put(ctx, m.Size, counted, func() (backends.Entry, error) {
		f := &file{At: what.at, Size: counted.n, SHA: [sha1.Size]byte(hash.Sum(nil))}
		one.file = f
		return j.s.arrive(j, &one)
	})
	return one, err
}

// direct reports whether a member may be listed under its name as soon as it has come: hourly files of streams without surveys, of which there
// is exactly one per hour. The others may share a second, and which of them the server numbers is chance.
func (m member) direct() bool {
	return !unchunked(m.stream) && m.again == 1 && path.Dir(m.rest) == "."
}

// arrive takes a file into the index, or finds the name that it has there already.
func (s *Source) arrive(j *job, one *arrival) (backends.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.index.Studies[j.window.study]
	if st == nil {
		return backends.Entry{}, backends.ErrNotExist
	}
	t := st.person(j.window.person).stream(one.stream)
	j.bytes += one.file.Size
	if j.seen[one.stream] == nil {
		j.seen[one.stream] = map[string]bool{}
	}
	dir := st.Folder + "/" + j.window.person + "/" + one.stream + "/"
	if !one.direct() {
		group := t.sameSecond(firstName(one.rest, one.again))
		for _, rest := range sortedKeys(group) {
			if f := group[rest]; f.SHA == one.file.SHA && !j.seen[one.stream][rest] {
				one.rest, one.listed = rest, true
				j.seen[one.stream][rest] = true
				return f.entry(dir + rest), nil
			}
		}
		return one.file.entry(dir + one.rest), nil
	}
	one.listed = true
	s.add(j, st, t, one)
	return t.Files[one.rest].entry(dir + one.rest), nil
}

// add puts a file into the index under its name. The caller holds mu.
func (s *Source) add(j *job, st *study, t *stream, one *arrival) {
	f, before := one.file, t.Files[one.rest]
	j.seen[one.stream][one.rest] = true
	f.Mod = f.At
	if !unchunked(one.stream) {
		f.Mod = max(f.At, min(f.At+3600, s.o.Now().Unix())) // the end of its hour, which may not be over yet
	}
	if before != nil {
		f.Mod, f.Hash, f.Chunk = before.Mod, before.Hash, before.Chunk
		if before.SHA != f.SHA {
			f.Mod = s.o.Now().Unix() // when the change was seen: the server tells no times
		}
	}
	old := t.put(st.zone, one.rest, f)
	dir, base := path.Split(st.Folder + "/" + j.window.person + "/" + one.stream + "/" + one.rest)
	dir = dir[:len(dir)-1]
	if old != nil {
		j.gone = append(j.gone, old.entry(dir+"/"+base))
	}
	if old != nil || before == nil && t.Listed {
		j.changes[dir] = append(j.changes[dir], dir+"/"+base)
	}
}

// close reads the registry, which tells the server's own names of what came, and gives those files their names that wait for it.
func (j *job) close(z *zipstream.Reader, came []arrival) error {
	i := 0
	for pair, err := range zipstream.Registry(z) {
		if err != nil {
			return zipError(err)
		}
		if i < len(came) {
			came[i].chunk, came[i].hash = pair.ChunkPath, pair.Hash
		}
		i++
	}
	if i != len(came) {
		return fmt.Errorf("%w: the registry names %d files of %d", backends.ErrBadAnswer, i, len(came))
	}
	if _, err := z.Next(); !errors.Is(err, io.EOF) {
		return zipError(errors.Join(errors.New("the registry is not the last member"), err))
	}
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	if st := j.s.index.Studies[j.window.study]; st != nil {
		j.nameRest(st, came)
	}
	return nil
}

// nameRest puts those files into the index that waited. The caller holds the Source's mu.
func (j *job) nameRest(st *study, came []arrival) {
	groups := map[string][]*arrival{}
	for i := range came {
		one := &came[i]
		if one.file == nil {
			continue
		}
		if t := st.person(j.window.person).stream(one.stream); one.listed {
			j.keepNames(t, one)
			continue
		}
		key := one.stream + "/" + firstName(one.rest, one.again)
		groups[key] = append(groups[key], one)
	}
	for _, key := range sortedKeys(groups) {
		stream, first := cut(key)
		t := st.person(j.window.person).stream(stream)
		var chunks []string
		for _, one := range groups[key] {
			chunks = append(chunks, one.chunk)
		}
		names := t.nameNew(first, chunks)
		for _, one := range groups[key] {
			one.rest = names[one.chunk]
			j.s.add(j, st, t, one)
			one.file.Chunk, one.file.Hash = one.chunk, one.hash
		}
	}
}

// keepNames notes the registry's words on a file that is in the index. Chunk paths that follow from the name are not kept.
func (j *job) keepNames(t *stream, one *arrival) {
	f := t.Files[one.rest]
	if f == nil || f.SHA != one.file.SHA {
		return
	}
	f.Hash, f.Chunk = one.hash, one.chunk
	if one.direct() {
		f.Chunk = ""
	}
}
