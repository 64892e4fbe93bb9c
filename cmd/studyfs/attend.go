package main

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/systemd"
)

// attend stays with a mount until it is gone, and tells systemd how it gets on where that has started us (studyfs@.service).
func attend(ctx context.Context, s *server, m *mountSpec) {
	socket, look := m.places().socketOf(m.Dir), newLook(m.Dir)
	unit := systemd.New(systemd.Options{
		Alive: func(ctx context.Context) error {
			if err := look.at(ctx); err != nil {
				return err
			}
			_, err := ask(ctx, socket, request{Op: "status"})
			return err
		},
		Status: func(ctx context.Context) string { return statusLine(ctx, socket) },
	})
	unit.Ready(ctx)
	watching, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { // ends with watching
		unit.Watch(watching)
		close(ended)
	}()
	s.stay(ctx, func() {
		cancel()
		<-ended
		unit.Stopping()
	})
}

// look asks a mount for something that the kernel never answers from memory and that no service is asked for: its size. A mount that
// hangs keeps the one who asks, for as long as it hangs; so nobody else asks until that one is back.
type look struct {
	dir  string
	free chan struct{} // holds one token while nobody asks
}

func newLook(dir string) *look {
	l := &look{dir: dir, free: make(chan struct{}, 1)}
	l.free <- struct{}{}
	return l
}

func (l *look) at(ctx context.Context) error {
	select {
	case <-l.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	answer := make(chan error, 1)
	go func() { // ends when the mount answers, or with the process
		var st unix.Statfs_t
		answer <- unix.Statfs(l.dir, &st)
		l.free <- struct{}{}
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// statusLine is what systemctl status shows of a mount: sources and figures, no names of files.
func statusLine(ctx context.Context, socket string) string {
	r, err := ask(ctx, socket, request{Op: "status"})
	if err != nil || r.Mount == nil {
		return "mounted"
	}
	sources, left, trouble := len(r.Mount.Sources), 0, ""
	var bytes int64
	for _, s := range r.Mount.Sources {
		left, bytes = left+s.Uploads.moving()+s.Uploads.stalled(), bytes+s.Uploads.BytesLeft
		if len(s.Errors) > 0 && trouble == "" {
			trouble = "; " + s.Errors[0].Why
		}
	}
	line := "mounted " + count(sources, "source", "sources") + " at " + r.Mount.Dir
	if left > 0 {
		line += fmt.Sprintf("; %s not stored yet (%s)", countFiles(left), humanBytes(bytes))
	}
	return line + trouble
}
