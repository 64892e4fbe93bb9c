package cache

// readahead decides how far beyond a read to fetch. It has no lock, clock or I/O: its owner guards it. All figures
// are bytes. It sees the reads of one handle in the order in which they reach us, which is not quite the order in
// which the program made them: the kernel's own read-ahead arrives in pieces and out of order, so a little
// backward and forward counts as in sequence.
//
//	        lo          next      hi
//	---------|............|========|-----------
//	          slack        fetched
//	                       ahead
//
// A program that reads at random pays 128 KiB per read, or a quarter more than it asks for; one that reads in sequence gets a window that
// doubles, and is filled up every time half of it, or 4 MiB, are used up: in small steps, since requests that begin together end together, and
// the line stands still until the next ones are answered. The beginning of a file is read by everybody who only wants to know
// what it is: nothing is fetched ahead until a program leaves the first 128 KiB, or asks for more than such a look takes. One that has just
// read another file of the directory to its end is believed at once.
type readahead struct {
	max  int64 // largest window
	next int64 // where the last read in sequence ended
	hi   int64 // fetched or asked for up to here, in the present sequence
	win  int64 // the next window; 0 while reads are at random
	run  int   // reads in sequence since the last jump
	head bool  // the present sequence began at the beginning of the file

	eager bool // whoever reads the beginning will read on
}

const (
	// firstWindow is asked for when a program goes on behind the first block of a file.
	firstWindow = 1 << 20
	// slack is how far off a read may lie and still be in sequence: the largest request of the kernel.
	slack = 1 << 20
	// headMost is what a program that only looks at a head reads of it at most, as the kernel has it for 64 KiB.
	headMost = 2 * leastFetch
	// touch is how far off the second read after a jump may lie. Narrower than slack: of 100 random reads in
	// 256 MiB, one pair in ten sequences of 100 touches by chance; with 1 MiB it would be nearly every one.
	touch = leastFetch
)

// read notes a read of n bytes at off and returns the range [off+n, end) to fetch ahead; end <= off+n means nothing.
// jumped tells that the sequence before was left, so what was asked for ahead in it is no longer wanted.
func (r *readahead) read(off, n int64) (end int64, jumped bool) {
	if !r.inSequence(off, n) {
		jumped = r.win > 0
		*r = readahead{max: r.max, next: off + n, hi: off + n, head: off == 0, eager: r.eager}
		if r.head && (r.eager || n > headMost) {
			r.win = min(firstWindow, r.max)
			r.hi += r.win
		}
		return r.hi, jumped
	}
	r.run++
	r.next = max(r.next, off+n)
	if r.win == 0 {
		if r.head && r.next <= leastFetch {
			return r.hi, false
		}
		// The second read that touches the one before: now it is a sequence.
		r.win = max(2*leastFetch, n)
		if r.head {
			r.win = firstWindow
		}
		r.win = min(r.win, r.max)
		r.hi = max(r.hi, r.next) + r.win
		return r.hi, false
	}
	if r.next+r.win-r.hi >= min(r.win/2, maxRun*BlockSize) {
		r.win = min(2*r.win, r.max)
		r.hi = max(r.hi, r.next+r.win)
	}
	return r.hi, false
}

// through reports whether a file of this size was read from its beginning to its end.
func (r *readahead) through(size int64) bool { return r.head && r.next >= size }

func (r *readahead) inSequence(off, n int64) bool {
	near := int64(slack)
	if r.win == 0 {
		if r.next == 0 {
			return false // nothing was read yet
		}
		near = touch
	}
	return off+n >= r.next-near && off <= max(r.next, r.hi)+near
}
