package work

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/mounts"
	"studyfs/tests/bench/store"
)

// Beiwe is a scan of one stream of all people. No other program here can mount such a server.
func Beiwe(size Size) []Workload {
	row := func(stream string) Workload {
		prepare, op := scan(stream)
		return Workload{
			Group: "Beiwe", Name: "all hours of " + stream + ", 3 people, a week", Set: data.Spec{Kind: data.Empty}, Store: store.Beiwe,
			Shape: store.Shape{Latency: usual, Rate: gigabit}, Steps: []Step{Cold, Again, Restart}, Proof: Asked,
			Beside: []string{mounts.Studyfs}, Prepare: prepare, Op: op,
		}
	}
	switch size {
	case Quick:
		return []Workload{row("gps")}
	case Medium:
		return nil
	case Full:
	}
	return []Workload{row("gps"), row("accelerometer")}
}

func scan(stream string) (prepare func(context.Context, Target) error, op Op) {
	var files []store.File
	prepare = func(_ context.Context, t Target) (err error) {
		files, err = t.Store.Study(stream)
		return err
	}
	op = func(_ context.Context, t Target) (done Done, err error) {
		for _, f := range files {
			raw, err := os.ReadFile(filepath.Join(t.Dir, f.Name))
			if err != nil {
				return done, err
			}
			sum := data.NewSum()
			sum.Write(raw)
			if int64(len(raw)) != f.Size || sum.Sum32() != f.Sum {
				return done, fmt.Errorf("wrong bytes in %s", f.Name)
			}
			done.Bytes += f.Size
		}
		done.All = done.Bytes
		return done, nil
	}
	return prepare, op
}
