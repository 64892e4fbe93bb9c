package fs

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends"
	"studyfs/cache"
	"studyfs/cache/view"
)

// A mount served by the process that uses it can hang beyond any kill: a thread waits in the kernel for an answer
// that the dying process will not give. So the test binary starts itself again to serve.

const childVar = "STUDYFS_FS_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		os.Exit(serve(os.Getenv(childVar)))
	}
	os.Exit(m.Run())
}

// setup is what a test wants to be served.
type setup struct {
	Dir, Cache       string
	Trees            []string // names; each its own source
	Objects          []object
	Many             int // files many/00000000 … beside them
	XAttrs, Writable bool
	NoPassthrough    bool
	NoOpen           bool
	StageKey         []byte
	User             int // who serves; 0: root
	TTL              time.Duration
	Deaf             bool     // nobody tells the kernel of changes
	Indexed          bool     // the sources keep their own index, and hide what it calls hidden
	Lab              bool     // trees can be written to; each its own source in memory
	ReadOnly         []string // names of trees that cannot, even so
	Delete           bool     // what is stored in them may be deleted
	Quota            int64
	Eager            bool // what is staged is uploaded all the time, as soon as nobody writes to it
	Others           bool // other users may come in
	Patience         int  // seconds after which a test hangs; 0: 30
	Counted          bool // requests of the kernel are counted
	View             bool // the trees have one, of Empatica's, with days of UTC+14
	PyAFQ            bool // or of HCP's
	MaxNodes         int64
	Page             int // the sources are listed by pages of so many
}

type object struct {
	Name, Version string
	Size          int64
	Archived      bool
	Link          string // a symbolic link to there
	Unsized       bool   // listings do not tell its size
}

func serve(spec string) int {
	var o setup
	if err := json.Unmarshal([]byte(spec), &o); err != nil {
		fmt.Println("fail", err)
		return 1
	}
	s := &server{o: o, sources: map[string]*fakeSource{}}
	if err := s.start(); err != nil {
		fmt.Println("fail", strings.ReplaceAll(err.Error(), "\n", "; "))
		return 1
	}
	fmt.Println("ok")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(s.do(strings.Fields(in.Text())))
	}
	s.fs.Unmount()
	return 0
}

type server struct {
	o       setup
	sources map[string]*fakeSource
	fs      *FS
	log     bytes.Buffer
	ttl     atomic.Int64
	labs    map[string]*lab
	rounds  rounds
	paged   *pagedSource // of the last tree
}

func (s *server) start() error {
	c := cache.New(cache.Options{})
	var trees []Tree
	for i, name := range s.o.Trees {
		if s.o.Lab && !slices.Contains(s.o.ReadOnly, name) {
			s.ttl.Store(int64(s.o.TTL))
			t, err := s.openLab(c, name, filepath.Join(s.o.Cache, strconv.Itoa(i)))
			if err != nil {
				return err
			}
			trees = append(trees, t)
			continue
		}
		src := newFakeSource()
		for _, obj := range s.o.Objects {
			src.put(obj.Name, obj.Version, obj.Size)
			if obj.Archived {
				src.archive(obj.Name)
			}
			if obj.Link != "" {
				src.link(obj.Name, obj.Link)
			}
			src.unsized[obj.Name] = obj.Unsized
		}
		for n := range s.o.Many {
			src.put(fmt.Sprintf("many/%08d", n), "1", 10)
		}
		s.sources[name] = src
		s.ttl.Store(int64(s.o.TTL))
		var shown backends.Source = src
		if s.o.Page > 0 {
			s.paged = &pagedSource{fakeSource: src, page: s.o.Page, allowed: -1}
			shown = s.paged
		}
		if s.o.Indexed {
			shown = indexedSource{src}
		}
		store, err := c.Open(testContext(), shown, cache.SourceOptions{
			Dir: filepath.Join(s.o.Cache, strconv.Itoa(i)), SmallFile: 1 << 20,
			TTL: func(string, time.Time) time.Duration { return time.Duration(s.ttl.Load()) },
			Changed: func(c backends.Change) {
				if !s.o.Deaf {
					s.fs.Changed(name, c)
				}
			},
		})
		if err != nil {
			return err
		}
		t := Tree{Name: name, Store: store}
		switch {
		case s.o.View:
			t.View = view.Empatica(store, time.FixedZone("", 14*3600))
		case s.o.PyAFQ:
			t.View = view.PyAFQ(store, "HCP_1200")
		}
		trees = append(trees, t)
	}
	var trace slog.Handler
	if s.o.Counted {
		trace = &s.rounds
	}
	var err error
	s.fs, err = New(Options{
		trace: trace, maxNodes: s.o.MaxNodes, Dir: s.o.Dir, FsName: "test:source", Trees: trees, XAttrs: s.o.XAttrs, Passthrough: !s.o.NoPassthrough, NoOpen: s.o.NoOpen,
		CacheDir: s.o.Cache, UID: 1234, GID: 2345, Log: slog.New(slog.NewTextHandler(&s.log, nil)), writableMount: s.o.Writable, AllowOther: s.o.Others,
	})
	if err != nil {
		return err
	}
	return s.fs.Mount()
}

