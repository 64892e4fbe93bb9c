package store

import (
	"net"
	"sync"
	"time"
)

// link is one direction of a line that all connections share. A bandwidth per connection, as most proxies have it, would let who opens more
// of them have more.
type link struct {
	mu   sync.Mutex // guards both
	rate int64      // bytes per second, 0 for no limit
	free time.Time  // when the line has sent all that it took
}

// piece is what is sent in one go, and burst how far the line may be behind: sleeping is not exact.
const (
	piece = 64 << 10
	burst = 4 * time.Millisecond
)

func (l *link) set(rate int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = rate
}

// pass waits until the line has taken n bytes.
func (l *link) pass(n int) {
	l.mu.Lock()
	if l.rate <= 0 {
		l.mu.Unlock()
		return
	}
	now := time.Now()
	if earliest := now.Add(-burst); l.free.Before(earliest) {
		l.free = earliest
	}
	l.free = l.free.Add(time.Duration(int64(n) * int64(time.Second) / l.rate))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	if wait > 0 {
		time.Sleep(wait)
	}
}

// shaped is a listener whose connections share a line.
type shaped struct {
	net.Listener
	in, out *link
}

// Accept returns the next connection.
func (s shaped) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: s.in, out: s.out}, nil
}

type conn struct {
	net.Conn
	in, out *link
}

// Read counts what has come against the line.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.in.pass(n)
	}
	return n, err
}

// Write sends piece by piece, so that connections take turns.
func (c *conn) Write(b []byte) (sent int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), piece)]
		c.out.pass(len(part))
		n, err := c.Conn.Write(part)
		sent += n
		if err != nil {
			return sent, err
		}
		b = b[n:]
	}
	return sent, nil
}
