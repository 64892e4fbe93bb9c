package work

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/store"
)

// interpreter is the distribution's: another one in the path may lack the packages.
const interpreter = "/usr/bin/python3"

// ErrSkipped is what a workload ends with that cannot be run on this machine.
var ErrSkipped = errors.New("skipped")

// Programs is what researchers run. What they print must be the same as on a folder of this machine.
func Programs(size Size) []Workload {
	if size == Medium {
		return nil
	}
	shape := store.Shape{Latency: usual, Rate: gigabit}
	images := data.Spec{Bucket: "images", Kind: data.Image, Count: 2}
	hours := data.Spec{Bucket: "hours", Kind: data.CSV, Count: pick(size, 50, 0, 500), Size: pick[int64](size, 500, 0, 2000)}
	raw := data.Spec{Bucket: "raw", Kind: data.Avro, Count: pick(size, 1, 0, 4)}
	return []Workload{
		python("nibabel: slices of an image of 8 MiB, mapped and not", images, shape, "nibabel", lines(
			`import nibabel, numpy`,
			`a = nibabel.load("raw/T1w_acpc_dc.nii", mmap="r").dataobj`,
			`print(numpy.asarray(a[40, 40]).sum(), numpy.asarray(a[..., 200]).sum())`,
			`b = nibabel.load("raw/T1w_acpc_dc.nii", mmap=False).dataobj`,
			`print(numpy.asarray(b[..., 100]).sum())`,
			`c = nibabel.load("raw/data.nii.gz").dataobj`,
			`print(numpy.asarray(c[..., 20]).sum())`)),
		python(fmt.Sprintf("pandas: %d hourly tables", hours.Count), hours, shape, "pandas", lines(
			`import glob, pandas`,
			`files = sorted(glob.glob("accelerometer/*.csv"))`,
			`all = pandas.concat(pandas.read_csv(f) for f in files)`,
			`print(len(files), len(all), all["y"].sum(), all["z"].sum())`)),
		python(fmt.Sprintf("avro: %d raw files", raw.Count), raw, shape, "avro", lines(
			`import glob`,
			`from avro.datafile import DataFileReader`,
			`from avro.io import DatumReader`,
			`for f in sorted(glob.glob("raw/*.avro")):`,
			`    for r in DataFileReader(open(f, "rb"), DatumReader()):`,
			`        print(r["deviceSn"], sum(r["rawData"]["accelerometer"]["x"]))`)),
	}
}

func python(name string, set data.Spec, shape store.Shape, module, script string) Workload {
	var want tally
	prepare := func(ctx context.Context, t Target) error {
		if exec.Command(interpreter, "-c", "import "+module).Run() != nil {
			return fmt.Errorf("%w: %s has no %s", ErrSkipped, interpreter, module)
		}
		var err error
		want, err = execute(ctx, t.Native, interpreter, "-c", script)
		return err
	}
	return Workload{
		Group: "Programs", Name: name, Set: set, Shape: shape, Proof: Asked, Native: true, Prepare: prepare, Limit: time.Minute,
		Op: func(ctx context.Context, t Target) (Done, error) {
			got, err := execute(ctx, t.Dir, interpreter, "-c", script)
			if err == nil && got.sum != want.sum {
				err = fmt.Errorf("it prints %.60q, and %.60q of the same files on this disk", got.head, want.head)
			}
			return Done{}, err
		},
	}
}
