package zipstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Pair is one entry of a registry: the server's own path of a file and what it says of its contents, "" for null.
type Pair struct{ ChunkPath, Hash string }

const (
	maxKey   = 4096     // bytes of a path, and of what is said of it
	maxEntry = 64 << 10 // bytes of both as they stand in the text, where one letter may take six
)

var errEntry = errors.New("an entry beyond all measure")

// measured gives a decoder no more than one entry beyond what was used of it: a decoder holds a text whole before anybody can measure it.
type measured struct {
	r           io.Reader
	read, until int64
}

func (m *measured) Read(p []byte) (int, error) {
	room := m.until - m.read
	if room <= 0 {
		return 0, errEntry
	}
	n, err := m.r.Read(p[:min(int64(len(p)), room)])
	m.read += int64(n)
	return n, err
}

// Registry reads the member "registry", a JSON object, in the order in which it stands there: the i-th entry belongs to the i-th member. The first
// error ends the sequence; without one the object was whole and nothing stood behind it.
func Registry(r io.Reader) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		m := &measured{r: r, until: maxEntry}
		d := json.NewDecoder(m)
		if err := opening(d); err != nil {
			yield(Pair{}, err)
			return
		}
		for d.More() {
			m.until = d.InputOffset() + maxEntry
			p, err := pair(d)
			if !yield(p, err) || err != nil {
				return
			}
		}
		if _, err := d.Token(); err != nil {
			yield(Pair{}, registryError(early(err)))
			return
		}
		switch _, err := d.Token(); {
		case err == nil:
			yield(Pair{}, registryError(errors.New("more behind its end")))
		case !errors.Is(err, io.EOF):
			yield(Pair{}, registryError(err))
		}
	}
}

func opening(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return registryError(early(err))
	}
	if t != json.Delim('{') {
		return registryError(errors.New("not an object"))
	}
	return nil
}

func pair(d *json.Decoder) (p Pair, err error) {
	key, err := d.Token()
	if err != nil {
		return p, registryError(early(err))
	}
	value, err := d.Token()
	if err != nil {
		return p, registryError(early(err))
	}
	p.ChunkPath, _ = key.(string)
	switch v := value.(type) {
	case string:
		p.Hash = v
	case nil:
	default:
		return p, registryError(errors.New("a value that is no text"))
	}
	if len(p.ChunkPath) > maxKey || len(p.Hash) > maxKey {
		return p, registryError(errEntry)
	}
	return p, nil
}

func registryError(err error) error { return fmt.Errorf("registry: %w", err) }
