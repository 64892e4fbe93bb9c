package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/cache/stage/gate/edf/edftest"
	"studyfs/tests/harness"
)

// surname is of a patient. Nobody is called so.
const surname = "Quillfeather"

// patient makes a folder as it comes from the recorder: files that may go out, a letter, and recordings that tell the name, each in another place.
func patient(t *testing.T) (dir string, good, bad []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "c0ffee12")
	file := func(name string, body []byte) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	recording := func(name string, change func(*edftest.File)) {
		f := edftest.File{
			Mark: "EDF+C", Patient: "X X X X", Recording: "Startdate 01-JAN-1985 X X X", Date: "01.01.85", Lists: []string{edftest.List(0, "awake"), edftest.List(1, "asleep")},
		}
		change(&f)
		file(name, f.Bytes())
	}
	recording("c0ffee12_1.edf", func(*edftest.File) {})
	recording("c0ffee12_2.edf", func(f *edftest.File) { f.Patient = "MRN1 M 02-MAY-1951 " + surname })
	recording("c0ffee12_3.edf", func(f *edftest.File) { f.Recording = "Startdate 01-JAN-1985 X Dr_" + surname + " X" })
	recording("c0ffee12_4.edf", func(f *edftest.File) { f.Date, f.Recording = "04.03.19", "Startdate 04-MAR-2019 X X X" })
	recording("c0ffee12_5.edf", func(f *edftest.File) { f.Lists[1] = edftest.List(1, "talks to "+surname) })
	file("c0ffee12_1.csv", []byte("onset,label\n1.5,spike\n"))
	file("c0ffee12_letter.doc", []byte("Dear "+surname))
	return dir, []string{"c0ffee12_1.edf", "c0ffee12_1.csv"}, []string{"c0ffee12_2.edf", "c0ffee12_3.edf", "c0ffee12_4.edf", "c0ffee12_5.edf", "c0ffee12_letter.doc"}
}

