package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/cache/stage/gate/edf/edftest"
	"studyfs/cmd/studyfs/prompt/prompttest"
	"studyfs/tests/harness"
)

// hospital makes a folder as a laboratory gets it: one patient's folder and another's, whose name contains the first's.
func hospital(t *testing.T, e *harness.Env) string {
	t.Helper()
	dir := filepath.Join(e.Home, "to_upload")
	rec := func(date, clock string) []byte {
		return edftest.File{Patient: "MRN F 01-JAN-1960 Quillfeather", Date: date, Time: clock}.Bytes()
	}
	for name, body := range map[string][]byte{
		"Quillfeather/X1/late.edf": rec("05.03.19", "08.00.00"), "Quillfeather/X2/Quillfeather_1.edf": rec("04.03.19", "09.00.00"),
		"Quillfeather/X2/Quillfeather_2.edf": rec("04.03.19", "08.00.00"), "Quillfeather/Quill~ Ada_2019-03-04_08.05.00.avi": []byte("frames"),
		"Quillfeather/report for Ada Quillfeather.doc": []byte("a letter"), "quillfeather snc/q_2019-03-04_08.00.snc": []byte("text"),
		"Quillfeatherstone/a.edf": rec("04.03.19", "08.00.00"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sums returns what lies below a directory: the sum of each file by its name.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[name] = fmt.Sprintf("%x", sha256.Sum256(body))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func multiset(all map[string]string) []string { return slices.Sorted(maps.Values(all)) }

// atWork is a program that is asked and answered while it runs.
type atWork struct {
	t   *testing.T
	cmd *exec.Cmd
	tty *os.File
	mu  sync.Mutex
	out bytes.Buffer // what the terminal shows; under mu
	end chan struct{}
}

// atTerminal starts the program at a terminal of its own.
func atTerminal(t *testing.T, e *harness.Env, args ...string) *atWork {
	t.Helper()
	ptm, pts := prompttest.Terminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	w := &atWork{t: t, cmd: exec.CommandContext(ctx, harness.Program(t), args...), tty: ptm, end: make(chan struct{})}
	w.cmd.Env, w.cmd.Dir = e.Vars, e.Home
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = pts, pts, pts
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pts.Close()
	go func() { // ends with the last who has the terminal open
		io.Copy(writer(w.write), ptm)
		close(w.end)
	}()
	t.Cleanup(func() { cancel(); <-w.end; ptm.Close() })
	return w
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func (w *atWork) write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func (w *atWork) shown() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// answer waits for a question, and types.
func (w *atWork) answer(question, text string) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(w.shown(), question); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("no question %q:\n%s", question, w.shown())
		}
	}
	for _, what := range []string{"cmdline", "environ"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", w.cmd.Process.Pid, what))
		if err != nil || bytes.Contains(bytes.ToLower(raw), []byte("quill")) {
			w.t.Errorf("%s: %v, %q", what, err, raw)
		}
	}
	w.mu.Lock()
	w.out.Reset()
	w.mu.Unlock()
	if _, err := w.tty.WriteString(text + "\n"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *atWork) wait() int {
	w.t.Helper()
	w.cmd.Wait()
	<-w.end
	return w.cmd.ProcessState.ExitCode()
}

// A lab's student renames a patient's folders at the terminal, sees the plan before, and takes it back the next day.
func TestDeidAtTheTerminal(t *testing.T) {
	e := harness.New(t)
	dir := hospital(t, e)
	before := sums(t, dir)
	w := atTerminal(t, e, "deid", dir)
	w.answer("numbers, such as", "1 3") // Quillfeather, Quillfeatherstone, quillfeather snc
	w.answer("Rename 5 files?", "y")
	if code := w.wait(); code != 0 {
		t.Fatalf("exit %d\n%s", code, w.shown())
	}
	after := sums(t, dir)
	if !slices.Equal(multiset(before), multiset(after)) || len(after) != len(before) {
		t.Errorf("contents differ:\n%v\n%v", before, after)
	}
	tops, err := filepath.Glob(filepath.Join(dir, "*_edf"))
	if err != nil || len(tops) != 1 {
		t.Fatal(tops, err)
	}
	code := strings.TrimSuffix(filepath.Base(tops[0]), "_edf")
	for old, name := range map[string]string{
		"Quillfeather/X2/Quillfeather_2.edf": "C_edf/C_1.edf", "Quillfeather/X2/Quillfeather_1.edf": "C_edf/C_2.edf", "Quillfeather/X1/late.edf": "C_edf/C_3.edf",
		"Quillfeather/Quill~ Ada_2019-03-04_08.05.00.avi": "C/C_0/C_0_0000.avi", "quillfeather snc/q_2019-03-04_08.00.snc": "C_snc/C_1.snc",
		"Quillfeather/report for Ada Quillfeather.doc": "Quillfeather/report for Ada Quillfeather.doc", "Quillfeatherstone/a.edf": "Quillfeatherstone/a.edf",
	} {
		if name = strings.ReplaceAll(name, "C", code); after[name] != before[old] {
			t.Errorf("%s is not %s", name, old)
		}
	}
	if w = atTerminal(t, e, "deid", "show", "--files"); w.wait() != 0 || !strings.Contains(w.shown(), "Quillfeather/X1/late.edf -> "+code) {
		t.Error(w.shown())
	}
	secretly(t, e, code)
	w = atTerminal(t, e, "deid", "undo", code)
	w.answer("names of patients again?", "y")
	if code := w.wait(); code != 0 || !maps.Equal(sums(t, dir), before) {
		t.Errorf("exit %d\n%s\n%v", code, w.shown(), sums(t, dir))
	}
}

// secretly checks that nothing on the disk tells the name, and that only the user can read what could.
func secretly(t *testing.T, e *harness.Env, code string) {
	t.Helper()
	for _, dir := range []string{".config", ".state", ".cache"} {
		err := filepath.WalkDir(filepath.Join(e.Home, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil //nolint:nilerr // not all of them are there
			}
			body, err := os.ReadFile(path)
			if bytes.Contains(bytes.ToLower(body), []byte("quill")) || bytes.Contains(body, []byte(code)) {
				t.Errorf("%s tells", path)
			}
			if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// deidBy runs deid with names on standard input.
func deidBy(t *testing.T, e *harness.Env, names string, args ...string) harness.Result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Program(t), append([]string{"deid"}, args...)...)
	cmd.Env, cmd.Dir, cmd.Stdin = e.Vars, e.Home, strings.NewReader(names)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Run() // the code tells
	if text := strings.ToLower(out.String() + errs.String()); strings.Contains(text, "quill") || strings.Contains(text, "ada") {
		t.Errorf("the name is in a log:\n%s%s", out.String(), errs.String())
	}
	return harness.Result{Out: out.String(), Err: errs.String(), Code: cmd.ProcessState.ExitCode()}
}

// A script renames; more of the patient comes weeks later; another one has the same name. No message that a log could keep has a name.
func TestDeidByStandardInput(t *testing.T) {
	e := harness.New(t)
	dir := hospital(t, e)
	before := sums(t, dir)
	for _, c := range []struct {
		names string
		args  []string
		code  int
	}{
		{"", []string{dir}, 2},
		{"Nobody\n", []string{dir}, 2},
		{"../to_upload\n", []string{dir}, 2},
		{"Quillfeather\n", []string{filepath.Join(dir, "missing")}, 2},
		{"Quillfeather\n", []string{"--code", "C0FFEE12", dir}, 2},
		{"Quillfeather\n", []string{"--code", "c0ffee12", dir}, 2},
		{"", []string{"show"}, 2},
		{"Quillfeather\n", []string{"--dry-run", dir}, 0},
	} {
		r := deidBy(t, e, c.names, c.args...)
		if r.Code != c.code || c.code == 0 && strings.Count(r.Out, ".edf\n") != 3 || !maps.Equal(sums(t, dir), before) {
			t.Fatalf("%q %q: exit %d\n%s%s", c.names, c.args, r.Code, r.Out, r.Err)
		}
	}
	r := deidBy(t, e, "Quillfeather\n", dir)
	code := strings.TrimSpace(r.Out)
	if r.Code != 0 || len(code) != 8 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	again := filepath.Join(dir, "quillfeather", "d.edf")
	write(t, again, string(edftest.File{Date: "08.03.19"}.Bytes()))
	if r := deidBy(t, e, "quillfeather\n", dir); r.Code != 2 || !strings.Contains(r.Err, "--code "+code) {
		t.Errorf("exit %d\n%s", r.Code, r.Err)
	}
	if r := deidBy(t, e, "quillfeather\n", "--code", code, dir); r.Code != 0 || sums(t, dir)[code+"_edf/"+code+"_4.edf"] == "" {
		t.Errorf("exit %d\n%s", r.Code, r.Err)
	}
	write(t, again, string(edftest.File{Date: "08.03.19"}.Bytes()))
	r = deidBy(t, e, "quillfeather\n", "--new", dir)
	if other := strings.TrimSpace(r.Out); r.Code != 0 || other == code || sums(t, dir)[other+"_edf/"+other+"_1.edf"] == "" {
		t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	secretly(t, e, code)
	if err := os.Remove(filepath.Join(e.Home, ".config", "studyfs", "deid.secret")); err != nil {
		t.Fatal(err)
	}
	if r := deidBy(t, e, "Quillfeatherstone\n", dir); r.Code != 78 {
		t.Errorf("without the secret: exit %d\n%s", r.Code, r.Err)
	}
}

// Somebody renames in the wrong place: through a link, or in the mount, where the name may have been uploaded already.
func TestDeidInTheWrongPlace(t *testing.T) {
	e := harness.New(t)
	e.Profile("lab")
	dir := hospital(t, e)
	link := filepath.Join(e.Home, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"to_upload/Quillfeather/a.edf": {Body: edftest.File{}.Bytes()}})
	mount := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab")
	before := sums(t, dir)
	for _, parent := range []string{link, mount, filepath.Join(mount, "to_upload"), harness.Program(t)} {
		if r := deidBy(t, e, "Quillfeather\n", "--yes", parent); r.Code != 2 {
			t.Errorf("%s: exit %d\n%s", filepath.Base(parent), r.Code, r.Err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "Quillfeather"), filepath.Join(dir, "Other")); err != nil {
		t.Fatal(err)
	}
	if r := deidBy(t, e, "Other\n", dir); r.Code != 2 {
		t.Errorf("a folder that is a link: exit %d\n%s", r.Code, r.Err)
	}
	os.Remove(filepath.Join(dir, "Other"))
	if !maps.Equal(sums(t, dir), before) {
		t.Error("something was renamed")
	}
	e.Unmount(mount)
}
