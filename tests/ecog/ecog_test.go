package ecog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/cache/stage/gate/edf/edftest"
	"studyfs/tests/harness"
)

// everywhere checks that each target holds exactly the good files, as they were, and the manifests of the patients.
func (l *lab) everywhere() {
	l.t.Helper()
	video, edf, archive, nas := l.bucket("lab-video"), l.bucket("lab-edf"), l.bucket("lab-archive"), l.onNAS()
	take := func(where string, all map[string][]byte, key string, want []byte) {
		l.t.Helper()
		got, ok := all[key]
		if ok && strings.HasSuffix(key, ".age") {
			got = opened(l.t, got)
		}
		if !ok || !bytes.Equal(got, want) {
			l.t.Errorf("%s: %s has %d bytes of %d, or others", where, key, len(got), len(want))
		}
		delete(all, key)
	}
	for name, body := range l.good {
		if strings.HasSuffix(name, ".avi") {
			take("video", video, "ecog/"+name+".age", body)
		} else {
			take("edf", edf, name, body)
		}
		if o, ok := l.srv.Object("lab-archive", "all/"+name); !ok || o.Class != "DEEP_ARCHIVE" {
			l.t.Errorf("archive: %s is of class %q", name, o.Class)
		}
		take("archive", archive, "all/"+name, body)
		take("nas", nas, name, body)
	}
	l.manifests("archive", "all/", archive)
	l.manifests("nas", "", nas)
	for where, more := range map[string]map[string][]byte{"video": video, "edf": edf, "archive": archive, "nas": nas} {
		for key, body := range more {
			if len(body) > 0 && !strings.HasPrefix(key, ".studyfs/") {
				l.t.Errorf("%s holds %s", where, key)
			}
		}
	}
}

// manifests takes a target's manifests, one for each patient, and holds them against the good files.
func (l *lab) manifests(where, prefix string, all map[string][]byte) {
	l.t.Helper()
	want := map[string]string{}
	ids := map[string]bool{}
	for name, body := range l.good {
		id, _, _ := strings.Cut(name, "/")
		ids[id] = true
		primary := "edf"
		if strings.HasSuffix(name, ".avi") {
			primary = "video"
		}
		want[name] = fmt.Sprintf("%d bytes, SHA-256 %s, at %v", len(body), harness.Sum(body), slices.Sorted(slices.Values([]string{"archive", "nas", primary})))
	}
	for id := range ids {
		key := prefix + id + "/" + id + ".manifest.jsonl"
		for line := range bytes.Lines(all[key]) {
			var one struct {
				Name, SHA256 string
				Size         int64
				Targets      []string
				Removed      bool
			}
			if err := json.Unmarshal(line, &one); err != nil {
				l.t.Fatal(err)
			}
			slices.Sort(one.Targets)
			if got := fmt.Sprintf("%d bytes, SHA-256 %s, at %v", one.Size, one.SHA256, one.Targets); one.Removed || got != want[one.Name] || !strings.HasPrefix(one.Name, id+"/") {
				l.t.Errorf("%s: the manifest of %s says of %s: %s\nwant %s", where, id, one.Name, got, want[one.Name])
			}
			delete(want, one.Name)
		}
		delete(all, key)
	}
	for name := range want {
		l.t.Errorf("%s: the manifest lacks %s", where, name)
	}
}

// parked checks that what tells the name waits here, with a reason that does not tell it.
func (l *lab) parked(dir string, names []string) {
	l.t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if state, why := attr(l.t, path, "user.studyfs.state"), attr(l.t, path, "user.studyfs.error"); state != "parked" || why == "" || holds([]byte(why), surname) {
			l.t.Errorf("%s: %s, %q", name, state, why)
		}
	}
	if r := l.Run("uploads", "ls", "--json"); strings.Count(r.Out, `"parked"`) < len(names) || holds([]byte(r.Out+r.Err), surname) {
		l.t.Errorf("uploads ls: %s%s", r.Out, r.Err)
	}
}

func attr(t *testing.T, path, name string) string {
	t.Helper()
	b := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, name, b)
	if err != nil {
		t.Errorf("%s of %s: %v", name, path, err)
		return ""
	}
	return string(b[:n])
}

