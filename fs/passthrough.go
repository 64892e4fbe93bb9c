package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// stackDepth is how many stacked file systems may lie below this one for passthrough: an overlay under the cache or the stage
// makes it two, and with one the kernel answers ELOOP. Two where one would do keeps overlays from lying above.
func stackDepth(dirs []string) int {
	if slices.ContainsFunc(dirs, isOverlay) {
		return 2
	}
	return 1
}

// passthrough knows whether files may be offered to the kernel. go-fuse switches it off for the whole mount after any
// one refusal and tells nobody, so it is tried at the start and watched afterwards.
type passthrough struct {
	log *slog.Logger

	mu  sync.Mutex // guards on and why
	on  bool
	why string
}

func (p *passthrough) state() (on bool, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on && p.why == "" {
		return false, "not mounted"
	}
	return p.on, p.why
}

func (p *passthrough) wanted() bool {
	on, _ := p.state()
	return on
}

func (p *passthrough) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on, p.why = err == nil, ""
	if err != nil {
		p.why = err.Error()
	}
}

// probe offers the kernel a file of the cache's file system and takes it back.
func (p *passthrough) probe(o Options, s *fuse.Server) {
	if !o.Passthrough {
		p.set(errors.New("switched off"))
		return
	}
	if s.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0 {
		p.set(errors.New("this kernel has none (Linux 6.9 or newer, with CONFIG_FUSE_PASSTHROUGH)"))
		return
	}
	for _, dir := range o.localDirs() {
		if err := try(dir, s); err != nil {
			p.set(err)
			return
		}
	}
	p.set(nil)
}

// localDirs are the places of files that the kernel may be given.
func (o Options) localDirs() []string {
	dirs := []string{o.CacheDir}
	for _, t := range o.Trees {
		if t.StageDir != "" && !t.Stage.Encrypted() && !slices.Contains(dirs, t.StageDir) {
			dirs = append(dirs, t.StageDir)
		}
	}
	return dirs
}

func try(dir string, s *fuse.Server) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("cannot be tried: %w", err)
	}
	defer f.Close() //nolint:errcheck // an empty file
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("cannot be tried: %w", err)
	}
	if number := lend(f, s); number != 0 {
		return explain(number)
	}
	return nil
}

func explain(number syscall.Errno) error {
	if number == syscall.EPERM {
		return fmt.Errorf("needs root (CAP_SYS_ADMIN): %w", number)
	}
	if number == syscall.ELOOP {
		return fmt.Errorf("the cache or the stage lies on too many stacked file systems: %w", number)
	}
	return fmt.Errorf("the kernel refused a file of the cache or the stage: %w", number)
}

// refused notes that a file was offered and read by requests all the same.
func (p *passthrough) refused(ctx context.Context) {
	if !p.wanted() {
		return
	}
	p.set(errors.New("the kernel refused a cache file; all files are read through requests"))
	p.log.WarnContext(ctx, "passthrough is off: the kernel refused a cache file")
}
