package work

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/store"
)

// CopyIn is `cp -r` into an empty bucket, until all is stored. Beside it stands when cp had ended, which is not the same promise everywhere: studyfs
// has synced the files by then, rclone has not, s3fs has stored them.
func CopyIn(size Size) []Workload {
	large := data.Spec{Bucket: "copied-large", Kind: data.Large, Count: 1, Size: pick[int64](size, 16*mib, 64*mib, 256*mib)}
	small := data.Spec{Bucket: "copied-small", Kind: data.Many, Count: pick(size, 50, 300, 1000), Size: 20 * kib}
	all := []Workload{
		copyIn(fmt.Sprintf("one file of %s", sizeText(large.Size)), large, store.Shape{Latency: usual, Rate: gigabit}),
		copyIn(fmt.Sprintf("%s files of 20 KiB", count(small)), small, store.Shape{Latency: usual}),
	}
	for i := range all {
		all[i].Rounds = pick(size, 0, 3, 0)
	}
	return all
}

func copyIn(name string, set data.Spec, shape store.Shape) Workload {
	return Workload{
		Group: "Copy-in", Name: fmt.Sprintf("%s, until stored", name), Set: set, Shape: shape, Proof: Stored, Write: true, Native: true,
		Op: func(ctx context.Context, t Target) (Done, error) {
			start := time.Now()
			cmd := exec.CommandContext(ctx, "cp", "-r", t.Native+"/.", t.Dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				return Done{}, fmt.Errorf("cp: %w: %s", err, out)
			}
			done := Done{Also: []Also{{"until `cp` has ended", time.Since(start)}}}
			if t.URL == "" {
				return done, settle(t.Dir)
			}
			all, err := stored(ctx, t, set)
			done.Bytes, done.All = all, all
			return done, err
		},
	}
}

// settle syncs a copy on this machine's disk, which is what studyfs has done when cp has ended.
func settle(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// stored waits until the bucket holds the set. Its bytes are compared when the clock has stopped.
func stored(ctx context.Context, t Target, set data.Spec) (int64, error) {
	for {
		there, err := t.Store.Arrived(t.Bucket, set)
		if err != nil {
			return 0, err
		}
		if there >= set.Count {
			return data.Bytes(set.Files()), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d files are stored: %w", there, set.Count, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
