package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressLine is one line on a terminal that is written over again and again. Elsewhere it shows nothing.
type progressLine struct {
	out   io.Writer // nil: no terminal
	since time.Time // where the speed is measured from
	then  int64     // bytes left at that time
	speed float64
	shown bool
}

func newProgressLine(w io.Writer) *progressLine {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progressLine{out: w}
	}
	return &progressLine{}
}

// speedOver is how long bytes are counted for a speed.
const speedOver = 2 * time.Second

// show tells what is left.
func (p *progressLine) show(now time.Time, files int, left int64) {
	if p.out == nil {
		return
	}
	switch {
	case p.since.IsZero():
		p.since, p.then = now, left
	case now.Sub(p.since) >= speedOver:
		p.speed = max(0, float64(p.then-left)/now.Sub(p.since).Seconds())
		p.since, p.then = now, left
	}
	text := fmt.Sprintf("%s, %s left", countFiles(files), humanBytes(left))
	if p.speed > 0 {
		text += fmt.Sprintf(", %s/s", humanBytes(int64(p.speed)))
	}
	p.shown = true
	fmt.Fprintf(p.out, "\r\x1b[K%s", text) //nolint:errcheck // a terminal
}

// say writes the line over.
func (p *progressLine) say(text string) {
	if p.out == nil {
		return
	}
	p.shown = true
	fmt.Fprintf(p.out, "\r\x1b[K%s", text) //nolint:errcheck // a terminal
}

// clear takes the line away.
func (p *progressLine) clear() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K") //nolint:errcheck // a terminal
		p.shown = false
	}
}