// A clinic copies the folders of two patients in with cp -r. The mount is killed while they are on their way. In the end what may go out lies in
// all its places, encrypted and archived as it should be; what names a patient waits here; and the same folders again send not one byte.
func TestPatientsFolders(t *testing.T) {
	l := newLab(t, `audit = "on"`)
	l.patient("a1b2c3d4")
	l.patient("b5c6d7e8")
	dir := l.Mount("ecog")
	t.Cleanup(func() { harness.Abort(dir) })
	pid := l.PID(dir)
	reached, gone := make(chan struct{}), make(chan struct{})
	var n atomic.Int64
	l.srv.OnRequest(func(r s3test.Request) {
		if r.Op != s3test.OpPut && r.Op != s3test.OpPart {
			return
		}
		switch k := n.Add(1); {
		case k == 7:
			close(reached)
			fallthrough
		case k > 7: // nothing more is stored before the process is gone
			<-gone
		}
	})
	if r := l.copyIn(dir); r.Code == 0 || strings.Count(r.Err, "Operation not permitted") != len(l.bad) || holds([]byte(r.Err), surname) {
		t.Errorf("cp -r: exit %d\n%s", r.Code, r.Err)
	}
	<-reached
	for tries := 0; l.events()["refuse"] < len(l.bad) && tries < 100; tries++ { // a refusal is noted soon, and lost if the process is gone before
		time.Sleep(50 * time.Millisecond)
	}
	harness.KillProcess(t, pid)
	close(gone)
	harness.Abort(dir)
	l.MountAt(dir, "ecog")
	l.Settle(dir)
	l.parked(dir, l.bad)
	l.Unmount(dir) // which brings the manifests up to date
	l.everywhere()
	for _, name := range buckets() {
		if left := l.srv.Uploads(name); len(left) > 0 {
			t.Errorf("%s: %d unfinished uploads", name, len(left))
		}
	}

	l.MountAt(dir, "ecog")
	l.srv.Reset()
	l.copyIn(dir)
	l.Settle(dir)
	if n := l.bodies(); n != 0 {
		t.Errorf("copying all in again sent %d bodies", n)
	}
	for name, want := range l.good {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s in the mount: %d bytes, %v", name, len(got), err)
		}
	}
	if n := l.srv.Count("RestoreObject"); n != 0 {
		t.Errorf("reading restored %d archived files", n)
	}
	l.Unmount(dir)
	l.everywhere()
	l.audited()
	l.escrow()
	if l.left(surname) {
		t.Error("the name has left this machine")
	}
}

// events counts what the audit log has of each operation, none of which may name a patient.
func (l *lab) events() map[string]int {
	l.t.Helper()
	r := l.Run("audit", "show", "--json")
	ops := map[string]int{}
	for line := range strings.Lines(r.Out) {
		var one struct{ Op string }
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			l.t.Fatal(err)
		}
		ops[one.Op]++
	}
	if r.Code != 0 {
		l.t.Logf("audit show: exit %d\n%s", r.Code, r.Err)
	}
	if holds([]byte(r.Out), surname) {
		l.t.Error("the audit log names the patient")
	}
	return ops
}

// audited checks that the log tells what was stored, refused and read.
func (l *lab) audited() {
	l.t.Helper()
	if ops := l.events(); ops["upload"] < len(l.good) || ops["refuse"] < len(l.bad) || ops["open-read"] < len(l.good) {
		l.t.Errorf("the audit log has %v; %d files are good, %d bad", ops, len(l.good), len(l.bad))
	}
}

// escrow opens the videos with the key and age alone, as somebody would who has no studyfs.
func (l *lab) escrow() {
	l.t.Helper()
	if _, err := exec.LookPath("age"); err != nil {
		l.t.Log("age is not installed")
		return
	}
	for key, body := range l.bucket("lab-video") {
		name, ok := strings.CutSuffix(strings.TrimPrefix(key, "ecog/"), ".age")
		if !ok {
			continue
		}
		path := filepath.Join(l.t.TempDir(), "video.age")
		l.save(path, body)
		if r := l.Exec("age", "-d", "-i", l.key(), "-o", path+".avi", path); r.Code != 0 {
			l.t.Fatalf("age: %s", r.Err)
		}
		if got, err := os.ReadFile(path + ".avi"); err != nil || !bytes.Equal(got, l.good[name]) {
			l.t.Errorf("%s: age finds %d bytes, %v", name, len(got), err)
		}
	}
}

