package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
)

// keyStore is an object store as far as listings go: keys, pages, requests counted.
type keyStore struct {
	mu   sync.Mutex
	keys map[string]string // key → version
	page int
	log  []string
	err  error
	hold chan struct{} // a request waits until it is closed
}

func newKeys(page int, keys ...string) *keyStore {
	s := &keyStore{keys: map[string]string{}, page: page}
	for _, k := range keys {
		s.keys[k] = "1"
	}
	return s
}

func (s *keyStore) set(key, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version == "" {
		delete(s.keys, key)
		return
	}
	s.keys[key] = version
}

func (s *keyStore) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log)
}

func (s *keyStore) pageOf(ctx context.Context, dir, after string, flat bool) (backends.Page, error) {
	s.mu.Lock()
	s.log = append(s.log, fmt.Sprintf("%q %q %v", dir, after, flat))
	err, hold := s.err, s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return backends.Page{}, ctx.Err()
		}
	}
	if err != nil {
		return backends.Page{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := prefixOf(dir)
	var shown []string
	for k := range s.keys {
		rel, ok := strings.CutPrefix(k, prefix)
		if !ok || rel == "" {
			continue
		}
		if i := strings.IndexByte(rel, '/'); i >= 0 && !flat {
			k = prefix + rel[:i+1]
		}
		if k > after {
			shown = append(shown, k)
		}
	}
	slices.Sort(shown)
	shown = slices.Compact(shown)
	var p backends.Page
	if len(shown) > s.page {
		shown, p.More = shown[:s.page], true
		p.Last = shown[s.page-1]
	}
	for _, k := range shown {
		name, isDir := strings.CutSuffix(k, "/")
		if !backends.ValidName(name) {
			continue
		}
		e := backends.Entry{Name: name, Dir: isDir}
		if !isDir {
			e.Size, e.Version, e.ModTime = int64(len(k)), s.keys[k], time.Unix(1e9, 0).UTC()
		}
		p.Entries = append(p.Entries, e)
	}
	return p, nil
}

func (s *keyStore) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.pageOf(ctx, dir, after, true)
}

func (s *keyStore) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.pageOf(ctx, dir, after, false)
}

func (s *keyStore) List(context.Context, string) iter.Seq2[backends.Entry, error] { return nil }
func (s *keyStore) Stat(context.Context, string) (backends.Entry, error) {
	return backends.Entry{}, errors.New("not asked for")
}

func (s *keyStore) ReadRange(context.Context, backends.Entry, int64, int64) (io.ReadCloser, error) {
	return nil, errors.New("not asked for")
}

// truth is what dir holds: names, directories with "/" behind.
func (s *keyStore) truth(dir string) (names []string) {
	seen := map[string]bool{}
	for k := range s.keys {
		rel, ok := strings.CutPrefix(k, prefixOf(dir))
		if !ok || rel == "" {
			continue
		}
		if i := strings.IndexByte(rel, '/'); i >= 0 {
			rel = rel[:i+1]
		}
		if rel != "/" && !seen[rel] && backends.ValidName(strings.TrimSuffix(rel, "/")) {
			seen[rel] = true
			names = append(names, rel)
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return seen[n+"/"] })
	slices.SortFunc(names, func(a, b string) int {
		return strings.Compare(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
	})
	return names
}
