package cache

// track is an order, and the part of a listing that it is kept in.
type track struct {
	order  order
	before string // opened first: only a second one is worth a look at the listing
	list   nearby
}

const (
	lookBack  = 64  // names that are looked at before the one that was opened
	lookForth = 512 // and behind
)

// note takes in that base was opened, a file of dir or a directory. left is that of [order.note].
func (t *track) note(l *lister, dir, base string, dirs bool, depth int) (left bool) {
	if t.before == "" {
		t.before = base
		return false
	}
	at, ok := t.find(l, dir, base, dirs, depth)
	if !ok {
		return false
	}
	if first, ok := t.list.place(t.before); t.order.run == 0 && ok {
		t.order.note(first)
	}
	return t.order.note(at)
}

// find returns the place of base. What is known of the listing is looked up again where it ends before depth steps.
func (t *track) find(l *lister, dir, base string, dirs bool, depth int) (int, bool) {
	at, ok := t.list.place(base)
	if far := at + t.order.step*depth; ok && (far >= 0 || t.list.start) && (far < len(t.list.kids) || t.list.end) {
		return at, true
	}
	last, was := t.before, t.order.last
	if t.order.run > 0 {
		last = t.list.kids[was].base()
	}
	back, forth := lookBack, lookForth
	if t.order.step < 0 {
		back, forth = forth, back
	}
	t.list = l.nearby(dir, base, dirs, back, forth)
	if p, ok := t.list.place(last); ok {
		t.order.shift(p - was)
	} else {
		t.order = order{}
	}
	t.before = last
	return t.list.place(base)
}
