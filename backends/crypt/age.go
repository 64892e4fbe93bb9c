package crypt

import (
	"bytes"
	"cmp"
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"

	"studyfs/backends"
)

const (
	ageIntro  = "age-encryption.org/v1\n"
	oneHeader = 184 // for one X25519 recipient, nonce included
	firstLook = 4 << 10
	maxHeader = 64 << 10 // some 600 recipients; nobody waits for more
)

// ageHead is the opened beginning of an age object.
type ageHead struct {
	layout

	aead  cipher.AEAD
	ended atomic.Bool // its end was seen to be the true one
}

func (h *ageHead) plainSize() int64 { return h.size }

// parseAge finds the end of the header in the beginning of an object, and the nonce behind it.
func parseAge(start []byte) (header, nonce []byte, err error) {
	if !bytes.HasPrefix(start, []byte(ageIntro)) {
		return nil, nil, fmt.Errorf("%w: not an age file", backends.ErrBadAnswer)
	}
	header, err = age.ExtractHeader(bytes.NewReader(start))
	if err == nil && len(start) < len(header)+nonceSize {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: age header: %w", backends.ErrBadAnswer, err)
	}
	if !bytes.HasPrefix(start, header) { // then we do not know where it ends
		return nil, nil, fmt.Errorf("%w: age header is not as it should be written", backends.ErrBadAnswer)
	}
	return header, start[len(header) : len(header)+nonceSize], nil
}

// openAge derives the key of an object from its header.
func (k keyring) openAge(header, nonce []byte, l layout) (*ageHead, error) {
	if len(k.identities) == 0 {
		return nil, fmt.Errorf("%w: no identity is given, and it is encrypted to %s", backends.ErrPermission, recipientsOf(header))
	}
	file, err := age.DecryptHeader(header, k.identities...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, fmt.Errorf("%w: none of the %d identities given opens it; it is encrypted to %s", backends.ErrPermission, len(k.identities), recipientsOf(header))
	case err != nil:
		return nil, fmt.Errorf("%w: age header: %w", backends.ErrBadAnswer, err)
	}
	key, err := hkdf.Key(sha256.New, file, nonce, "payload", chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("age key: %w", err)
	}
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, fmt.Errorf("age key: %w", err)
	}
	return &ageHead{layout: l, aead: aead}, nil
}

// recipientsOf says for whom a header is, as far as it tells: X25519 recipients stay anonymous, SSH keys show a short tag.
func recipientsOf(header []byte) string {
	count := map[string]int{}
	var order []string
	for line := range strings.Lines(string(header)) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "-> ")
		if !ok {
			continue
		}
		what := describeStanza(strings.Fields(rest))
		if count[what]++; count[what] == 1 {
			order = append(order, what)
		}
	}
	const most = 8 // kinds
	var out []string
	for _, what := range order[:min(len(order), most)] {
		out = append(out, fmt.Sprintf("%d × %s", count[what], what))
	}
	if len(order) > most {
		out = append(out, "others")
	}
	return strings.Join(out, ", ")
}

func describeStanza(fields []string) string {
	if len(fields) == 0 {
		return "nobody"
	}
	name := fields[0][:min(len(fields[0]), 32)]
	switch {
	case name == "scrypt":
		return "a passphrase"
	case strings.HasPrefix(name, "ssh-") && len(fields) > 1:
		return name + " key with tag " + fields[1][:min(len(fields[1]), 32)]
	}
	return name + " key"
}

// nonce is that of one chunk.
func (h *ageHead) nonce(chunk int64) []byte {
	n := make([]byte, chacha20poly1305.NonceSize)
	binary.BigEndian.PutUint64(n[3:11], uint64(chunk)) //nolint:gosec // never negative
	if chunk == h.last() {
		n[11] = 1
	}
	return n
}

// open decrypts one chunk in place.
func (h *ageHead) open(chunk int64, sealed []byte) ([]byte, error) {
	out, err := h.aead.Open(sealed[:0], h.nonce(chunk), sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: chunk %d of %d was altered, or the end is missing", backends.ErrBadAnswer, chunk, h.last()+1)
	}
	if chunk == h.last() {
		h.ended.Store(true)
	}
	return out, nil
}

// decrypt yields the n bytes of plaintext at off. body holds the chunks of that range, in order.
func (h *ageHead) decrypt(body io.ReadCloser, off, n int64) io.ReadCloser {
	chunk := off / chunkSize
	buf := make([]byte, 0, min(sealedSize, sealed(h.size)))
	return &reader{src: body, skip: off % chunkSize, left: n, next: func() ([]byte, error) {
		_, size := h.span(chunk, chunk)
		buf = buf[:size]
		if err := fill(body, buf); err != nil {
			return nil, err
		}
		chunk++
		return h.open(chunk-1, buf)
	}}
}

