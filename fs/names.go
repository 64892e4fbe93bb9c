package fs

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// pseudonyms stand for names in logs: names of files are names of participants. The key lives as long as the
// process, so equal names are recognised within one run and nowhere else.
type pseudonyms struct{ key []byte }

func newPseudonyms() (pseudonyms, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return pseudonyms{}, fmt.Errorf("key for pseudonyms: %w", err)
	}
	return pseudonyms{key}, nil
}

// of returns the pseudonym of a name.
func (p pseudonyms) of(name string) string {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(name))
	return "p:" + hex.EncodeToString(mac.Sum(nil)[:3])
}

// scrub replaces a name, and each part of it that could tell a participant, in an error's text.
func (p pseudonyms) scrub(text, name string) string {
	if name == "" {
		return text
	}
	alias := p.of(name)
	text = strings.ReplaceAll(text, name, alias)
	text = strings.ReplaceAll(text, (&url.URL{Path: name}).EscapedPath(), alias)
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > 2 { // shorter ones would hit half of every sentence and tell nobody
			text = strings.ReplaceAll(text, part, p.of(part))
		}
	}
	return text
}

// maxTold bounds the memory of what was logged.
const maxTold = 1000

// told remembers what was logged, so that a reader that tries again and again does not fill the log.
type told struct {
	mu   sync.Mutex // guards seen
	seen map[string]bool
}

func (t *told) first(what string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[what] {
		return false
	}
	if t.seen == nil || len(t.seen) >= maxTold {
		t.seen = map[string]bool{}
	}
	t.seen[what] = true
	return true
}

// fail turns an error into its number; an I/O error is logged once, since its cause is told nowhere else.
func (f *FS) fail(ctx context.Context, op, name string, err error) syscall.Errno {
	number := errno(err)
	if number != syscall.EIO {
		return number
	}
	alias, cause := f.names.of(name), f.names.scrub(err.Error(), name)
	if f.told.first(op + alias + cause) {
		f.log.ErrorContext(ctx, "input/output error", slog.String("op", op), slog.String("name", alias), slog.String("cause", cause))
	}
	return number
}

// panicked answers a request whose handler panicked. The value may hold a name: only its type is told.
func (f *FS) panicked(value any) fuse.Status {
	f.log.Error("a request failed by a mistake in studyfs", slog.String("type", fmt.Sprintf("%T", value)), slog.String("stack", string(debug.Stack())))
	return fuse.EIO
}
