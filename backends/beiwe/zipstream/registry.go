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

// maxKey bounds the paths of a registry.
const maxKey = 4096

// Registry reads the member "registry", a JSON object, in the order in which it stands there: the i-th entry belongs to the i-th member. The first
// error ends the sequence; without one the object was whole and nothing stood behind it.
func Registry(r io.Reader) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		d := json.NewDecoder(r)
		if err := opening(d); err != nil {
			yield(Pair{}, err)
			return
		}
		for d.More() {
			p, err := pair(d)
			if !yield(p, err) || err != nil {
				return
			}
		}
		if _, err := d.Token(); err != nil {
			yield(Pair{}, registryError(err))
			return
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			yield(Pair{}, registryError(errors.Join(errors.New("more behind its end"), err)))
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
		return p, registryError(errors.New("an entry beyond all measure"))
	}
	return p, nil
}

func registryError(err error) error { return fmt.Errorf("registry: %w", err) }
