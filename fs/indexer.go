package fs

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"time"
)

// indexers knows who looks at every file of a disk for an index or a picture of it. With Options.NoIndex they are told to come again (EAGAIN)
// where a file would have to be fetched for them or a directory listed; they leave it out, and ask nobody.
type indexers struct {
	now func() time.Time

	mu    sync.Mutex // guards known
	known map[int]verdict
}

// verdict is what a process was found to be. Numbers of processes are given again: it holds for verdictTime.
type verdict struct {
	indexes, walks bool
	at             time.Time
}

const (
	verdictTime = 2 * time.Second
	maxVerdicts = 256
)

// judge looks at the name of a process, 15 bytes of it, as the kernel has it.
func judge(comm string) verdict {
	comm = strings.ToLower(comm)
	for _, walker := range []string{"tracker", "localsearch", "updatedb", "baloo", "recollindex"} {
		if strings.HasPrefix(comm, walker) {
			return verdict{indexes: true, walks: true}
		}
	}
	painter := strings.HasPrefix(comm, "tumbler") || strings.Contains(comm, "thum") || strings.HasSuffix(comm, "-thu") // gdk-pixbuf-thumbnailer, totem-video-thumbnailer
	return verdict{indexes: painter}
}

// of returns what the process is on whose behalf a call is made.
func (i *indexers) of(ctx context.Context) verdict {
	_, pid := Caller(ctx)
	if pid == 0 {
		return verdict{}
	}
	now := i.now()
	i.mu.Lock()
	v, ok := i.known[pid]
	i.mu.Unlock()
	if ok && now.Sub(v.at) < verdictTime {
		return v
	}
	comm, err := commandName(pid)
	if err != nil {
		return verdict{}
	}
	v = judge(comm)
	v.at = now
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known == nil || len(i.known) >= maxVerdicts {
		i.known = map[int]verdict{}
	}
	i.known[pid] = v
	return v
}

// mayRead refuses the contents of a file to indexers and to those who make small pictures.
func (f *FS) mayRead(ctx context.Context) syscall.Errno {
	if f.o.NoIndex && f.index.of(ctx).indexes {
		return syscall.EAGAIN
	}
	return 0
}

// mayWalk refuses a listing to indexers.
func (f *FS) mayWalk(ctx context.Context) syscall.Errno {
	if f.o.NoIndex && f.index.of(ctx).walks {
		return syscall.EAGAIN
	}
	return 0
}
