package stage

import (
	"context"
	"errors"
	"fmt"
	"os"

	"studyfs/cache/stage/vault"
)

const whyUnreadable = "its bytes cannot be decrypted: they are damaged, or belong to something else"

// keepHeader notes what this is a stage of. That of an encrypted stage names nothing, and says from when on a key is needed.
func (s *Stage) keepHeader() error {
	old, err := s.disk.readAll(headerName)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	k, h := s.disk.keys, parseHeader(old)
	if k == nil {
		if err == nil && string(old) == s.o.Target {
			return nil
		}
		return s.writeHeader([]byte(s.o.Target))
	}
	if _, jerr := os.Lstat(s.disk.path(journalName)); errors.Is(err, os.ErrNotExist) && errors.Is(jerr, os.ErrNotExist) {
		k.clear = false // nothing has ever been here
	}
	if h != nil && h.Clear == k.clear {
		if text, err := k.target(h); err == nil && text == s.o.Target {
			return nil
		}
	}
	return s.writeSealedHeader()
}

func (s *Stage) writeSealedHeader() error {
	raw, err := s.disk.keys.header(s.o.Target, s.disk.keys.clear)
	if err != nil {
		return err
	}
	return s.writeHeader(raw)
}

func (s *Stage) writeHeader(raw []byte) error {
	if err := s.disk.replace(headerName, raw); err != nil {
		if full(err) {
			return nil
		}
		return err
	}
	return s.disk.syncDir("")
}

// lockFile sees to it that the file of an item is encrypted in an encrypted stage.
func (l *loader) lockFile(it *item) error {
	d := l.s.disk
	if d.keys == nil || it.locked {
		return nil
	}
	seen, err := d.look(fileName(it.id))
	if err != nil || seen.Size == 0 && it.sealed == nil {
		return err
	}
	err = d.opens(fileName(it.id), it.id)
	switch {
	case err == nil: // the record that says so is lost
	case !errors.Is(err, vault.ErrKey) || !d.keys.clear:
		return fmt.Errorf("staged file: %w", err)
	default:
		if err := l.encrypt(it, seen); err != nil {
			l.left++
			l.s.log.Warn("a staged file cannot be encrypted now; it stays as it is until the next time", "id", it.id, "err", cause(err))
			return nil
		}
	}
	if it.locked = true; it.sealed != nil {
		it.epoch = max(it.epoch, 1)
	}
	return nil
}

// opens is nil for a file that is encrypted with the key of the stage.
func (d *disk) opens(name string, number ID) error {
	f, err := d.open(name, false)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	_, err = d.keys.files.Open(onDisk{f, d, name}, uint64(number), vault.State{})
	return err
}

// encrypt puts an encrypted file in the place of one in clear. It has the same mark.
func (l *loader) encrypt(it *item, was looked) error {
	d, name := l.s.disk, fileName(it.id)
	from, err := d.openBlob(name, it.id, nil)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // only read
	if err := d.remove(name + tempExt); err != nil {
		return err
	}
	to, err := d.create(name+tempExt, it.id)
	if err != nil {
		return err
	}
	if err = l.fillLocked(it, from, to, was); err == nil {
		err = d.rename(to.name, name)
	}
	if err != nil {
		return errors.Join(err, to.Close(), d.remove(to.name))
	}
	return to.Close()
}

func (l *loader) fillLocked(it *item, from, to *blob, was looked) error {
	d := l.s.disk
	if err := d.copyInto(context.WithoutCancel(l.s.ctx), from, to, was.Size); err != nil {
		return err
	}
	if _, err := to.v.Seal(func(int64) error { return nil }); err != nil {
		return err
	}
	if err := d.sync(to.name, to.f); err != nil {
		return err
	}
	to.v.Sealed(true)
	if it.sealed != nil { // or it could not be found any more where the journal is lost
		r := it.record()
		r.Locked, r.Epoch = true, 1
		if err := l.s.keep(it, to, r, l.seq); err != nil {
			return err
		}
	}
	if err := setModTime(d.path(to.name), was.MTime); err != nil {
		return fmt.Errorf("staged file: %w", err)
	}
	return nil
}

// lockRest encrypts what lies beside the files: it is called before the journal is written anew. After that, nothing in clear counts any more.
func (l *loader) lockRest() {
	s := l.s
	if s.disk.keys == nil || !s.disk.keys.clear {
		return
	}
	for _, it := range sortedItems(s.items) {
		if !it.hasFile() || !l.files[it.id] {
			continue
		}
		if err := l.lockLabel(it); err != nil {
			l.left++
			s.log.Warn("what is known of a staged file cannot be encrypted now", "id", it.id, "err", cause(err))
		}
	}
}

// lockLabel writes anew what an item would be found by without the journal.
func (l *loader) lockLabel(it *item) error {
	s := l.s
	if it.sealed == nil {
		return errors.Join(s.disk.remove(sidecarName(it.id)), s.disk.unlabel(fileName(it.id)))
	}
	f, err := s.openItem(it)
	if err != nil {
		return err
	}
	return errors.Join(s.keep(it, f, it.record(), l.seq), f.Close())
}

// locked notes that all is encrypted.
func (l *loader) locked() error {
	k := l.s.disk.keys
	if k == nil || !k.clear || l.left > 0 {
		return nil
	}
	k.clear = false
	if err := l.s.writeSealedHeader(); err != nil {
		k.clear = true
		return err
	}
	l.s.log.Info("what was staged in clear has been encrypted")
	return nil
}

// aside is a journal as it is put aside: not in clear where the stage is not.
func (c *ciphers) aside(raw []byte) []byte {
	if c == nil || !c.clear {
		return raw
	}
	return c.log.Seal(nil, nil, raw, []byte(journalName))
}
