package fs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// leaving are the signals that end a wait for data: the user wants the program to stop, or it asked for a limit. A
// deadly one, whatever its number, shows as a pending SIGKILL.
const leaving = 1<<(syscall.SIGHUP-1) | 1<<(syscall.SIGINT-1) | 1<<(syscall.SIGQUIT-1) | 1<<(syscall.SIGABRT-1) |
	1<<(syscall.SIGKILL-1) | 1<<(syscall.SIGTERM-1) | 1<<(syscall.SIGALRM-1)

// lookAgain is how often the signals of an interrupted program are looked at; the kernel tells only of the first.
const lookAgain = 100 * time.Millisecond

// patient returns a context that ends when the caller of the request leaves. The kernel interrupts a request at any
// signal, be it a child's end or a profiler's tick, and the answer would be EINTR from open(2) or SIGBUS from a
// mapping, which no program expects of a file. So it ends only for those in leaving. The CancelFunc ends all of it.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() { // ends with the request, by cancel
		select {
		case <-inner.Done():
			return
		case <-ctx.Done():
		}
		for again := time.NewTicker(lookAgain); !leaves(ctx); {
			select {
			case <-inner.Done():
				again.Stop()
				return
			case <-again.C:
			}
		}
		cancel()
	}()
	return inner, cancel
}

// leaves reports whether a signal that waits for the caller makes it give up. Where that cannot be told, it does.
func leaves(ctx context.Context) bool {
	caller, ok := ctx.(*fuse.Context)
	if !ok || caller.Pid == 0 { // no request, or a caller in another PID namespace
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", caller.Pid))
	return err != nil || waiting(status)&leaving != 0
}

// waiting reads the signals that are pending and not blocked from /proc/PID/status.
func waiting(status []byte) uint64 {
	var pending, blocked uint64
	for line := range bytes.Lines(status) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		if err != nil {
			continue
		}
		switch string(key) {
		case "SigPnd", "ShdPnd":
			pending |= mask
		case "SigBlk":
			blocked = mask
		}
	}
	return pending &^ blocked
}
