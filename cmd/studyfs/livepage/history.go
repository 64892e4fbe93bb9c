package livepage

import (
	"math"
	"sync"
	"time"
)

const (
	sampleEvery = 5 * time.Second
	sampleCount = 180 // a quarter of an hour
)

// sample is what happened between two looks, per second.
type sample struct {
	At     int64   `json:"at"` // Unix milliseconds, of the later look
	In     float64 `json:"in"` // bytes received
	Out    float64 `json:"out"`
	Reads  float64 `json:"reads"`  // requests that list or read
	Writes float64 `json:"writes"` // all others
}

// totals are the figures that samples are differences of.
type totals struct {
	in, out, reads, writes int64
}

func totalsOf(v View) (t totals) {
	for _, s := range v.Sources {
		r := s.Requests
		t.in, t.out = t.in+s.In, t.out+s.Out
		t.reads += r.List + r.Get + r.Head
		t.writes += r.Put + r.Delete + r.Other
	}
	return t
}

// history keeps the samples of the last quarter of an hour.
type history struct {
	mu      sync.Mutex // guards what follows
	samples []sample   // the newest last
	seq     int        // number of the newest, from 1
	then    totals
	at      time.Time // of then
}

// look adds a sample, the first time only what the next is compared with. A clock that was set back gives none.
func (h *history) look(now time.Time, t totals) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seconds := now.Sub(h.at).Seconds()
	first := h.at.IsZero()
	was := h.then
	h.at, h.then = now, t
	if first || seconds <= 0 {
		return
	}
	rate := func(now, then int64) float64 { return math.Round(10*float64(max(now-then, 0))/seconds) / 10 } // short, as it is sent often
	h.samples = append(h.samples, sample{
		At: now.UnixMilli(), In: rate(t.in, was.in), Out: rate(t.out, was.out), Reads: rate(t.reads, was.reads), Writes: rate(t.writes, was.writes),
	})
	h.seq++
	if drop := len(h.samples) - sampleCount; drop > 0 {
		h.samples = h.samples[drop:]
	}
}

// recent is what a page lacks that has the samples up to a number.
type recent struct {
	Seq     int      `json:"seq"`
	SpanS   float64  `json:"span_s"` // what the charts show
	Keep    int      `json:"keep"`   // samples
	Samples []sample `json:"samples"`
}

func (h *history) since(seq int) recent {
	h.mu.Lock()
	defer h.mu.Unlock()
	missing := len(h.samples)
	if seq > 0 && seq <= h.seq {
		missing = min(missing, h.seq-seq)
	}
	return recent{Seq: h.seq, SpanS: (sampleCount * sampleEvery).Seconds(), Keep: sampleCount, Samples: append([]sample{}, h.samples[len(h.samples)-missing:]...)}
}
