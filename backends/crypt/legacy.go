package crypt

import (
	"bytes"
	"context"
	"crypto/cipher"
	stddes "crypto/des" //nolint:gosec // what the lab's old files are made with; nothing is written so
	"crypto/md5"        //nolint:gosec // as above
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"studyfs/backends"
	"studyfs/backends/crypt/cryptease"
)

const (
	saltedMagic = "Salted__"
	desHeader   = 16 // magic and salt
	desBlock    = stddes.BlockSize
	pieceSize   = 32 << 10 // a multiple of desBlock
)

// desHead is an opened .enc object.
type desHead struct {
	block cipher.Block
	iv    [desBlock]byte
	size  int64
}

func (h *desHead) plainSize() int64 { return h.size }

// desKeys are what the two ways to derive a key give: OpenSSL before 1.1.0 took MD5, later ones take SHA-256.
func desKeys(password, salt []byte) (out [2]*desHead, err error) {
	text := append(bytes.Clone(password), salt...)
	old, now := md5.Sum(text), sha256.Sum256(text) //nolint:gosec // as above
	for i, sum := range [][]byte{now[:], old[:]} {
		block, err := stddes.NewCipher(sum[:desBlock]) //nolint:gosec // as above
		if err != nil {
			return out, fmt.Errorf("key: %w", err)
		}
		out[i] = &desHead{block: block}
		copy(out[i].iv[:], sum[desBlock:2*desBlock])
	}
	return out, nil
}

// padding is the length of the padding in the last block, 0 if there is no valid one. before is the ciphertext before it.
func (h *desHead) padding(before, last []byte) int {
	var p [desBlock]byte
	h.block.Decrypt(p[:], last)
	for i := range p {
		p[i] ^= before[i]
	}
	n := int(p[desBlock-1])
	if n < 1 || n > desBlock {
		return 0
	}
	for _, b := range p[desBlock-n:] {
		if int(b) != n {
			return 0
		}
	}
	return n
}

// loadDES reads the salt and the last two blocks of an object, and finds out which key fits.
func (s *Source) loadDES(ctx context.Context, in backends.Entry) (opened, error) {
	start, err := fetch(ctx, s.src, in, 0, min(in.Size, desHeader+desBlock))
	if err != nil {
		return nil, err
	}
	if string(start[:len(saltedMagic)]) != saltedMagic {
		return nil, fmt.Errorf("%w: not a file of openssl enc", backends.ErrBadAnswer)
	}
	if in.Size == desHeader {
		return nil, fmt.Errorf("%w: this file is lost: openssl had failed, and only the %d bytes that it writes first were uploaded", backends.ErrBadAnswer, desHeader)
	}
	end := start[desBlock:] // of the shortest: one block
	if in.Size > desHeader+desBlock {
		if end, err = fetch(ctx, s.src, in, in.Size-2*desBlock, 2*desBlock); err != nil {
			return nil, err
		}
	}
	keys, err := desKeys([]byte(s.keys.password.Reveal()), start[len(saltedMagic):desHeader])
	if err != nil {
		return nil, err
	}
	var pads [2]int
	for i, h := range keys {
		before := end[:desBlock]
		if in.Size == desHeader+desBlock {
			before = h.iv[:]
		}
		pads[i] = h.padding(before, end[desBlock:])
	}
	return s.chooseDES(in, keys, pads)
}

// chooseDES takes the key whose padding is valid. A wrong key gives a valid one in one of 256 files, and then nearly always
// of one byte: so the longer wins, and else the digest that the last object of this source had.
func (s *Source) chooseDES(in backends.Entry, keys [2]*desHead, pads [2]int) (opened, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := s.digest
	if other := 1 - best; pads[other] > pads[best] {
		best = other
	}
	if pads[best] == 0 {
		return nil, fmt.Errorf("%w: the password given does not open it", backends.ErrPermission)
	}
	if pads[0] == 0 || pads[1] == 0 {
		s.digest = best
	}
	h := keys[best]
	h.size = in.Size - desHeader - int64(pads[best])
	return h, nil
}

// read asks for the blocks of a range and the one before them.
func (h *desHead) read(ctx context.Context, src backends.Source, in backends.Entry, off, n int64) (io.ReadCloser, error) {
	first, last := off/desBlock, (off+n-1)/desBlock
	from, iv := desHeader+(first-1)*desBlock, make([]byte, desBlock)
	if first == 0 {
		from = desHeader
	}
	end := desHeader + (last+1)*desBlock
	body, err := src.ReadRange(ctx, in, from, end-from)
	if err != nil {
		return nil, err
	}
	if copy(iv, h.iv[:]); first > 0 {
		if err := fill(body, iv); err != nil {
			return nil, errors.Join(err, body.Close())
		}
	}
	mode, buf, left := cipher.NewCBCDecrypter(h.block, iv), make([]byte, min(pieceSize, end-from)), (last-first+1)*desBlock
	return &reader{src: body, skip: off % desBlock, left: n, next: func() ([]byte, error) {
		piece := buf[:min(int64(len(buf)), left)]
		if err := fill(body, piece); err != nil {
			return nil, err
		}
		left -= int64(len(piece))
		mode.CryptBlocks(piece, piece)
		return piece, nil
	}}, nil
}

// lockHead is an opened .lock object.
type lockHead struct {
	key    []byte
	header int64
	size   int64
}

func (h *lockHead) plainSize() int64 { return h.size }

// loadLock reads the header of an object.
func (s *Source) loadLock(ctx context.Context, in backends.Entry) (opened, error) {
	n := min(in.Size, firstLook)
	start, err := fetch(ctx, s.src, in, 0, n)
	if err != nil {
		return nil, err
	}
	h, err := cryptease.ReadHeader(bytes.NewReader(start))
	if err != nil && n < in.Size {
		if start, err = fetch(ctx, s.src, in, 0, min(in.Size, maxHeader)); err != nil {
			return nil, err
		}
		h, err = cryptease.ReadHeader(bytes.NewReader(start))
	}
	switch {
	case errors.Is(err, cryptease.ErrRandomKey):
		return nil, fmt.Errorf("%w: %w", backends.ErrPermission, err)
	case err == nil && h.Plain(in.Size) < 0:
		err = cryptease.ErrFormat
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backends.ErrBadAnswer, err)
	}
	key, err := cryptease.DeriveKey([]byte(s.keys.password.Reveal()), h.Salt)
	if err != nil {
		return nil, err
	}
	return &lockHead{key: key, header: h.Size, size: h.Plain(in.Size)}, nil
}

// read asks for a range and the 16 bytes before it.
func (h *lockHead) read(ctx context.Context, src backends.Source, in backends.Entry, off, n int64) (io.ReadCloser, error) {
	body, err := src.ReadRange(ctx, in, h.header+off, cryptease.IVSize+n)
	if err != nil {
		return nil, err
	}
	out, err := cryptease.NewRangeReader(body, h.key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", backends.ErrBadAnswer, err), body.Close())
	}
	buf, left := make([]byte, min(pieceSize, n)), n
	return &reader{src: body, left: n, next: func() ([]byte, error) {
		piece := buf[:min(int64(len(buf)), left)]
		if err := fill(out, piece); err != nil {
			return nil, err
		}
		left -= int64(len(piece))
		return piece, nil
	}}, nil
}
