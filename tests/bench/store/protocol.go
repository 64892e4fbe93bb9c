// Package store runs the laboratory's stores in a process of their own, so that what they need of memory and garbage collection is not that of
// the measurement: s3test, which is strict, versitygw, which is a real one, and a Beiwe server. A line that all connections share and a gate
// before each of them shape the network and count.
package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"studyfs/tests/bench/data"
)

// Child is the variable that makes a program call [Serve] rather than what it does else.
const Child = "STUDYFS_BENCH_STORE"

// Shape is what the network is like.
type Shape struct {
	Latency time.Duration // from a request to the first byte of its answer, at least
	Rate    int64         // bytes per second in each direction, all connections together; 0 for no limit
}

// Name tells which of the stores is meant.
type Name string

// The stores.
const (
	Strict  Name = "strict"
	Gateway Name = "versitygw"
	Beiwe   Name = "beiwe"
)

// Account is what a Beiwe server must be told.
type Account struct{ Access, Secret string }

// Check is what came of holding a bucket against a set.
type Check struct {
	Objects int // that are there
	Wrong   int // whose size or bytes are not those of the set
	Missing int
}

// File is one file of the Beiwe server, by its path below a mount.
type File struct {
	Name string
	Size int64
	Sum  uint32 // CRC-32C
}

type command struct {
	Op     string
	Store  Name
	Bucket string
	Stream string
	Set    data.Spec
	Shape  Shape
}

type answer struct {
	Error  string
	URLs   map[Name]string
	Counts Counts
	Check  Check
	Files  []File
}

// Client asks the child process. It is safe for concurrent use.
type Client struct {
	URLs map[Name]string // addresses of the stores

	cmd *exec.Cmd
	mu  sync.Mutex // one question at a time
	in  io.WriteCloser
	out *bufio.Scanner
}

// Start runs program, which calls [Serve] when it finds the variable, with all stores; versitygw only if asked for: it takes a folder and a second.
func Start(ctx context.Context, program string, gateway bool) (*Client, error) {
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), Child+"=1", fmt.Sprintf("%s_GATEWAY=%t", Child, gateway))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	c := &Client{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	c.out.Buffer(nil, 64<<20)
	first, err := c.ask(command{Op: "addresses"})
	if err != nil {
		c.Close()
		return nil, err
	}
	c.URLs = first.URLs
	return c, nil
}

// Close ends the process.
func (c *Client) Close() {
	c.in.Close()
	late := time.AfterFunc(10*time.Second, func() { c.cmd.Process.Kill() })
	defer late.Stop()
	c.cmd.Wait()
}

func (c *Client) ask(q command) (answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := json.NewEncoder(c.in).Encode(q); err != nil {
		return answer{}, fmt.Errorf("store: %s: %w", q.Op, err)
	}
	if !c.out.Scan() {
		return answer{}, fmt.Errorf("store: %s: it has ended: %w", q.Op, errors.Join(c.out.Err(), io.ErrUnexpectedEOF))
	}
	var a answer
	if err := json.Unmarshal(c.out.Bytes(), &a); err != nil {
		return answer{}, fmt.Errorf("store: %s: %w", q.Op, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("store: %s: %s", q.Op, a.Error)
	}
	return a, nil
}

// Add makes the set's bucket and fills it, once.
func (c *Client) Add(name Name, set data.Spec) error {
	_, err := c.ask(command{Op: "add", Store: name, Set: set})
	return err
}

// Shape changes the network, and forgets all counts.
func (c *Client) Shape(s Shape) error {
	_, err := c.ask(command{Op: "shape", Shape: s})
	return err
}

// Counts tells what came since the last call of [Client.Shape].
func (c *Client) Counts() (Counts, error) {
	a, err := c.ask(command{Op: "counts"})
	return a.Counts, err
}

// Arrived counts the files of a set that a bucket of the strict store holds in their full size.
func (c *Client) Arrived(bucket string, set data.Spec) (int, error) {
	a, err := c.ask(command{Op: "arrived", Bucket: bucket, Set: set})
	return a.Check.Objects, err
}

// Check holds a bucket of the strict store against a set, byte by byte.
func (c *Client) Check(bucket string, set data.Spec) (Check, error) {
	a, err := c.ask(command{Op: "check", Bucket: bucket, Set: set})
	return a.Check, err
}

// Study lists the files of a stream on the Beiwe server.
func (c *Client) Study(stream string) ([]File, error) {
	a, err := c.ask(command{Op: "study", Stream: stream})
	return a.Files, err
}
