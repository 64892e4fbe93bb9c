package livepage

import (
	"net"
	"sync"
)

// maxConns is how many connections there are at once. Everybody on the machine can connect, and who holds thousands of them open would leave
// the mount without descriptors.
const maxConns = 64

// limited is a listener that accepts only as many connections as it has slots; who comes later waits in the kernel.
type limited struct {
	net.Listener

	slots  chan struct{}
	closed chan struct{}
	once   sync.Once // for closed
}

func limit(l net.Listener, n int) *limited {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept waits for a slot first.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slot{Conn: c, free: func() { <-l.slots }}, nil
}

// Close also wakes who waits for a slot.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// slot is a connection that gives its slot back, once.
type slot struct {
	net.Conn

	once sync.Once
	free func()
}

// Close closes it.
func (s *slot) Close() error {
	defer s.once.Do(s.free)
	return s.Conn.Close()
}
