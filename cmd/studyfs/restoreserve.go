package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"studyfs/cmd/studyfs/host"
)

// restore does a job for a client and tells it how it gets on, a line each time. It ends with the job, the mount or the client.
func (c *control) restore(conn *net.UnixConn, q restoreRequest) {
	c.working.RLock()
	defer c.working.RUnlock()
	ctx, cancel := context.WithCancel(c.jobs) // ended already: nothing is touched any more
	defer cancel()
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // cannot fail on an open socket
	go func() {                       // ends with the connection, which the caller closes
		conn.Read(make([]byte, 1)) //nolint:errcheck // its end is the news
		cancel()
	}()
	answers := json.NewEncoder(conn)
	newRestoreJob(c.m, q).run(ctx, func(r restoreReport) error {
		conn.SetWriteDeadline(time.Now().Add(farewell)) //nolint:errcheck // cannot fail on an open socket
		return answers.Encode(response{Restore: &r})
	})
}

// askOn sends a request that is answered by several lines, and hands them on until one is the last.
func askOn(ctx context.Context, socket string, q request, take func(response) (done bool)) error {
	var conn net.Conn
	err := host.WithShortPath(socket, func(short string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", short)
		return err
	})
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return errNoMount
	case err != nil:
		return fmt.Errorf("control socket: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing to lose
	defer context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Now()) //nolint:errcheck // cannot fail on an open socket
	})()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	lines := json.NewDecoder(conn)
	for {
		conn.SetReadDeadline(time.Now().Add(controlTimeout)) //nolint:errcheck // as above
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var r response
		switch err := lines.Decode(&r); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("control socket: no answer: %w", err)
		case r.Failure != nil:
			return r.Failure
		case take(r):
			return nil
		}
	}
}
