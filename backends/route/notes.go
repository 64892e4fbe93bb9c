package route

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Record is one line of a manifest: what became of a file last.
type Record struct {
	Name      string    `json:"name"` // in clear, relative to the source
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256,omitempty"`    // hex, of the plaintext
	CRC64NVME string    `json:"crc64nvme,omitempty"` // hex, of the same
	Time      time.Time `json:"time"`                // when the last target had it, or when it was removed
	Targets   []string  `json:"targets,omitempty"`   // all of them
	Removed   bool      `json:"removed,omitempty"`
}

// newer is what a manifest keeps of two records of one name.
func newer(a, b Record) Record {
	if b.Time.Before(a.Time) {
		return a
	}
	return b
}

// notes are the records that manifests lack. They lie on the local disk before a Put returns, so that a file that is stored gets into
// its manifest, whatever ends this process.
type notes struct {
	by  string
	dir string // "": nothing is kept
	lines

	mu      sync.Mutex // guards what follows, and the file: no network below it
	f       *os.File
	pending map[int]map[string]Record // by target and name
	synced  *sync.Cond
	writing bool
	wrote   int64 // lines
	safe    int64 // of them, synced
}

func openNotes(dir string, key []byte, copies []int) (*notes, error) {
	l, err := newLines(key)
	if err != nil {
		return nil, err
	}
	n := &notes{dir: dir, lines: l, by: strings.ToLower(rand.Text()[:16]), pending: map[int]map[string]Record{}}
	n.synced = sync.NewCond(&n.mu)
	for _, i := range copies {
		n.pending[i] = map[string]Record{}
	}
	if dir == "" {
		return n, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := n.identify(); err != nil {
		return nil, err
	}
	if n.f, err = os.OpenFile(n.path(), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	inClear, err := n.load()
	if err == nil && inClear && n.seal != nil {
		err = n.rewrite()
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *notes) path() string { return filepath.Join(n.dir, "pending.jsonl") }

// identify gives this writer a name that stays.
func (n *notes) identify() error {
	path := filepath.Join(n.dir, "id")
	text, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(text)); err == nil && len(id) == len(n.by) {
		n.by = id
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(n.by + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// load reads what an earlier process left. A line that was cut off was of a Put that has not returned: the next one begins where it
// began. A damaged one is left alone.
func (n *notes) load() (inClear bool, err error) {
	in := bufio.NewReader(n.f)
	closed, opened, end := 0, 0, int64(0)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if opened == 0 && closed > 0 {
				return false, ErrKey
			}
			return inClear, n.f.Truncate(end)
		}
		if err != nil {
			return false, err
		}
		end += int64(len(line))
		switch r, how := n.decode(line); how {
		case lineClear, lineSealed:
			n.take(r)
			inClear = inClear || how == lineClear
			opened++
		case lineClosed:
			closed++
		case lineDamaged:
		}
	}
}

// rewrite puts all that is pending into a new file, as add would write it now.
func (n *notes) rewrite() error {
	all := map[string]Record{}
	for _, lacks := range n.pending {
		maps.Copy(all, lacks)
	}
	f, err := os.OpenFile(n.path()+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for _, r := range all {
		line, bad := n.encode(r)
		if bad == nil {
			_, bad = f.Write(line)
		}
		err = errors.Join(err, bad)
	}
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(n.path()+".new", n.path())
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	old := n.f
	n.f = f
	return old.Close()
}

// take adds a record to what each target lacks. The caller holds mu.
func (n *notes) take(r Record) {
	for _, lacks := range n.pending {
		if old, ok := lacks[r.Name]; ok {
			r = newer(old, r)
		}
		lacks[r.Name] = r
	}
}

// add returns when a record is safe. Many who add at once share a sync.
func (n *notes) add(r Record) error {
	if len(n.pending) == 0 { // the map itself never changes
		return nil
	}
	line, err := n.encode(r)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.take(r)
	if n.f == nil {
		return nil
	}
	if _, err := n.f.Write(line); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	n.wrote++
	mine := n.wrote
	for n.safe < mine {
		if n.writing {
			n.synced.Wait()
			continue
		}
		n.writing = true
		upTo := n.wrote
		n.mu.Unlock()
		err := n.f.Sync()
		n.mu.Lock()
		n.writing = false
		n.synced.Broadcast()
		if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		n.safe = max(n.safe, upTo)
	}
	return nil
}

// lacking are the records that a target's manifests lack, by the directory that the manifest is for.
func (n *notes) lacking(target int) map[string][]Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string][]Record{}
	for _, r := range n.pending[target] {
		dir, _, below := strings.Cut(r.Name, "/")
		if !below {
			dir = ""
		}
		out[dir] = append(out[dir], r)
	}
	return out
}

// told notes that a target has records now.
func (n *notes) told(target int, records []Record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	lacks := n.pending[target]
	for _, r := range records {
		if now, ok := lacks[r.Name]; ok && now.Time.Equal(r.Time) && now.Removed == r.Removed {
			delete(lacks, r.Name)
		}
	}
	for _, more := range n.pending {
		if len(more) > 0 {
			return nil
		}
	}
	if n.f == nil {
		return nil
	}
	return n.f.Truncate(0) // all that was added is told: whoever still waits for a sync of it has nothing to lose
}

// left is how many records some manifest lacks.
func (n *notes) left() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	most := 0
	for _, lacks := range n.pending {
		most = max(most, len(lacks))
	}
	return most
}

func (n *notes) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.f == nil {
		return nil
	}
	err := n.f.Close()
	n.f = nil
	return err
}

// manifestText is a manifest as it is stored: a line for each name, in their order.
func manifestText(all map[string]Record) ([]byte, error) {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, name := range names {
		if err := enc.Encode(all[name]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// ReadManifest reads what Put and its like have written. Of several lines of one name the newest counts.
func ReadManifest(r io.Reader) (map[string]Record, error) {
	all := map[string]Record{}
	dec := json.NewDecoder(r)
	for {
		var one Record
		err := dec.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		if old, ok := all[one.Name]; ok {
			one = newer(old, one)
		}
		all[one.Name] = one
	}
}