// A surname stands in headers, annotations and a letter. Whatever the gate does with them, it is found neither in what left this machine nor in
// what stays on it: cache, stage, journal, labels, logs, names, in whatever form. What is scrubbed is otherwise as it was.
func TestASurnameIsFoundNowhere(t *testing.T) {
	for _, policy := range []string{"refuse", "park", "scrub"} {
		t.Run(policy, func(t *testing.T) {
			l := newLab(t, fmt.Sprintf("gate = %q", policy))
			l.patient("a1b2c3d4")
			dir := l.Mount("ecog", "--log-level", "debug")
			if r := l.copyIn(dir); (r.Code == 0) != (policy == "park") {
				t.Errorf("cp: exit %d\n%s", r.Code, r.Err)
			}
			l.Settle(dir)
			bad := l.bad
			if policy == "scrub" {
				bad = l.bad[2:]
				for _, name := range l.bad[:2] {
					l.scrubbed(dir, name)
				}
			}
			l.parked(dir, bad)
			if holds(l.kept(), surname) {
				t.Error("the name is kept on this machine while it is mounted")
			}
			l.Unmount(dir)
			if holds(l.kept(), surname) {
				t.Error("the name is kept on this machine")
			}
			if l.left(surname) {
				t.Error("the name has left this machine")
			}
			if !holds(l.original(l.bad[0]), surname) {
				t.Error("the name was not there to be found")
			}
		})
	}
}

// scrubbed checks that a recording is the same everywhere, and as it was but for what can name somebody.
func (l *lab) scrubbed(dir, name string) {
	l.t.Helper()
	was := l.original(name)
	o, ok := l.bucket("lab-edf")[name]
	shown, err := os.ReadFile(filepath.Join(dir, name))
	if !ok || err != nil || !bytes.Equal(o, shown) || !bytes.Equal(o, l.onNAS()[name]) || !bytes.Equal(o, l.bucket("lab-archive")["all/"+name]) || len(o) != len(was) {
		l.t.Errorf("%s: %d of %d bytes stored, %d shown, %v", name, len(o), len(was), len(shown), err)
		return
	}
	for i := range o {
		if o[i] != was[i] && !mayBeScrubbed(was, i) {
			l.t.Errorf("%s: byte %d, outside of what can name somebody, differs", name, i)
			return
		}
	}
	if bytes.Equal(o, was) {
		l.t.Errorf("%s: nothing is scrubbed", name)
	}
}

// mayBeScrubbed tells whether a byte of what recording makes (a header of two signals; records of 4 samples of 2 bytes and 60 of
// annotations, which begin with the time of the record) can name somebody: the patient, the recording and the day, not the time of day;
// texts, not the samples nor the time of the record.
func mayBeScrubbed(recording []byte, at int) bool {
	const header, samples, record = 3 * 256, 4 * 2, (4 + 60) * 2
	if at < header {
		return 8 <= at && at < 176
	}
	from := (at-header)%record - samples
	texts := bytes.IndexByte(recording[at-from:], 0) + 1
	return from >= texts
}

// Names and texts of 200 files that wait for a service that is away, are stored, and are read back. Whoever finds the laptop finds none of them;
// without the encryption all are there, so it is the encryption that hides them.
func TestMarkersOfPatients(t *testing.T) {
	for name, settings := range map[string]string{"encrypted": "", "in clear": "encrypt-cache = false"} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "gate = \"warn\"\n"+settings)
			var markers []string
			for i := range 100 {
				marker, text := fmt.Sprintf("qjzx%04d", i), fmt.Sprintf("SECRET-%03d-ZXQJ", i)
				markers = append(markers, marker, text)
				l.add("a1b2c3d4/"+marker+".csv", []byte("onset,label\n1.5,"+text+"\n"))
			}
			want := 0
			if settings != "" {
				want = len(markers)
			}
			count := func(when string) {
				t.Helper()
				hay, n := l.kept(), 0
				for _, m := range markers {
					if holds(hay, m) {
						n++
					}
				}
				if n != want {
					t.Errorf("%s: %d of %d markers found, want %d", when, n, len(markers), want)
				}
			}
			l.Vars = append(l.Vars, "STUDYFS_QUIET=10m") // tried once it is waited for, not again and again meanwhile
			dir := l.Mount("ecog", "--log-level", "debug")
			remove := l.srv.Inject(s3test.Rule{Fault: s3test.SlowDown, Op: s3test.OpPut})
			if r := l.copyIn(dir); r.Code != 0 {
				t.Fatalf("cp: exit %d\n%s", r.Code, r.Err)
			}
			count("staged")
			remove()
			l.Drain(dir)
			for name, body := range l.good {
				if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s: %v", name, err)
				}
			}
			l.Unmount(dir)
			count("stored and read")
		})
	}
}

