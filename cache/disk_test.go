package cache

import (
	"os"

	"golang.org/x/sys/unix"
)

// blocksOf returns the bytes that a sparse file really takes.
func blocksOf(f *os.File) (int64, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return st.Blocks * 512, err
}
