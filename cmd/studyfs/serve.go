package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends"
	"studyfs/cache"
	"studyfs/cmd/studyfs/audit"
	"studyfs/cmd/studyfs/host"
	"studyfs/cmd/studyfs/livepage"
	"studyfs/fs"
)

// serve is the serving process: it reads what to mount, mounts it, says so, and ends when the mount does.
func serve() int {
	keepSecrets()
	expectWaits()
	stayLean()
	signal.Ignore(syscall.SIGPIPE) // whoever reads our messages may go before us
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	in, out := os.NewFile(fdSpec, "spec"), os.NewFile(fdReady, "ready")
	spec := &mountSpec{}
	reader := bufio.NewReader(in)
	if err := json.NewDecoder(reader).Decode(spec); err != nil {
		fmt.Fprintln(os.Stderr, "studyfs: "+serveCommand+" is started by studyfs mount only")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if spec.Leash {
		go func() { // ends with the pipe: when the other process closes it or dies
			buf := make([]byte, 1)
			for {
				if _, err := in.Read(buf); err != nil {
					stop()
					return
				}
			}
		}()
	}
	log, live := newLiveLogger(os.Stderr, spec.LogLevel, secretsOf(spec.Sources))
	m := &mountServer{spec: spec, log: log, live: live, started: time.Now(), stop: stop, hangups: hangups}
	m.reloader = newReloader(m, processEnvironment())
	ready, err := m.open(ctx)
	if err != nil {
		if spec.Log != "" { // else whoever waits says it where the log goes
			log.ErrorContext(ctx, "cannot mount", "why", err)
		}
		ready.Failure = asFailure(spec.Dir, err)
	}
	if err != nil || ctx.Err() != nil {
		m.close(ctx)
		json.NewEncoder(out).Encode(ready) //nolint:errcheck // whoever waited is gone
		return exitError
	}
	json.NewEncoder(out).Encode(ready) //nolint:errcheck // whoever waited is gone; the mount is wanted all the same
	out.Close()                        //nolint:errcheck // as above
	m.run(ctx)
	return exitOK
}

// keepSecrets keeps keys and participants' data out of core dumps, and other processes of the user from attaching to this one. That either
// fails is no reason not to mount.
func keepSecrets() {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) //nolint:errcheck // said above
	host.Shield()                                    //nolint:errcheck // said above
}

// expectWaits lets more goroutines run than there are processors. What this process does is wait: in fsync, in pread, for the kernel's next
// request. A goroutine that does keeps its place among those that run until the runtime notices, up to some milliseconds later; with
// two places and eight writers, closes of 1 KiB were 13 to 17 % fewer a second.
func expectWaits() {
	const places = 8
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < places {
		runtime.GOMAXPROCS(places)
	}
}

// stayLean has what nobody needs any more collected at half of what is needed, not at as much: a listing of a million keys is 160 MB, and there is
// little else that is made anew and again.
func stayLean() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

func asFailure(what string, err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{What: what, Why: err.Error(), Code: exitError}
}

// mountServer is one mount and what it stands on.
type mountServer struct {
	spec    *mountSpec
	log     *slog.Logger
	started time.Time
	stop    func() // makes run return
	sources []*liveSource
	audit   *auditor // nil where nothing is noted
	cache   *cache.Cache
	fs      atomic.Pointer[fs.FS]
	control *control
	page    *livepage.Server // nil where nobody asked for one

	live     *liveLog
	reloader *reloader
	hangups  <-chan os.Signal // each asks for the configuration to be read again
}

// open does everything up to the point where the mount can be used. The sources are asked before anything is mounted,
// so that a wrong key leaves no mount behind.
func (m *mountServer) open(ctx context.Context) (readiness, error) {
	var r readiness
	var err error
	var notice string
	if err := m.listenPage(ctx); err != nil {
		return r, err
	}
	if m.audit, notice, err = openAudit(m.spec.places(), m.spec.Dir, m.spec.AuditDays, m.spec.Sources); err != nil {
		return r, err
	}
	if notice != "" {
		r.Notices = append(r.Notices, notice)
	}
	m.cache = cache.New(cache.Options{MaxBytes: m.spec.CacheSize, Memory: m.spec.Memory, Now: time.Now, Log: m.log})
	var all sync.WaitGroup
	for _, spec := range m.spec.Sources {
		s := &liveSource{spec: spec, audit: m.audit}
		m.sources = append(m.sources, s)
		all.Go(func() { s.trouble = m.openSource(ctx, s) })
	}
	all.Wait()
	failed := 0
	for _, s := range m.sources {
		r.Notices = append(r.Notices, s.notices...)
		if s.trouble == nil {
			continue
		}
		failed++
		m.log.WarnContext(ctx, "source does not answer", "source", s.spec.id(), "why", s.trouble)
		if len(m.sources) > 1 {
			r.Notices = append(r.Notices, asFailure(s.spec.describe(), s.trouble).Error())
		}
	}
	if failed == len(m.sources) {
		return r, m.sources[0].trouble
	}
	r.Partial = failed > 0
	if err := m.mount(); err != nil { //nolint:contextcheck // what serves the mount outlives the start
		return r, err
	}
	if m.control, err = listenControl(m); err != nil {
		return r, &failure{What: "control socket", Why: lastCause(err), Do: "choose another place with --state-dir", Code: exitCannotCreate}
	}
	if m.page != nil {
		m.page.Serve()
		r.Page = m.page.URL()
	}
	return r, nil
}