const readWithEDFlib = `
#include <edflib.h>
#include <stdio.h>
int main(int n, char **args) {
	struct edf_hdr_struct h;
	int f = edfopen_file_readonly(args[1], &h, EDFLIB_READ_ALL_ANNOTATIONS);
	if (f < 0) { printf("refused: %d\n", h.filetype); return 1; }
	printf("%d signals, %s|%s|", h.edfsignals, h.patientcode, h.patient_name);
	for (int j = 0; j < h.annotations_in_file; j++) {
		struct edf_annotation_struct a;
		edf_get_annotation(f, j, &a);
		printf(" %s", a.annotation);
	}
	printf("\n");
	return edfclose_file(f);
}`

// Scientists open a scrubbed recording and an encrypted video in the mount with the programs that they have.
func TestProgramsReadThroughTheMount(t *testing.T) {
	l := newLab(t, `gate = "scrub"`)
	l.refused("a1b2c3d4/a1b2c3d4_1.edf", recording(func(f *edftest.File) { f.Patient = "MRN1 M 02-MAY-1951 " + surname }))
	video := filepath.Join(l.from, "a1b2c3d4", "a1b2c3d4_3_0001.avi")
	made := l.Exec("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30:duration=20", "-c:v", "mpeg4", "-b:v", "4M", "-g", "30", video)
	dir := l.Mount("ecog")
	if r := l.copyIn(dir); r.Code != 0 {
		t.Fatalf("cp: exit %d\n%s", r.Code, r.Err)
	}
	l.Drain(dir)
	l.Unmount(dir)
	l.EmptyCache()
	l.MountAt(dir, "ecog")
	t.Run("EDFlib", func(t *testing.T) {
		program := filepath.Join(t.TempDir(), "read")
		cc := exec.Command("cc", "-x", "c", "-o", program, "-", "-ledf")
		cc.Stdin = strings.NewReader(readWithEDFlib)
		if out, err := cc.CombinedOutput(); err != nil {
			t.Skipf("no C compiler, or no EDFlib (libedf-dev): %v\n%s", err, out)
		}
		r := l.Exec(program, filepath.Join(dir, "a1b2c3d4", "a1b2c3d4_1.edf"))
		if r.Code != 0 || !strings.HasPrefix(r.Out, "1 signals") || !strings.HasSuffix(r.Out, " awake asleep\n") || holds([]byte(r.Out), surname) {
			t.Errorf("exit %d: %q", r.Code, r.Out)
		}
	})
	t.Run("ffmpeg", func(t *testing.T) {
		if made.Code != 0 {
			t.Skipf("ffmpeg cannot make a video: %s", made.Err)
		}
		shown := filepath.Join(dir, "a1b2c3d4", "a1b2c3d4_3_0001.avi")
		probe := func(path string) string {
			return l.Exec("ffprobe", "-v", "error", "-show_entries", "format=duration,size:stream=width,codec_name,nb_frames", "-of", "csv", path).Out
		}
		frames := func(path string) string {
			return l.Exec("ffmpeg", "-v", "error", "-ss", "18", "-i", path, "-frames:v", "10", "-f", "framemd5", "-").Out
		}
		if got, want := probe(shown), probe(video); got != want || want == "" {
			t.Errorf("ffprobe: got %q, want %q", got, want)
		}
		if got, want := frames(shown), frames(video); got != want || strings.Count(want, "\n") < 10 {
			t.Errorf("frames near the end:\n%s\nwant\n%s", got, want)
		}
	})
}