// do runs one command of the test: TREE/NAME is written with the tree first, "." for the one at the root.
func (s *server) do(cmd []string) string {
	if len(cmd) > 1 {
		if l := s.labs[treeName(cmd[1])]; l != nil {
			if answer := l.do(cmd); answer != "?" {
				return answer
			}
		}
	}
	switch cmd[0] {
	case "put":
		size, _ := strconv.ParseInt(cmd[4], 10, 64)
		s.src(cmd[1]).put(cmd[2], cmd[3], size)
	case "remove":
		s.src(cmd[1]).remove(cmd[2])
	case "link":
		s.src(cmd[1]).link(cmd[2], cmd[3])
	case "tell": // as a source does that knows no more than that
		s.src(cmd[1]).tell(backends.Change{Dir: strings.TrimPrefix(cmd[2], "/"), All: true})
	case "stall":
		s.src(cmd[1]).stall(cmd[2] == "on")
	case "changed":
		s.fs.Changed(treeName(cmd[1]), backends.Change{Dir: strings.TrimPrefix(cmd[2], "/"), Names: cmd[3:]})
	case "left":
		src := s.src(cmd[1])
		src.mu.Lock()
		defer src.mu.Unlock()
		return strconv.Itoa(src.left)
	case "wait":
		s.fs.Wait()
	case "ttl":
		ttl, _ := time.ParseDuration(cmd[1])
		s.ttl.Store(int64(ttl))
	case "flood":
		s.flood(treeName(cmd[1]), cmd[2], cmd[3] == "everything")
	case "passthrough":
		on, why := s.fs.Passthrough()
		return fmt.Sprint(on, " ", why)
	case "readahead":
		n, why := s.fs.ReadAhead()
		return fmt.Sprint(n, " ", why)
	case "connection":
		n, err := s.fs.Connection()
		return fmt.Sprint(n, " ", err)
	case "stat":
		info, err := s.fs.Stat(testContext(), cmd[1])
		return fmt.Sprint(info.Tree, " ", info.Entry.Size, " ", info.Entry.Version, " ", info.State, " ", err)
	case "pages":
		n, _ := strconv.Atoi(cmd[2])
		s.paged.allow(n, false)
	case "refuse":
		s.paged.allow(0, true)
	case "forget":
		s.fs.Changed(treeName(cmd[1]), backends.Change{Dir: cmd[2], All: true})
	case "nodes":
		return strconv.FormatInt(s.fs.nodes.Load(), 10)
	case "rounds":
		return s.rounds.take()
	case "log":
		return strconv.Quote(s.log.String())
	case "unmount":
		start := time.Now()
		err := s.fs.Unmount()
		return fmt.Sprint(time.Since(start) < time.Minute, " ", err)
	}
	return "ok"
}

// flood sends more changes than can be remembered; the last of them may come after the first was told.
func (s *server) flood(tree, dir string, everything bool) {
	if everything {
		s.fs.inval.mu.Lock()
		s.fs.inval.everything = true
		s.fs.inval.mu.Unlock()
		s.fs.Changed(tree, backends.Change{})
		s.fs.inval.wake <- struct{}{}
		return
	}
	c := backends.Change{Dir: dir}
	for n := range maxNames + 1 {
		c.Names = append(c.Names, strconv.Itoa(n))
	}
	s.fs.Changed(tree, c)
}

func (s *server) src(name string) *fakeSource { return s.sources[treeName(name)] }

func treeName(name string) string {
	if name == "." {
		return ""
	}
	return name
}

// mounted is a mount served by a child.
type mounted struct {
	dir string
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner

	eager bool
	pass  bool // the kernel may use files by itself
}

func mount(t *testing.T, o setup) *mounted {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse")
	}
	if o.Trees == nil {
		o.Trees = []string{""}
	}
	if o.TTL == 0 {
		o.TTL = time.Hour
	}
	o.Dir, o.Cache = directory(t, o.User), directory(t, o.User)
	spec, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3") // another user may not come by its path
	cmd.ExtraFiles = []*os.File{self}
	if o.User != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.User), Gid: uint32(o.User)}}
	}
	cmd.Env = append(os.Environ(), childVar+"="+string(spec))
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &mounted{eager: o.Eager, pass: !o.NoPassthrough, dir: o.Dir, t: t, in: in, out: bufio.NewScanner(out)}
	m.out.Buffer(nil, 1<<20)
	hung := time.AfterFunc(time.Duration(cmp.Or(o.Patience, 30))*time.Second, func() { // killing the server ends every call on the mount
		fmt.Fprintln(os.Stderr, "the mount hung; killing its server")
		cmd.Process.Kill()
	})
	t.Cleanup(func() {
		in.Close()
		err := cmd.Wait()
		hung.Stop()
		unmount(o.Dir, true) // after a kill; otherwise it is gone
		if err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	if !m.out.Scan() || m.out.Text() != "ok" {
		t.Fatalf("mount: %s", m.out.Text())
	}
	return m
}

// directory makes one that belongs to a user and that others can reach.
func directory(t *testing.T, user int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "studyfs-test-*") //nolint:usetesting // t.TempDir lies where other users cannot go
	if err == nil {
		err = os.Chown(dir, user, user)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (m *mounted) do(cmd ...string) string {
	m.t.Helper()
	fmt.Fprintln(m.in, strings.Join(cmd, " "))
	if !m.out.Scan() {
		m.t.Fatal("the server is gone")
	}
	return m.out.Text()
}

func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

func testContext() context.Context { return context.Background() }

func opened(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func dirNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// readings are the ways in which bytes reach programs.
func readings() []setup { return []setup{{}, {NoPassthrough: true}, {NoOpen: true}} }

func (o setup) name() string {
	return fmt.Sprintf("passthrough=%v,open=%v", !o.NoPassthrough && !o.NoOpen, !o.NoOpen)
}
