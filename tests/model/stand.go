package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"studyfs/tests/harness"
)

// stand is a server and a home, where one campaign after the other is played.
type stand struct {
	t     *testing.T
	env   *harness.Env
	run   *runner
	world *world
	dir   string

	count counts
}

// counts are what was done.
type counts struct {
	campaigns, histories, steps, kills, struck, remounts, drains, orphans, conflicts, theirs, ours int
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{t: t, env: harness.New(t), run: newRunner(t), world: newWorld(t)}
	s.env.Profile("lab")
	s.dir = filepath.Join(s.env.Home, "mnt")
	t.Cleanup(s.clear)
	return s
}

// clear ends what is mounted and forgets all.
func (s *stand) clear() {
	if harness.Mounted(s.dir) {
		s.studyfs("umount", s.dir)
		harness.Abort(s.dir)
	}
	for _, d := range []string{".cache", ".state"} {
		os.RemoveAll(filepath.Join(s.env.Home, d))
	}
	s.world.reset()
}

// studyfs runs the program to its end.
func (s *stand) studyfs(args ...string) harness.Result {
	s.t.Helper()
	return s.run.run(s.t, s.env, args...)
}

// match is one campaign under way.
type match struct {
	*stand
	c       Campaign
	players []*player
	pid     int
	dead    atomic.Bool
	wrong   []string
}

// play plays a campaign, and returns what was wrong.
func (s *stand) play(c Campaign) *match {
	s.clear()
	r := &match{stand: s, c: c}
	r.mount()
	for i := range c.histories() {
		p := newPlayer(s.world, s.dir, fmt.Sprintf("h%02d", i))
		p.ended = r.dead.Load
		s.world.may([]byte(keeper))
		if err := os.Mkdir(p.dir, 0o755); err != nil {
			r.fail("%v", err)
		} else if err := os.WriteFile(p.path(keeper), []byte(keeper), 0o644); err != nil {
			r.fail("%v", err)
		}
		r.players = append(r.players, p)
	}
	for i, ph := range c.Phases {
		if len(r.wrong) > 0 {
			break
		}
		r.phase(i, ph)
	}
	s.count.campaigns++
	s.count.histories += c.histories()
	for _, p := range r.players {
		s.count.steps += p.steps
	}
	s.count.theirs, s.count.ours = s.world.theirs, s.world.ours
	return r
}

func (r *match) fail(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

func (r *match) mount() {
	args := []string{"mount", "s3://study/", "--endpoint-url", r.world.url, "--profile", "lab", "--region", "us-east-1", "--write", "--delete", "--quiet", r.c.Quiet}
	if !r.c.Passthrough {
		args = append(args, "--no-passthrough")
	}
	if x := r.studyfs(append(args, r.dir)...); x.Code != 0 {
		r.fail("mount: exit %d\n%s", x.Code, x.Err)
		return
	}
	r.dead.Store(false)
	x := r.studyfs("status", "--json", r.dir)
	var report struct {
		Mounts []struct {
			PID int `json:"pid"`
		} `json:"mounts"`
	}
	if err := json.Unmarshal([]byte(x.Out), &report); err != nil || len(report.Mounts) != 1 {
		r.fail("status: exit %d, %v\n%s", x.Code, err, x.Err)
		return
	}
	r.pid = report.Mounts[0].PID
}

// phase lets all histories go on side by side, and then does what ends it.
func (r *match) phase(i int, ph Phase) {
	stop := r.world.faults(ph.Faults)
	defer stop()
	var done atomic.Int64
	strike := make(chan struct{})
	counted := func() {
		if done.Add(1) == int64(ph.After) {
			close(strike)
		}
	}
	var wg sync.WaitGroup
	for h, p := range r.players {
		p.faulty = ph.Faults != ""
		p.note("phase %d, faults %q", i, ph.Faults)
		wg.Go(func() { p.play(ph.Ops[h], counted) })
	}
	over := make(chan struct{})
	go func() {
		wg.Wait()
		close(over)
	}()
	select {
	case <-strike:
		r.strike()
	case <-over:
	}
	r.wait(over)
	r.gather()
	if len(r.wrong) == 0 {
		r.event(ph.Event, stop)
		r.gather()
	}
}

// wait returns when all calls have; those that hang on a mount that is dead are freed.
func (r *match) wait(over chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(20 * time.Second):
			if !r.dead.Load() {
				r.fail("calls hang")
				r.dead.Store(true)
			}
			harness.Abort(r.dir)
		}
	}
}

func (r *match) gather() {
	for _, p := range r.players {
		for _, w := range p.wrong {
			r.fail("%s%s", p.prefix, w)
		}
		p.wrong = nil
	}
}

