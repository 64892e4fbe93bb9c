// Package livepage shows a mount in a web browser of the same machine: sources, cache, requests and throughput, what waits for its
// upload, and what needs somebody's decision, which can be given there.
//
// What it shows names people, and what it does cannot be undone, so:
//
//   - it listens on a loopback address only, and answers only requests whose Host is that address: a name that somebody has
//     pointed at it (DNS rebinding) is refused;
//   - each request carries a token of 128 random bits, made anew for each mount: in the path of the page and its files, in a header
//     (Authorization: Bearer) of everything else. It is not in a cookie: browsers send those to every port of a machine, so to
//     other users' programs too. Without it nothing is answered, not even whether a path exists;
//   - a page of another origin is refused, and could not send the header;
//   - the answers forbid scripts, styles and everything else from elsewhere or inline, frames, referrers and storage;
//   - names are put into the page as text, never as HTML, and the browser is told to refuse anything else.
package livepage

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// ErrAddress says that an address is not one of this machine alone.
var ErrAddress = errors.New("not a loopback address with a port")

//go:embed web
var web embed.FS

// CheckAddress tells whether the page may listen there: 127.0.0.1:0 (any free port), [::1]:8080, localhost:8080. Everything else is [ErrAddress].
func CheckAddress(address string) error {
	_, err := loopback(address)
	return err
}

// loopback reads an address. A name other than localhost is refused whatever it stands for now.
func loopback(address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q: %w", address, ErrAddress)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	number, wrong := strconv.ParseUint(port, 10, 16)
	if err != nil || wrong != nil || !ip.IsLoopback() || ip.Is4In6() || ip.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%q: %w", address, ErrAddress)
	}
	return netip.AddrPortFrom(ip, uint16(number)), nil
}

// Options are what a page needs. All but the last three are required.
type Options struct {
	Address string       // see [CheckAddress]
	Mount   Mount        // not used before Serve
	Log     *slog.Logger // is told of nothing that a request holds

	Every time.Duration    // between two samples of the charts; default: 5 s
	Now   func() time.Time // default: the clock
	Rand  io.Reader        // 16 bytes are read for the token; default: the system's
}

// Server is a page that is being served.
type Server struct {
	o        Options
	token    string
	listener net.Listener
	http     *http.Server
	history  history
	metrics  http.Handler
	files    fs.FS

	ctx     context.Context //nolint:containedctx // of everything that goes on for a browser; ended by Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	answers sync.RWMutex // held for reading by each answer
}

// Listen takes the address. Nothing is answered before Serve; Close must be called in any case.
func Listen(ctx context.Context, o Options) (*Server, error) {
	at, err := loopback(o.Address)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every <= 0 {
		o.Every = sampleEvery
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	s := &Server{o: o}
	if s.token, err = newToken(o.Rand); err != nil {
		return nil, err
	}
	if s.files, err = fs.Sub(web, "web"); err != nil {
		return nil, fmt.Errorf("live page: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("live page: %w", err)
	}
	s.listener = limit(listener, maxConns)
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.metrics = newMetrics(o.Mount)
	s.http = &http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: headPatience, ReadTimeout: readPatience, WriteTimeout: writePatience, IdleTimeout: idlePatience,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return s.ctx },
		ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn), // requests are not in it
	}
	return s, nil
}

const (
	headPatience  = 5 * time.Second
	readPatience  = 10 * time.Second
	writePatience = 90 * time.Second // a conflict is settled by asking the service
	idlePatience  = 2 * time.Minute
	maxHeader     = 16 << 10
	maxBody       = 4 << 10
	tokenBytes    = 16
)

// URL is where the page is. Whoever has it can see and do what the page can: it is shown to the user, and never logged.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/" + s.token + "/" }

// Serve answers from now on, until Close.
func (s *Server) Serve() {
	s.running.Go(func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.o.Log.WarnContext(s.ctx, "the live page ends", "why", err)
		}
	})
	s.running.Go(s.watch)
}

// watch looks at the figures now and then, so that a page that is opened later can show how they came about.
func (s *Server) watch() {
	tick := time.NewTicker(s.o.Every)
	defer tick.Stop()
	for {
		s.history.look(s.o.Now(), totalsOf(s.o.Mount.View()))
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// Close ends all answers and returns when Mount is not used any more.
func (s *Server) Close() error {
	s.cancel()
	err := s.http.Close()
	s.listener.Close() //nolint:errcheck // a second time where Serve was called
	s.running.Wait()
	s.answers.Lock()
	defer s.answers.Unlock()
	return err
}
