package systemd

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// A mount that hangs must not keep its watchdog quiet; one that answers again does.
func TestWatchdogFollowsTheMount(t *testing.T) {
	tick, sent, answers := make(chan time.Time), make(chan string, 10), make(chan error)
	u := New(Options{
		Alive: func(context.Context) error { return <-answers }, Status: func(context.Context) string { return "2 files\nwait" },
		Send: func(m string) { sent <- m }, Every: time.Hour, Tick: tick,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	u.Ready(ctx)
	go func() { u.Watch(ctx); close(ended) }()
	want := func(message string) {
		t.Helper()
		if got := <-sent; got != message {
			t.Errorf("told %q; want %q", got, message)
		}
	}
	look := func(answer error) {
		tick <- time.Time{} // taken when the one before has been dealt with
		answers <- answer
	}
	want("READY=1\nSTATUS=2 files wait")
	look(nil)
	want("WATCHDOG=1")
	look(errors.New("no answer"))
	want("STATUS=the mount does not answer (no answer)")
	look(errors.New("no answer")) // nothing new
	look(nil)
	want("WATCHDOG=1\nSTATUS=2 files wait")
	u.Stopping()
	want("STOPPING=1\nSTATUS=unmounting")
	cancel()
	<-ended
	if len(sent) > 0 {
		t.Errorf("told more: %q", <-sent)
	}
}

// A mount that never answers again must not hold up the end of its process.
func TestHangingMountIsGivenUp(t *testing.T) {
	tick, sent := make(chan time.Time), make(chan string, 10)
	u := New(Options{
		Alive:  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		Status: func(context.Context) string { return "" }, Send: func(m string) { sent <- m }, Every: time.Millisecond, Tick: tick,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { u.Watch(ctx); close(ended) }()
	tick <- time.Time{}
	if got := <-sent; got != "STATUS=the mount does not answer (context deadline exceeded)" {
		t.Errorf("told %q", got)
	}
	cancel()
	<-ended
}

// What the service manager gives in the environment is what is followed.
func TestEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "60000000")
	u := New(Options{Status: func(context.Context) string { return "fine" }})
	u.Ready(t.Context())
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1\nSTATUS=fine" || u.o.Every != 30*time.Second {
		t.Errorf("told %q, %v; looks every %v", buf[:n], err, u.o.Every)
	}
}