// strike kills the process that serves the mount, whatever is under way.
func (r *match) strike() {
	r.dead.Store(true)
	harness.KillProcess(r.t, r.pid)
	r.count.kills++
}

func (r *match) event(event string, stop func()) {
	switch event {
	case "struck", "kill":
		if !r.dead.Load() {
			r.strike()
		}
		r.afterKill()
	case "term":
		r.terminate()
	case "drain":
		stop()
		r.drained()
	case "umount":
		r.closeAll()
		if x := r.studyfs("umount", r.dir); x.Code != 0 {
			r.fail("umount: exit %d\n%s", x.Code, x.Err)
			return
		}
		r.remount()
	case "end":
		stop()
		r.closeAll()
		r.drained()
		r.anew()
	}
}

// closeAll closes all files through the mount.
func (r *match) closeAll() {
	for _, p := range r.players {
		for slot, h := range p.t.handles {
			if h != nil && len(p.wrong) == 0 {
				p.change(Op{Do: "close", Slot: slot})
			}
		}
	}
	r.gather()
}

// terminate ends the process in good order, with files open: as with a kill, what was never closed is kept aside.
func (r *match) terminate() {
	r.dead.Store(true)
	if err := syscall.Kill(r.pid, syscall.SIGTERM); err != nil {
		r.fail("SIGTERM: %v", err)
		return
	}
	for deadline := time.Now().Add(15 * time.Second); harness.Alive(r.pid); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.fail("it does not end on SIGTERM")
			return
		}
	}
	r.afterKill()
}

// afterKill mounts again and finds out what is there.
func (r *match) afterKill() {
	for _, p := range r.players {
		p.abandon()
	}
	r.remount()
}

// abandon closes what was open on a dead mount, and thinks through what may have become of it.
func (p *player) abandon() {
	for slot, fd := range p.fds {
		if fd >= 0 {
			syscall.Close(fd) // which fails: the mount is dead
			p.fds[slot] = -1
		}
	}
	if p.pending == nil {
		p.pending = []*tree{p.t}
	} else {
		p.note("the kill came into the last call")
	}
	stored := func(path string) ([]byte, bool) { return p.w.now(p.prefix + path) }
	for _, t := range p.pending {
		t.killed(p.torn, stored)
		t.each(func(_ string, n *node) {
			for _, b := range n.alts {
				p.w.may(b)
			}
		})
	}
}

// remount mounts again and compares.
func (r *match) remount() {
	r.mount()
	r.count.remounts++
	if len(r.wrong) > 0 {
		return
	}
	items := r.items()
	for _, p := range r.players {
		p.note("mounted again")
		if p.pending != nil {
			r.count.struck += min(len(p.pending)-1, 1)
		}
		found := p.scan()
		p.orphans(items, found)
		p.settle(found)
		for name, c := range p.theirs {
			c.restarted(p.w.versions(c.key))
			p.contested(Op{Do: "theirs-read", A: name})
		}
	}
	r.gather()
}

// orphans looks whether what was never closed is kept aside.
func (p *player) orphans(items []item, found map[string]seen) {
	if len(p.pending) != 1 { // whether it was closed is not known
		return
	}
	p.pending[0].each(func(path string, n *node) {
		if _, there := found[path]; !n.orphan || there && len(n.alts) == 0 || len(p.torn[n]) > 0 {
			return
		}
		kept := slices.ContainsFunc(items, func(i item) bool {
			return i.Name == p.prefix+path && i.State == "orphan" && i.Size == int64(len(n.data))
		})
		if !kept {
			p.fail("%s was never closed, and its %d bytes are not kept as an orphan", path, len(n.data))
		}
	})
}

// item is what uploads ls --json says of a staged file.
type item struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Size  int64  `json:"size"`
	Error string `json:"error"`
}

func (r *match) items() []item {
	x := r.studyfs("uploads", "ls", "--json")
	var report struct {
		Stages []struct {
			Items []item `json:"items"`
		} `json:"stages"`
	}
	if err := json.Unmarshal([]byte(x.Out), &report); err != nil {
		r.fail("uploads ls: exit %d, %v\n%.2000s%s", x.Code, err, x.Out, x.Err)
	}
	var all []item
	for _, s := range report.Stages {
		all = append(all, s.Items...)
	}
	return all
}

