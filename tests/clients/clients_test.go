// Package clients runs the programs that people use on a mount and holds their results against the same work on a plain copy.
package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/backends/s3/s3test/sample"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// study mounts the sample data of all three kinds and writes the same as plain files beside it.
func study(t *testing.T) (e *harness.Env, mount, plain string) {
	t.Helper()
	files := map[string]harness.File{}
	for dir, part := range map[string]map[string]harness.File{
		"empatica/": harness.Collect(t, sample.EmpaticaPrefix, sample.Empatica(sample.Options{Participants: 2, Days: 2})),
		"hcp/":      harness.Collect(t, "HCP_1200/", sample.HCP(sample.Options{})),
		"bids/":     harness.Collect(t, "", sample.BIDS(sample.Options{})),
	} {
		for name, f := range part {
			files[dir+name] = f
		}
	}
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", files)
	e = harness.New(t)
	e.Profile("lab")
	plain = filepath.Join(e.Home, "plain")
	for name, f := range files {
		path := filepath.Join(plain, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Body, 0o444); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, f.Mod, f.Mod); err != nil {
			t.Fatal(err)
		}
	}
	return e, e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab"), plain
}

// Each line is a shell script with $D as the data: what it prints must be the same on the mount and on the plain copy.
func TestShellTools(t *testing.T) {
	e, mount, plain := study(t)
	for name, script := range map[string]string{
		"ls -lR":           `cd "$D" && ls -lR --time-style=full-iso | awk '$1 ~ /^-/ {print $5, $6, $7, $9}'`,
		"find":             `cd "$D" && find . | sort && find . -type f -size +100k | sort && find . -newermt 2026-01-01 -type f | sort`,
		"du":               `cd "$D" && du --apparent-size -b -a . | grep -v '/$' | awk '{print $2}' | sort`,
		"wc":               `cd "$D" && find . -name '*.csv' | sort | xargs cat | wc`,
		"md5sum":           `cd "$D" && find . -type f | sort | xargs md5sum`,
		"grep -r":          `cd "$D" && grep -rc 2026-11-19T10:00 empatica | sort`,
		"cp -r":            `cp -r "$D" "$T/copy" && cd "$T/copy" && find . -type f | sort | xargs md5sum`,
		"tar":              `tar -C "$D" --sort=name --owner=0 --group=0 --mode=0444 -cf - bids hcp/100307 | tar -tvf - | grep -v '/$' | awk '{print $3, $4, $5, $6}'`,
		"tar, extracted":   `mkdir "$T/x" && tar -C "$D" -cf - hcp | tar -C "$T/x" -xf - && cd "$T/x" && find . -type f | sort | xargs md5sum`,
		"head and tail":    `cd "$D" && head -c 1000 hcp/100206/T1w/T1w_acpc_dc.nii | md5sum && tail -c 1000 hcp/100206/T1w/T1w_acpc_dc.nii | md5sum`,
		"dd in the middle": `dd if="$D/hcp/100206/T1w/T1w_acpc_dc.nii" bs=4096 skip=1000 count=3 2>/dev/null | md5sum`,
		"zcat":             `cd "$D" && find . -name '*.nii.gz' | sort | xargs zcat | md5sum`,
	} {
		t.Run(name, func(t *testing.T) {
			var got [2]string
			for i, dir := range []string{mount, plain} {
				r := e.Exec("sh", "-c", `D=`+dir+` T=`+t.TempDir()+`; `+script)
				if r.Code != 0 || strings.TrimSpace(r.Out) == "" {
					t.Fatalf("%s: exit %d\n%s", dir, r.Code, r.Err)
				}
				got[i] = r.Out
			}
			if got[0] != got[1] {
				t.Errorf("differs:\n%.2000s\nplain:\n%.2000s", got[0], got[1])
			}
		})
	}
}