// read asks for the chunks of a range.
func (h *ageHead) read(ctx context.Context, src backends.Source, in backends.Entry, off, n int64) (io.ReadCloser, error) {
	first, last := off/chunkSize, (off+n-1)/chunkSize
	if last != h.last() { // else the range itself shows whether the end is the true one
		if err := h.confirm(ctx, src, in); err != nil {
			return nil, err
		}
	}
	from, size := h.span(first, last)
	body, err := src.ReadRange(ctx, in, from, size)
	if err != nil {
		return nil, err
	}
	return h.decrypt(body, off, n), nil
}

// confirm sees to it that nothing was cut off: only the last chunk says that it is the last. It is done once per version.
func (h *ageHead) confirm(ctx context.Context, src backends.Source, in backends.Entry) error {
	if h.ended.Load() {
		return nil
	}
	from, size := h.span(h.last(), h.last())
	buf, err := fetch(ctx, src, in, from, size)
	if err != nil {
		return err
	}
	_, err = h.open(h.last(), buf)
	return err
}

// loadAge reads the header of an object.
func (s *Source) loadAge(ctx context.Context, in backends.Entry) (opened, error) {
	start, err := fetch(ctx, s.src, in, 0, min(in.Size, firstLook))
	if err != nil {
		return nil, err
	}
	header, nonce, err := parseAge(start)
	if err != nil && in.Size > firstLook && bytes.HasPrefix(start, []byte(ageIntro)) {
		if start, err = fetch(ctx, s.src, in, 0, min(in.Size, maxHeader)); err != nil {
			return nil, err
		}
		header, nonce, err = parseAge(start)
	}
	if err != nil {
		return nil, err
	}
	h, err := s.ageHeader(in, header, nonce)
	if err == nil && h.size == 0 {
		if int64(len(start)) < in.Size {
			return h, h.confirm(ctx, s.src, in)
		}
		_, err = h.open(0, start[h.payload:])
	}
	return h, err
}

// ageHeader takes in a header that was read, and remembers what it says of sizes, whether or not it can be opened.
func (s *Source) ageHeader(in backends.Entry, header, nonce []byte) (*ageHead, error) {
	l, ok := layoutOf(in.Size, int64(len(header)+nonceSize))
	if !ok {
		return nil, fmt.Errorf("%w: an age file cannot be %d bytes long", backends.ErrBadAnswer, in.Size)
	}
	s.mu.Lock()
	if l.size > 0 { // nobody reads an empty file, so its emptiness is to be proved first
		s.sizes.Add(keyOf(in), l.size)
	}
	s.mixed = s.mixed || s.own > 0 && l.payload != s.own || s.usual > 0 && l.payload != s.usual
	s.usual = l.payload
	s.mu.Unlock()
	return s.keys.openAge(header, slices.Clone(nonce), l)
}

// ageFromTop reads a range that begins in the first chunk together with the header, in one request.
func (s *Source) ageFromTop(ctx context.Context, in backends.Entry, want layout, off, n int64) (io.ReadCloser, error) {
	from, size := want.span(0, (off+n-1)/chunkSize)
	body, err := s.src.ReadRange(ctx, in, 0, from+size)
	if err != nil {
		return nil, err
	}
	h, err := s.headFrom(body, in, from+size)
	if err == nil && h.layout != want {
		err = errGuess
	}
	if err == nil && (off+n-1)/chunkSize != h.last() {
		err = h.confirm(ctx, s.src, in)
	}
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	s.keep(in, h)
	return h.decrypt(body, off, n), nil
}

// headFrom reads a header off a body, up to the first chunk. Size is how long the body is.
func (s *Source) headFrom(body io.Reader, in backends.Entry, size int64) (*ageHead, error) {
	var start []byte
	for int64(len(start)) < min(size, maxHeader) {
		line, err := readLine(body, maxHeader-len(start))
		start = append(start, line...)
		switch {
		case err != nil:
			return nil, err
		case len(start) == len(line) && string(line) != ageIntro:
			return nil, fmt.Errorf("%w: not an age file", backends.ErrBadAnswer)
		case !bytes.HasPrefix(line, []byte("---")):
			continue
		}
		nonce := make([]byte, nonceSize)
		if err := fill(body, nonce); err != nil {
			return nil, err
		}
		header, nonce, err := parseAge(append(start, nonce...))
		if err != nil {
			return nil, err
		}
		return s.ageHeader(in, header, nonce)
	}
	return nil, fmt.Errorf("%w: age header has no end", backends.ErrBadAnswer)
}

// readLine reads up to a line's end and not a byte further.
func readLine(r io.Reader, most int) ([]byte, error) {
	var line []byte
	var one [1]byte
	for len(line) < most {
		if err := fill(r, one[:]); err != nil {
			return line, err
		}
		if line = append(line, one[0]); one[0] == '\n' {
			break
		}
	}
	return line, nil
}

// ageGuess is the size of the plaintext of an object of that size, by the headers seen so far. That it is empty is never a guess: what was
// cut short would pass for it. The caller holds mu.
func (s *Source) ageGuess(size int64) int64 {
	l, ok := layoutOf(size, cmp.Or(s.own, s.usual, oneHeader))
	if !ok || l.size == 0 {
		return backends.SizeUnknown
	}
	return l.size
}
