package kill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// writerVar holds the Job of a process that is a writer.
const writerVar = "STUDYFS_TEST_WRITER"

func TestMain(m *testing.M) {
	if raw := os.Getenv(writerVar); raw != "" {
		var j Job
		if err := json.Unmarshal([]byte(raw), &j); err != nil {
			panic(err)
		}
		if err := Write(j); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	harness.Main(m)
}

// campaign is a number of kills with one way of saving.
type campaign struct {
	subject Subject
	srv     *s3test.Server
	variant Variant
	kills   int
	files   int // that must have been closed before it ends, beside the kills
	epoch   int // kills between two comparisons
	seed    uint64
	// tolerant: what is lost is counted and no failure.
	tolerant bool

	rnd    *rand.Rand
	next   int // version of the next file
	sums   map[string]string
	result result
}

type result struct {
	Verdict
	kills, struck, inFlight, hung, closed, held int
}

func (c *campaign) run(t *testing.T) result {
	t.Helper()
	c.rnd, c.sums = rand.New(rand.NewPCG(c.seed, 7)), map[string]string{}
	for epoch := 0; c.result.kills < c.kills || c.result.closed < c.files; epoch++ {
		below := fmt.Sprintf("e%03d", epoch)
		record := filepath.Join(t.TempDir(), "record")
		for range min(c.epoch, max(1, c.kills-c.result.kills)) {
			c.one(t, below, record)
		}
		c.subject.Mount(t)
		r := read(t, record)
		c.subject.Drain(t, func() bool { return r.Pending(c.bucket(below)) == 0 })
		v := r.Judge(c.bucket(below))
		if v.Bad() && !c.tolerant {
			t.Errorf("after %d kills: %s", c.result.kills, v)
		}
		c.result.closed += r.Closed()
		c.result.held += r.Opened()
		c.result.Lost = append(c.result.Lost, v.Lost...)
		c.result.Torn = append(c.result.Torn, v.Torn...)
		c.result.NeverClosed = append(c.result.NeverClosed, v.NeverClosed...)
		c.result.Both = append(c.result.Both, v.Both...)
		for _, key := range c.srv.Keys("study") { // all judged; the memory is wanted back
			c.srv.Delete("study", key)
		}
		clear(c.sums)
		c.subject.Kill(t)
	}
	return c.result
}

// one mounts, lets a writer work, kills the mount, and waits for the writer to find out.
func (c *campaign) one(t *testing.T, below, record string) {
	t.Helper()
	c.subject.Mount(t)
	before := len(read(t, record).Fails)
	c.srv.Reset()
	w := c.writer(t, below, record)
	time.Sleep(50*time.Millisecond + time.Duration(c.rnd.Int64N(int64(1450*time.Millisecond))))
	if fails := read(t, record).Fails; len(fails) > before {
		t.Fatalf("the writer failed before the mount was killed: %s", fails[len(fails)-1])
	}
	for _, r := range c.srv.Requests() {
		if r.Status == 0 && (r.Op == s3test.OpPut || r.Op == s3test.OpPart) {
			c.result.inFlight++
			break
		}
	}
	c.subject.Kill(t)
	if w.wait(t, c.subject.Dir()) {
		c.result.hung++
	}
	c.result.kills++
	r := read(t, record)
	c.next = max(c.next, r.Next())
	if r.Pending(c.bucket(below)) > 0 {
		c.result.struck++
	}
	if c.result.kills%2 == 0 {
		harness.Abort(c.subject.Dir()) // at every other kill the dead mount is there when it is mounted again
	}
}

func read(t *testing.T, record string) *Record {
	t.Helper()
	r, err := ReadRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// bucket returns the sums of what is below a directory of the bucket, by name.
func (c *campaign) bucket(below string) map[string]string {
	sums := map[string]string{}
	for _, key := range c.srv.Keys("study") {
		o, ok := c.srv.Object("study", key)
		if !ok || key[len(key)-1] == '/' || len(key) < len(below) || key[:len(below)] != below {
			continue
		}
		id := key + o.ETag + strconv.FormatInt(o.ModTime.UnixNano(), 10)
		if c.sums[id] == "" {
			body := make([]byte, o.Size)
			o.Body.ReadAt(body, 0)
			c.sums[id] = harness.Sum(body)
		}
		sums[key] = c.sums[id]
	}
	return sums
}

// process is a writer under way.
type process struct {
	cmd  *exec.Cmd
	errs bytes.Buffer
	done chan error
}

func (c *campaign) writer(t *testing.T, below, record string) *process {
	t.Helper()
	raw, err := json.Marshal(Job{
		Dir: filepath.Join(c.subject.Dir(), below), Below: below, Record: record, Variant: c.variant, Seed: c.seed, First: c.next, Threads: harness.Sized(2, 4), Large: 150,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0]), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), writerVar+"="+string(raw))
	p.cmd.Stderr = &p.errs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p
}