// gated mounts a bucket with a gate; the deny-list is made by the command.
func gated(t *testing.T, policy string) (e *harness.Env, srv *s3test.Server, dir string, args []string) {
	t.Helper()
	e = writable(t)
	srv, url := harness.Strict(t, "lab/", s3test.Options{})
	srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret, Grants: []s3test.Grant{{Bucket: "study", Prefix: "lab/", Write: true}}})
	names := filepath.Join(t.TempDir(), "names.txt")
	write(t, names, "# made up\n"+surname+"\n")
	list := filepath.Join(e.Home, "words.deny")
	if r := e.Run("deid", "words", names, "--out", list); r.Code != 0 {
		t.Fatalf("deid words: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	info, err := os.Stat(list)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	args = append(lab("study", url), "--gate", policy, "--words", "file:"+list)
	return e, srv, e.Mount(args...), args
}

// mustBeSilent looks for the surname in all that has left the machine, and in all that stays on it but for the files that are held back.
func mustBeSilent(t *testing.T, e *harness.Env, srv *s3test.Server) {
	t.Helper()
	for key, body := range harness.Stored(srv, "lab/") {
		o, _ := srv.Object("study", "lab/"+key)
		if strings.Contains(key+fmt.Sprint(o.Meta), surname) || bytes.Contains(body, []byte(surname)) {
			t.Errorf("the bucket holds the name in %s", key)
		}
	}
	for _, r := range srv.Requests() {
		if strings.Contains(r.Key+r.Query.Encode(), surname) {
			t.Errorf("a request tells the name: %s %s", r.Op, r.Key)
		}
	}
	err := filepath.WalkDir(e.Home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a mount that has ended
		}
		if d.IsDir() && filepath.Dir(path) == filepath.Dir(e.Home) {
			return nil
		}
		if strings.Contains(filepath.Base(path), surname) {
			t.Errorf("a local file is called %s", path)
		}
		if !d.Type().IsRegular() || filepath.Base(filepath.Dir(path)) == "files" && filepath.Ext(path) != ".meta" {
			return nil
		}
		if body, err := os.ReadFile(path); err == nil && bytes.Contains(body, []byte(surname)) {
			t.Errorf("%s holds the name", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Somebody copies a patient's folder in as it is. What names the patient stays on this machine and cp says so; all else arrives. Neither retrying,
// nor a mount with other rules, nor uploading without a mount is a way around; to correct the file is.
func TestWhatNamesAPatientStaysHere(t *testing.T) {
	e, srv, dir, args := gated(t, "refuse")
	from, good, bad := patient(t)
	r := e.Exec("cp", "-r", from, dir)
	if r.Code == 0 || strings.Count(r.Err, "Operation not permitted") != len(bad) {
		t.Errorf("cp: exit %d\n%s", r.Code, r.Err)
	}
	e.Settle(dir)
	for _, name := range good {
		want, _ := os.ReadFile(filepath.Join(from, name))
		if got := stored(t, srv, "lab/c0ffee12/"+name); got != string(want) {
			t.Errorf("%s: %d bytes are stored", name, len(got))
		}
	}
	if err := os.Mkdir(dir+"/"+surname, 0o755); !os.IsPermission(err) {
		t.Errorf("mkdir: %v", err)
	}
	if err := os.Symlink("../"+surname, dir+"/c0ffee12/c0ffee12_9.edf"); !os.IsPermission(err) {
		t.Errorf("symlink: %v", err)
	}
	if err := os.Rename(dir+"/c0ffee12/c0ffee12_2.edf", dir+"/c0ffee12/c0ffee12_7.edf"); !os.IsPermission(err) {
		t.Errorf("rename: %v", err)
	}
	for _, name := range bad {
		path := filepath.Join(dir, "c0ffee12", name)
		if state, why := getxattr(t, path, "user.studyfs.state"), getxattr(t, path, "user.studyfs.error"); state != "parked" || why == "" {
			t.Errorf("%s: %s, %q", name, state, why)
		}
		e.Run("uploads", "retry", path)
	}
	ls := e.Run("uploads", "ls", "--json")
	if strings.Count(ls.Out, `"parked"`) < len(bad) || !strings.Contains(ls.Out, "Bytes 8 to 87") || strings.Contains(ls.Out, surname) {
		t.Errorf("uploads ls: %s", ls.Out)
	}
	e.Settle(dir)
	e.Unmount(dir)
	mustBeSilent(t, e, srv)

	e.Run("uploads", "run") // by the rules that the mount had
	dir = e.Mount(args[:len(args)-4]...)
	for _, name := range bad {
		e.Run("uploads", "retry", filepath.Join(dir, "c0ffee12", name))
	}
	e.Settle(dir)
	e.Unmount(dir)
	mustBeSilent(t, e, srv)

	dir = e.Mount(args...)
	clean, _ := os.ReadFile(filepath.Join(from, "c0ffee12_1.edf"))
	f, err := os.OpenFile(dir+"/c0ffee12/c0ffee12_2.edf", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(clean[8:88], 8)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	e.Settle(dir)
	if got := stored(t, srv, "lab/c0ffee12/c0ffee12_2.edf"); got == "" {
		t.Error("the corrected file does not go out")
	}
	e.Unmount(dir)
	mustBeSilent(t, e, srv)
}

// With scrub cp succeeds for recordings: they arrive without the name, and that is what the mount shows then. The same folder again sends no bytes.
func TestRecordingsAreScrubbedOnTheirWay(t *testing.T) {
	e, srv, dir, _ := gated(t, "scrub")
	from, _, bad := patient(t)
	letter := filepath.Join(from, bad[len(bad)-1])
	if err := os.Remove(letter); err != nil {
		t.Fatal(err)
	}
	if r := e.Exec("cp", "-r", from, dir); r.Code != 0 {
		t.Errorf("cp: exit %d\n%s", r.Code, r.Err)
	}
	e.Drain(dir)
	for _, name := range bad[:len(bad)-1] {
		original, _ := os.ReadFile(filepath.Join(from, name))
		shown, err := os.ReadFile(filepath.Join(dir, "c0ffee12", name))
		got := stored(t, srv, "lab/c0ffee12/"+name)
		if err != nil || got != string(shown) || got == string(original) || len(got) != len(original) || got[256*3:256*3+8] != string(original[256*3:256*3+8]) {
			t.Errorf("%s: %d bytes stored, %d shown, %v", name, len(got), len(shown), err)
		}
	}
	before := puts(srv)
	if r := e.Exec("cp", "-r", from, dir); r.Code != 0 {
		t.Errorf("cp again: exit %d\n%s", r.Code, r.Err)
	}
	e.Drain(dir)
	if n := puts(srv) - before; n != 0 {
		t.Errorf("the same again: %d requests with bytes", n)
	}
	e.Unmount(dir)
	mustBeSilent(t, e, srv)
}

// puts counts the requests that brought bytes of files.
func puts(srv *s3test.Server) (n int) {
	for _, r := range srv.Requests() {
		if (r.Op == s3test.OpPut || r.Op == s3test.OpPart) && r.BytesIn > 0 && strings.HasSuffix(r.Key, ".edf") {
			n++
		}
	}
	return n
}