// drained waits until all is stored that can be, and compares the bucket with the model.
func (r *match) drained() {
	r.count.drains++
	states := map[string]string{}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		x := r.studyfs("uploads", "wait", "--timeout", "3s", r.dir) // it would wait for open files to be closed
		clear(states)
		moving := 0
		for _, i := range r.items() {
			if (i.State == "staged" || i.State == "uploading") && !r.writing(i.Name) {
				moving++
			}
			if i.State != "orphan" {
				states[i.Name] = i.State
			}
		}
		if moving == 0 || len(r.wrong) > 0 {
			break
		}
		if time.Now().After(deadline) {
			r.fail("not all is stored: exit %d, %v\n%s%s", x.Code, states, x.Out, x.Err)
			return
		}
	}
	r.world.mu.Lock()
	r.wrong = append(r.wrong, r.world.wrong...)
	r.world.mu.Unlock()
	for _, p := range r.players {
		p.stored(states)
		for name, c := range p.theirs {
			p.judge(name, c, states)
		}
	}
}

// writing reports whether a history has a file open for writing: it goes out when it is closed.
func (r *match) writing(name string) bool {
	for _, p := range r.players {
		if path, ok := strings.CutPrefix(name, p.prefix); ok {
			_, _, n, err := p.t.walk(path)
			return err == nil && n != nil && n.write > 0
		}
	}
	return false
}

// stored compares the bucket with the model.
func (p *player) stored(states map[string]string) {
	left := p.w.below(p.prefix, false)
	delete(left, keeper)
	for name := range p.theirs {
		delete(left, name)
	}
	p.t.each(func(path string, n *node) {
		key := path
		switch n.kind {
		case regular:
			delete(left, key)
			got, there := p.w.now(p.prefix + key)
			if n.write > 0 { // it goes out when nobody writes to it
				return
			}
			if !there || !bytes.Equal(got, n.data) {
				p.fail("%s: stored is %s (%v) instead of %s; state %q, all: %v", path, brief(got), there, brief(n.data), states[p.prefix+path], p.w.versions(p.prefix+key))
			}
		case link:
			key += ".rclonelink"
			delete(left, key)
			if got, _ := p.w.now(p.prefix + key); string(got) != n.target {
				p.fail("%s: stored is %s instead of a link to %s", path, brief(got), n.target)
			}
		case directory:
			key += "/"
			if len(n.kids) == 0 && !left[key] {
				p.fail("%s: an empty directory is not stored", path)
			}
			delete(left, key)
		}
	})
	delete(left, "")
	for _, key := range slices.Sorted(maps.Keys(left)) {
		p.fail("%s is stored, but should not be: %v", key, p.w.versions(p.prefix+key))
	}
}

// anew mounts with an empty cache, as another machine would that has the same bucket: all is there.
func (r *match) anew() {
	if len(r.wrong) > 0 {
		return
	}
	for _, i := range r.items() {
		switch i.State {
		case "orphan":
			r.count.orphans++
		case "conflict":
			r.count.conflicts++
		}
	}
	if x := r.studyfs("umount", r.dir); x.Code != 0 {
		r.fail("umount: exit %d\n%s", x.Code, x.Err)
		return
	}
	r.env.EmptyCache()
	r.mount()
	if len(r.wrong) > 0 {
		return
	}
	for _, p := range r.players {
		p.note("mounted again, with an empty cache")
		p.settle(p.scan())
	}
	r.gather()
	r.studyfs("umount", r.dir)
}

// save keeps all that is known of a campaign in a directory of its own, and returns that.
func (r *match) save() string {
	dir, err := os.MkdirTemp(os.Getenv("STUDYFS_MODEL_LOGS"), "studyfs-model-")
	if err != nil {
		return err.Error()
	}
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			r.t.Log(err)
		}
	}
	put("campaign", r.c.String())
	put("wrong", strings.Join(r.wrong, "\n"))
	for _, p := range r.players {
		put("history-"+strings.TrimSuffix(p.prefix, "/"), strings.Join(p.log, "\n"))
	}
	var b strings.Builder
	for _, q := range r.world.srv.Requests() {
		fmt.Fprintf(&b, "%s %s %s %s match %q none %q: %d %s\n", q.Time.Format("05.000000"), q.Op, q.Key, q.Query.Encode(), q.IfMatch, q.IfNoneMatch, q.Status, q.Fault)
	}
	put("requests", b.String())
	put("uploads", r.studyfs("uploads", "ls", "--json").Out)
	logs, _ := filepath.Glob(filepath.Join(r.env.Home, ".state", "studyfs", "*.log"))
	more, _ := filepath.Glob(filepath.Join(r.env.Home, ".state", "studyfs", "*", "*.log"))
	for i, log := range append(logs, more...) {
		raw, _ := os.ReadFile(log)
		put(fmt.Sprintf("server-%d.log", i), string(raw))
	}
	return dir
}