// wait returns when the writer has ended, and whether it hung on the dead mount and had to be freed.
func (p *process) wait(t *testing.T, dir string) (hung bool) {
	t.Helper()
	for i, free := range []func(){func() {}, func() { harness.Abort(dir) }, func() { p.cmd.Process.Kill() }} {
		free()
		select {
		case err := <-p.done:
			if p.errs.Len() > 0 {
				t.Fatalf("writer: %v\n%s", err, p.errs.String())
			}
			return i > 0
		case <-time.After(5 * time.Second):
		}
	}
	t.Fatal("the writer cannot be ended")
	return true
}

func (r result) report(t *testing.T, c *campaign) {
	t.Helper()
	t.Logf("%s: %d kills (%d struck closed files that were not stored yet, %d a request under way, after %d the writer hung), %d files closed, %d never closed: %s",
		c.variant, r.kills, r.struck, r.inFlight, r.hung, r.closed, r.held, r.Verdict)
	if r.struck*10 < r.kills*3 {
		t.Errorf("only %d of %d kills struck anything: the test proves less than it should", r.struck, r.kills)
	}
	if r.held == 0 || r.closed == 0 {
		t.Error("nothing was written")
	}
}

// A mount is killed again and again while programs save files on it, and every file whose close succeeded is in the bucket in the
// end, whole; none that was still open is.
func TestKill(t *testing.T) {
	harness.NeedWrites(t)
	for i, variant := range []Variant{Close, Fsync, RenameOver} {
		t.Run(string(variant), func(t *testing.T) {
			srv, url := harness.Strict(t, "", s3test.Options{Latency: 40 * time.Millisecond})
			e := harness.New(t)
			e.Profile("lab")
			c := &campaign{
				subject: &Studyfs{Env: e, URL: url}, srv: srv, variant: variant,
				kills: kills(4, 100), files: harness.Sized(100, 7000), epoch: 20, seed: uint64(100 + i),
			}
			if variant == RenameOver { // of a name that is stored by then
				c.subject.(*Studyfs).Args = []string{"--delete"}
			}
			c.run(t).report(t, c)
		})
	}
}

// The same with staged files that are encrypted on the local disk.
func TestKillEncrypted(t *testing.T) {
	harness.NeedWrites(t)
	for i, variant := range []Variant{Close, Fsync, RenameOver}[:harness.Sized(1, 3)] {
		t.Run(string(variant), func(t *testing.T) {
			srv, url := harness.Strict(t, "", s3test.Options{Latency: 40 * time.Millisecond})
			e := harness.New(t)
			e.Profile("lab")
			c := &campaign{
				subject: &Studyfs{Env: e, URL: url, Args: []string{"--encrypt-cache", "--delete"}}, srv: srv, variant: variant,
				kills: kills(3, 100), files: harness.Sized(60, 5000), epoch: 20, seed: uint64(200 + i),
			}
			c.run(t).report(t, c)
		})
	}
}

// The same with rclone, for comparison: it is known to lose files, which is reported and not a failure.
func TestRcloneKill(t *testing.T) {
	program := RcloneProgram(t)
	for i, variant := range []Variant{Close, Fsync, RenameOver} {
		t.Run(string(variant), func(t *testing.T) {
			srv, url := harness.Strict(t, "", s3test.Options{Latency: 40 * time.Millisecond})
			home := t.TempDir()
			c := &campaign{
				subject: &Rclone{Program: program, URL: url, Home: home}, srv: srv, variant: variant,
				kills: kills(4, 60), epoch: 60, seed: uint64(100 + i), tolerant: true,
			}
			c.run(t).report(t, c)
		})
	}
}

// kills is the number of kills per variant: STUDYFS_KILLS sets it.
func kills(quick, full int) int {
	if n, err := strconv.Atoi(os.Getenv("STUDYFS_KILLS")); err == nil {
		return n
	}
	return harness.Sized(quick, full)
}
