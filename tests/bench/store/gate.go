package store

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Counts is what came to the stores since they were last asked to forget it.
type Counts struct {
	Get, Head, List, Write, Other int   // requests
	Out, In                       int64 // bytes of bodies: sent, and received
	AtOnce                        int   // most requests at one time
}

// Requests is all of them.
func (c Counts) Requests() int { return c.Get + c.Head + c.List + c.Write + c.Other }

// gate delays and counts what goes to a store behind it.
type gate struct {
	mu      sync.Mutex // guards all below
	latency time.Duration
	counts  Counts
	now     int
}

func (g *gate) set(latency time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.latency = latency
}

func (g *gate) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counts = Counts{}
}

func (g *gate) read() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.counts
}

// enter counts a request and tells how long its answer must take at least.
func (g *gate) enter(r *http.Request) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now++
	g.counts.AtOnce = max(g.counts.AtOnce, g.now)
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodHead:
		g.counts.Head++
	case r.Method == http.MethodGet && key != "":
		g.counts.Get++
	case r.Method == http.MethodGet:
		g.counts.List++
	case key != "":
		g.counts.Write++
	default:
		g.counts.Other++
	}
	return g.latency
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now--
}

// before returns a handler that stands before next.
func (g *gate) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait := g.enter(r)
		defer g.leave()
		if wait > 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
			}
		}
		r.Body = &countedBody{ReadCloser: r.Body, gate: g}
		next.ServeHTTP(&countedWriter{ResponseWriter: w, gate: g}, r)
	})
}

type countedBody struct {
	io.ReadCloser
	gate *gate
}

// Read counts what comes in.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.gate.mu.Lock()
	defer b.gate.mu.Unlock()
	b.gate.counts.In += int64(n)
	return n, err
}

type countedWriter struct {
	http.ResponseWriter
	gate *gate
}

// Write counts what goes out, also when it has not reached the client yet: who breaks off an answer pays for what was on its way.
func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	w.gate.counts.Out += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
