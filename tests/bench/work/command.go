package work

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"time"

	"studyfs/tests/bench/data"
)

// tally is what a program printed, however much it was.
type tally struct {
	lines   int
	files   int   // lines of ls -l that tell of one
	sizes   int64 // of these
	largest int64 // number that a line begins with
	head    []byte
	sum     uint32
}

// collect reads a program's output to its end.
func collect(out io.Reader) (t tally, err error) {
	sum := data.NewSum()
	in := bufio.NewReaderSize(io.TeeReader(out, sum), mib)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			t.add(line)
		}
		if errors.Is(err, io.EOF) {
			t.sum = sum.Sum32()
			return t, nil
		}
		if err != nil {
			return t, err
		}
	}
}

func (t *tally) add(line []byte) {
	t.lines++
	if len(t.head) < 4*kib {
		t.head = append(t.head, line...)
	}
	fields := bytes.Fields(line)
	if line[0] == '-' && len(fields) > 4 {
		size, _ := strconv.ParseInt(string(fields[4]), 10, 64) // a wrong one is found in the sum
		t.files++
		t.sizes += size
	}
	if len(fields) > 0 {
		if n, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil {
			t.largest = max(t.largest, n)
		}
	}
}

// execute runs a program in the target's folder. It is killed when ctx ends.
func execute(ctx context.Context, dir string, args ...string) (tally, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return tally{}, err
	}
	if err := cmd.Start(); err != nil {
		return tally{}, err
	}
	t, err := collect(out)
	if werr := cmd.Wait(); werr != nil {
		last := bytes.Split(bytes.TrimSpace(errs.Bytes()), []byte("\n"))
		return t, fmt.Errorf("%w: %s", werr, last[len(last)-1])
	}
	return t, err
}
