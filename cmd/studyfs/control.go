package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/host"
)

// request is what a client asks a serving process over its control socket: one line of JSON, answered by one.
type request struct {
	Op      string          `json:"op"` // status, stat, uploads, restore, warm, rekey, umount
	Path    string          `json:"path,omitempty"`
	Force   bool            `json:"force,omitempty"`
	Uploads *uploadsRequest `json:"uploads,omitempty"`
	Restore *restoreRequest `json:"restore,omitempty"` // answered by several lines: how it gets on
	Warm    *warmRequest    `json:"warm,omitempty"`    // so is this
	Keys    *sourceSpec     `json:"keys,omitempty"`    // of rekey: the source, with the keys that it is to use from now on
}

type response struct {
	Failure *failure       `json:"failure,omitempty"`
	Mount   *mountStatus   `json:"mount,omitempty"`
	Object  *objectStatus  `json:"object,omitempty"`
	Uploads []stageReport  `json:"uploads,omitempty"`
	Restore *restoreReport `json:"restore,omitempty"`
	Warm    *warmReport    `json:"warm,omitempty"`
	Taken   int            `json:"taken,omitempty"` // how many sources have taken the keys
	Left    *leftover      `json:"left,omitempty"`  // after an umount, in a second answer: what is not uploaded
}

const (
	controlTimeout = 70 * time.Second // a stat may need a listing, which may take a minute
	statusTimeout  = 5 * time.Second  // status needs nothing: who is slower hangs
	listTimeout    = 15 * time.Second // so does a list of what is staged, but that may be long
	farewell       = time.Second      // for the last words to a client that waits
	maxRequest     = 64 << 10
)

// control is the listening side.
type control struct {
	m        *mountServer
	path     string
	listener *net.UnixListener
	closing  chan struct{} // closed when the mount and its cache are closed
	serving  sync.WaitGroup

	jobs    context.Context //nolint:containedctx // of all that goes on for longer than an answer; ended by endJobs
	noJobs  context.CancelFunc
	working sync.RWMutex // held for reading by each of those
}

func listenControl(m *mountServer) (*control, error) {
	c := &control{m: m, path: m.spec.places().socketOf(m.spec.Dir), closing: make(chan struct{})}
	c.jobs, c.noJobs = context.WithCancel(context.Background())
	if err := os.Remove(c.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	err := host.WithShortPath(c.path, func(short string) (err error) {
		old := unix.Umask(0o177) // the socket is 0600 from its first moment on
		defer unix.Umask(old)
		c.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	c.listener.SetUnlinkOnClose(false) // it would use the short path, which is gone
	c.serving.Go(c.accept)
	return c, nil
}

func (c *control) accept() {
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			return // closed
		}
		c.serving.Go(func() { c.handle(conn) })
	}
}

// endJobs ends what goes on for clients, before what it works on is closed.
func (c *control) endJobs() {
	c.noJobs()
	c.working.Lock()
	defer c.working.Unlock()
}

// close ends the conversations. A client that waits for the end of the mount sees its connection close now.
func (c *control) close() {
	c.endJobs()
	os.Remove(c.path)  //nolint:errcheck // a socket that nobody answers is removed by the next client
	c.listener.Close() //nolint:errcheck // nothing to lose
	close(c.closing)
	c.serving.Wait()
}

func (c *control) handle(conn *net.UnixConn) {
	defer conn.Close() //nolint:errcheck // the client may be gone
	if !sameUser(conn) {
		return
	}
	conn.SetDeadline(time.Now().Add(controlTimeout)) //nolint:errcheck // cannot fail on an open socket
	var q request
	if err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&q); err != nil {
		return
	}
	if q.Op == "restore" && q.Restore != nil {
		c.restore(conn, *q.Restore)
		return
	}
	if q.Op == "warm" && q.Warm != nil {
		c.warm(conn, *q.Warm)
		return
	}
	r := c.answer(q)
	json.NewEncoder(conn).Encode(r) //nolint:errcheck // the client may be gone
	if q.Op == "umount" && r.Failure == nil {
		<-c.closing
		conn.SetDeadline(time.Now().Add(farewell))               //nolint:errcheck // cannot fail on an open socket
		json.NewEncoder(conn).Encode(response{Left: c.m.left()}) //nolint:errcheck // the client may be gone
	}
}