// maxKey is how many bytes the whole key of an object may have.
const maxKey = 1024

func (m *mountServer) mount() error {
	var trees []fs.Tree
	writes := false
	for _, s := range m.sources {
		if s.store == nil {
			continue
		}
		t := fs.Tree{Name: m.spec.folder(s.spec), Store: s.store, View: s.view}
		if w := s.writing; w != nil && !w.ended() {
			t.Stage, t.Delete, t.MaxName = w.stage, s.spec.Write.Delete, maxKey-len(s.spec.Prefix)-s.spec.suffix()
			t.StageDir = w.stage.Dir()
			if to, ok := s.remote.(backends.Writer); ok {
				t.Writer = &auditedWriter{to, m, s.spec}
			}
			writes = true
		}
		trees = append(trees, t)
	}
	f, err := fs.New(fs.Options{
		Dir: m.spec.Dir, FsName: m.spec.fsName(), Trees: trees, AllowOther: m.spec.AllowOther, NoExec: m.spec.NoExec, NoIndex: m.spec.NoIndex,
		NoOpen: m.spec.NoOpen, Passthrough: !m.spec.NoPassthrough, CacheDir: m.spec.CacheDir,
		XAttrs: writes, // they cost ls -l two requests per file
		Opened: m.opener(),
		UID:    uint32(os.Getuid()), GID: uint32(os.Getgid()), Log: m.log, Now: time.Now,
	})
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := f.Mount(); err != nil {
		code := exitCannotCreate
		if errors.Is(err, fs.ErrUnavailable) {
			code = exitUnreachable
		}
		return &failure{What: m.spec.Dir, Why: lastCause(err), Do: "in a container: start it with --device /dev/fuse --cap-add SYS_ADMIN", Code: code}
	}
	m.fs.Store(f)
	m.auditAll(audit.OpMount)
	return nil
}

// run returns when the mount is gone: by umount, by a signal, or because its owner ended.
func (m *mountServer) run(ctx context.Context) {
	gone := make(chan struct{})
	go func() { // ends with the mount, which close takes away
		m.fs.Load().Wait()
		close(gone)
	}()
	working, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { // ends with working, but for a command that prints keys and has its own patience
		m.reloader.run(working, m.hangups)
		close(ended)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(stopPatience):
	}
	m.close(ctx)
}

// close takes the mount away and saves what later mounts can use. It works after a failed open, too.
func (m *mountServer) close(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	m.closePage(ctx)
	if m.control != nil {
		m.control.endJobs()
	}
	if f := m.fs.Load(); f != nil {
		if err := f.Unmount(); err != nil {
			m.log.WarnContext(ctx, "unmount", "err", err)
		}
	}
	for _, s := range m.sources {
		if err := s.close(); err != nil { //nolint:contextcheck // it takes none: it must save whatever was cancelled
			m.log.WarnContext(ctx, "saving the cache", "err", err)
		}
	}
	m.tellLeft(ctx)
	if err := m.endAudit(); err != nil {
		m.log.ErrorContext(ctx, "audit log", "err", err)
	}
	if m.spec.RemoveDir {
		if err := os.Remove(m.spec.Dir); err != nil {
			m.log.WarnContext(ctx, "removing the directory that was made for the mount", "err", err)
		}
	}
	if m.control != nil {
		m.control.close()
	}
}

// tellLeft says what is not uploaded to whoever reads our output: whoever unmounts is told by the control socket.
func (m *mountServer) tellLeft(ctx context.Context) {
	left := m.left()
	if left.done() {
		return
	}
	m.log.InfoContext(ctx, "not all is uploaded", "files", left.Files, "bytes", left.Bytes, "stalled", left.Stalled, "open", left.Open)
	if m.spec.Log == "" {
		for _, line := range left.lines() {
			fmt.Fprintln(os.Stderr, "studyfs: "+line)
		}
	}
}