func TestRsync(t *testing.T) {
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip("rsync is not installed")
	}
	e, mount, plain := study(t)
	to := filepath.Join(e.Home, "copy")
	if r := e.Exec("rsync", "-a", mount+"/", to); r.Code != 0 {
		t.Fatalf("exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Exec("rsync", "-ani", "--no-perms", "--no-times", "--checksum", "--delete", plain+"/", to); r.Code != 0 || strings.Contains(r.Out, ">f") || strings.Contains(r.Out, "deleting") {
		t.Errorf("the copy differs from the source: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if r := e.Exec("rsync", "-ani", mount+"/", to); r.Code != 0 || strings.Contains(r.Out, ">f") {
		t.Errorf("a second run would copy again:\n%s%s", r.Out, r.Err)
	}
}

// python runs a script with the mount and the plain copy, and compares what it prints. The distribution's interpreter: another one in the
// path may lack the packages.
func python(t *testing.T, module, script string) {
	t.Helper()
	const interpreter = "/usr/bin/python3"
	if exec.Command(interpreter, "-c", "import "+module).Run() != nil {
		t.Skipf("%s has no %s", interpreter, module)
	}
	e, mount, plain := study(t)
	var got [2]string
	for i, dir := range []string{mount, plain} {
		r := e.Exec(interpreter, "-c", "import sys, glob, hashlib\nD = sys.argv[1]\n"+script, dir)
		if r.Code != 0 || r.Out == "" {
			t.Fatalf("%s: exit %d\n%s", dir, r.Code, r.Err)
		}
		got[i] = r.Out
	}
	if got[0] != got[1] {
		t.Errorf("differs:\n%s\nplain:\n%s", got[0], got[1])
	}
}

func TestPandas(t *testing.T) {
	python(t, "pandas", `
import pandas
files = sorted(glob.glob(D + "/empatica/*/*/*/*/*/digital_biomarkers/*/*_eda.csv"))
all = pandas.concat(pandas.read_csv(f) for f in files)
print(len(files), len(all), all["eda_scl_usiemens"].sum())`)
}

func TestAvro(t *testing.T) {
	python(t, "avro", `
from avro.datafile import DataFileReader
from avro.io import DatumReader
for f in sorted(glob.glob(D + "/empatica/1/1/participant_data/2026-11-19/*/raw_data/v6/*.avro"))[:3]:
    for r in DataFileReader(open(f, "rb"), DatumReader()):
        print(r["deviceSn"], sum(r["rawData"]["eda"]["values"]), sum(r["rawData"]["accelerometer"]["x"]))`)
}

func TestNibabel(t *testing.T) {
	python(t, "nibabel", `
import nibabel, numpy
plain = D + "/hcp/100206/T1w/T1w_acpc_dc.nii"
a = nibabel.load(plain, mmap="r").dataobj
print(numpy.asarray(a[40, 40]).sum(), numpy.asarray(a[..., 200]).sum())
b = nibabel.load(plain, mmap=False).dataobj
print(numpy.asarray(b[:, 3, ::7]).sum())
c = nibabel.load(D + "/hcp/100206/T1w/Diffusion/data.nii.gz").dataobj
print(numpy.asarray(c[..., 20]).sum(), numpy.asarray(c).sum())`)
}

func TestMmap(t *testing.T) {
	python(t, "mmap", `
import mmap
with open(D + "/hcp/100206/T1w/T1w_acpc_dc.nii", "rb") as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    print(len(m), hashlib.md5(m[5000000:5100000]).hexdigest(), hashlib.md5(m[:]).hexdigest())`)
}

// ffprobe reads the head of an MP4, seeks to its index at the end, and back.
func TestFFprobe(t *testing.T) {
	for _, name := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	e := harness.New(t)
	video := filepath.Join(e.Home, "video.mp4")
	if r := e.Exec("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x480:rate=30:duration=30", "-c:v", "mpeg4", "-b:v", "4M", video); r.Code != 0 {
		t.Skipf("ffmpeg cannot make a video: %s", r.Err)
	}
	body, err := os.ReadFile(video)
	if err != nil {
		t.Fatal(err)
	}
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"v/video.mp4": {Body: body}})
	e.Profile("lab")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab")
	probe := func(path string) string {
		return e.Exec("ffprobe", "-v", "error", "-show_entries", "format=duration,size:stream=width,nb_frames", "-of", "csv", path).Out
	}
	if got, want := probe(filepath.Join(dir, "v/video.mp4")), probe(video); got != want || got == "" {
		t.Errorf("got %q, want %q", got, want)
	}
	frame := []string{"-v", "error", "-ss", "20", "-i", "", "-frames:v", "1", "-f", "md5", "-"}
	var sums [2]string
	for i, path := range []string{filepath.Join(dir, "v/video.mp4"), video} {
		frame[5] = path
		sums[i] = e.Exec("ffmpeg", frame...).Out
	}
	if sums[0] != sums[1] || sums[0] == "" {
		t.Errorf("a frame after a seek: %q, want %q", sums[0], sums[1])
	}
}

// fio reads at random and by mmap, and would report any error of the mount.
func TestFio(t *testing.T) {
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skip("fio is not installed")
	}
	e, mount, _ := study(t)
	for _, engine := range []string{"psync", "mmap"} {
		r := e.Exec("fio", "--name=r", "--filename="+mount+"/hcp/100206/T1w/T1w_acpc_dc.nii", "--readonly", "--rw=randread", "--bs=4k-128k",
			"--numjobs=4", "--thread", "--time_based", "--runtime=1", "--ioengine="+engine)
		if r.Code != 0 {
			t.Errorf("%s: exit %d\n%s%s", engine, r.Code, r.Out, r.Err)
		}
	}
}
