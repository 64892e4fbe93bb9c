package stage

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"studyfs/backends"
)

// BenchmarkDurableClose creates, writes and closes files of 16 KiB with 8 writers: through a stage, and by the same calls made by hand,
// which is what durability costs on this disk whoever does it.
func BenchmarkDurableClose(b *testing.B) {
	body := bytes.Repeat([]byte("studyfs "), 2048)
	b.Run("stage", func(b *testing.B) {
		s, err := Open(Options{Dir: filepath.Join(b.TempDir(), "stage"), Quiet: time.Hour, Reserve: -1, Key: testKey()})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		writers(b, func(n int64) error {
			f, err := s.Create(fmt.Sprintf("dir/file%d", n), Attr{Mode: 0o644}, backends.Entry{})
			if err != nil {
				return err
			}
			_, err = f.WriteAt(body, 0)
			return errors.Join(err, f.Flush(b.Context()), f.Close())
		})
	})
	b.Run("byHand", func(b *testing.B) {
		dir := b.TempDir()
		d := &disk{dir: dir}
		journal, err := d.open("journal", true)
		if err != nil {
			b.Fatal(err)
		}
		defer journal.Close()
		var at atomic.Int64
		line := bytes.Repeat([]byte("x"), 300)
		writers(b, func(n int64) error {
			name := fmt.Sprintf("file%d", n)
			f, err := d.open(name, true)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(body, 0)
			if err = errors.Join(err, d.sync(name, f), f.Close(), d.replace(name+".meta", line), d.syncDir("")); err != nil {
				return err
			}
			_, err = journal.WriteAt(line, at.Add(300))
			return errors.Join(err, d.sync("journal", journal))
		})
	})
}

func writers(b *testing.B, one func(n int64) error) {
	b.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if err := one(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
}
