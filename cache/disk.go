package cache

import (
	"encoding/hex"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// diskHealth switches the local disk off after three failures in a minute, for a minute: reads then go straight to the source,
// slower but right.
type diskHealth struct {
	log *slog.Logger

	mu     sync.Mutex // guards the fields below; a leaf
	first  time.Time  // of the present series of failures
	count  int
	offTil time.Time
}

func (d *diskHealth) failed(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.first) > time.Minute {
		d.first, d.count = now, 0
	}
	d.count++
	if d.count == 3 {
		d.offTil = now.Add(time.Minute)
		d.log.Warn("cache disk fails; reading without it for a minute")
	}
}

func (d *diskHealth) usable(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return now.After(d.offTil)
}

// bootID returns the kernel's boot id, zero where there is none.
func bootID() (id [16]byte) {
	b, err := hex.DecodeString(strings.ReplaceAll(bootName(), "-", ""))
	if err == nil {
		copy(id[:], b)
	}
	return id
}

// markOf returns the mark of an open data file.
func markOf(f *os.File, boot [16]byte) (fileMark, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileMark{}, err
	}
	return fileMark{size: st.Size, ctime: st.Ctim.Nano(), ino: st.Ino, boot: boot}, nil
}
