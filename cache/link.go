package cache

import (
	"sync"
	"time"
)

// link measures how long a source takes to answer and how fast its bytes come. It is safe for concurrent use.
type link struct {
	mu     sync.Mutex // guards all below; a leaf
	wait   time.Duration
	rate   float64 // bytes a second, all bodies together
	bodies int     // being read
}

const (
	leastTarget = 1 << 20 // on the way ahead of a reader, at the least
	firstTarget = 4 << 20 // before anything is known
	leastSample = 32 << 10
	smoothing   = 8
)

// answered notes how long an answer took to begin, whose body is being read from now on.
func (l *link) answered(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bodies++
	if l.wait == 0 {
		l.wait = d
	}
	l.wait += (d - l.wait) / smoothing
}

// came notes that a body has ended of which n bytes took d to come.
func (l *link) came(n int64, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	beside := l.bodies
	l.bodies--
	if n < leastSample || d <= 0 {
		return
	}
	rate := float64(n) * float64(beside) / d.Seconds() // the others had as much
	if l.rate == 0 {
		l.rate = rate
	}
	l.rate += (rate - l.rate) / smoothing
}

// target is how many bytes should be on their way ahead of somebody who reads all that comes: what the link brings in the time of two answers,
// since more is asked for once half of it is used up.
func (l *link) target() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wait == 0 || l.rate == 0 {
		return firstTarget
	}
	return max(leastTarget, int64(min(2*l.wait.Seconds()*l.rate, defaultWindow)))
}