func (c *control) answer(q request) response {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	switch q.Op {
	case "status":
		return response{Mount: c.m.status()}
	case "stat":
		o, err := c.m.stat(ctx, q.Path)
		if err != nil {
			return response{Failure: asFailure(q.Path, err)}
		}
		return response{Object: o}
	case "uploads":
		if q.Uploads == nil {
			break
		}
		all, err := c.m.uploads(ctx, *q.Uploads)
		if err != nil {
			return response{Failure: asFailure(c.m.spec.Dir, err)}
		}
		return response{Uploads: all}
	case "rekey":
		if q.Keys == nil {
			break
		}
		taken, err := c.m.rekeyAll(ctx, *q.Keys)
		if err != nil {
			return response{Taken: taken, Failure: asFailure(c.m.spec.Dir, err)}
		}
		return response{Taken: taken}
	case "umount":
		return response{Failure: c.m.unmount(q.Force)}
	}
	return response{Failure: &failure{What: q.Op, Why: "the mount is served by another version of studyfs, which does not know this", Code: exitError}}
}

// unmount takes the mount away unless programs use it; with force, whoever uses it.
func (m *mountServer) unmount(force bool) *failure {
	if force {
		m.stop() // what SIGTERM does: hope for a moment, then detach
		return nil
	}
	err := plainUnmount(m.spec.Dir)
	switch {
	case err == nil, mountedAt(m.spec.Dir) == "":
		return nil
	case errors.Is(err, unix.EBUSY), os.Geteuid() != 0: // fusermount3 gives no code, and being busy is its one reason for a mount of our own
		return &failure{
			What: m.spec.Dir, Why: "programs still use it (an open file, or a shell whose current directory it is)",
			Do: "fuser -vm " + quote(m.spec.Dir) + " shows which; end them, or: studyfs umount --force " + quote(m.spec.Dir), Code: exitTryAgain,
		}
	}
	return &failure{What: m.spec.Dir, Why: "cannot unmount (" + lastCause(err) + ")", Code: exitError}
}

// sameUser lets in the user that the mount belongs to, and root. The mode of the socket says the same, but not
// everywhere: some systems ignore it.
func sameUser(conn *net.UnixConn) bool {
	uid, err := host.PeerUser(conn)
	return err == nil && (uid == os.Geteuid() || uid == 0)
}

// errNoMount says that nobody answers for a mount point.
var errNoMount = errors.New("not a mount of studyfs")

// ask sends one request to the process behind a socket. With an umount it returns only when that process has saved
// everything.
func ask(ctx context.Context, socket string, q request) (response, error) {
	var r response
	patience := controlTimeout
	switch {
	case q.Op == "status":
		patience = statusTimeout
	case q.Uploads != nil && !q.Uploads.asksService():
		patience = listTimeout + q.Uploads.Patience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var conn net.Conn
	err := host.WithShortPath(socket, func(short string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", short)
		return err
	})
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		os.Remove(socket) //nolint:errcheck // left by a process that was killed
		return r, errNoMount
	case errors.Is(err, os.ErrNotExist):
		return r, errNoMount
	case err != nil:
		return r, fmt.Errorf("control socket: %w", err)
	}
	defer conn.Close()                         //nolint:errcheck // nothing to lose
	conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // cannot fail on an open socket
	defer context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Now()) //nolint:errcheck // nor here
	})()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return r, fmt.Errorf("control socket: %w", err)
	}
	answer := bufio.NewReader(conn)
	decoder := json.NewDecoder(answer)
	if err := decoder.Decode(&r); err != nil {
		return r, fmt.Errorf("control socket: no answer: %w", err)
	}
	if r.Failure != nil {
		return r, r.Failure
	}
	if q.Op == "umount" {
		decoder.Decode(&r) //nolint:errcheck // its end is the news; what it says before that is welcome
	}
	return r, nil
}
