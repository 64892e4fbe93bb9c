package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"studyfs/backends/beiwe/beiwetest"
	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// markers is what must not be found on the disk: text that stands in names and in contents, each once in an Empatica organisation.
type markers struct{ names, texts []string }

// plant fills an organisation with n folders, each of which has a marker in its name and another in its file. The last has some blocks.
func plant(srv *s3test.Server, prefix string, n int) (m markers) {
	files := map[string]harness.File{}
	for i := range n {
		name, text := fmt.Sprintf("PERSON-%03d-QJZX", i), fmt.Sprintf("SECRET-%03d-ZXQJ", i)
		m.names, m.texts = append(m.names, name), append(m.texts, text)
		body := strings.Repeat("filler,0.5\n", i) + text + strings.Repeat("\nfiller,0.7", i/(n-1)*30_000)
		files[fmt.Sprintf("1/1/participant_data/2026-01-02/%s/eda.csv", name)] = harness.File{Body: []byte(body), Mod: time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)}
	}
	harness.Fill(srv, prefix, files)
	return m
}

func (m markers) all() []string { return append(append([]string{}, m.names...), m.texts...) }

// found counts which of the texts occur below the directories of a home in which studyfs keeps things: in file names and in files, as they are, in
// hexadecimal digits, in base64, and in what of it is compressed with zstd.
func found(t *testing.T, e *harness.Env, texts []string) int {
	t.Helper()
	var hay bytes.Buffer
	files := 0
	for _, dir := range []string{".cache", ".state", "run"} {
		err := filepath.WalkDir(filepath.Join(e.Home, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			hay.WriteString(path + "\n")
			if !d.Type().IsRegular() {
				return nil
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			hay.Write(raw)
			hay.Write(inflated(raw))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 5 {
		t.Fatalf("%d files were looked at: this test looks in the wrong place", files)
	}
	n := 0
	for _, text := range texts {
		for _, form := range forms(text) {
			if bytes.Contains(hay.Bytes(), []byte(form)) {
				n++
				break
			}
		}
	}
	return n
}

// forms are the ways in which a text could hide.
func forms(text string) []string {
	all := []string{text, hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text)))}
	for shift := range 3 { // what base64 makes of it depends on where it begins
		coded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", shift) + text))
		all = append(all, coded[4:len(coded)-4])
	}
	return all
}

// inflated returns what zstd frames in raw hold, wherever they begin.
func inflated(raw []byte) (all []byte) {
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil
	}
	defer d.Close()
	for i := bytes.Index(raw, magic); i >= 0; {
		more, _ := d.DecodeAll(raw[i:], nil) // what came before an error counts
		all = append(all, more...)
		next := bytes.Index(raw[i+1:], magic)
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return all
}

// readAll reads all files below dir through the mount and returns how many bytes they have.
func readAll(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(path)
		n += len(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// seen is what status --json tells.
type seen struct {
	Passthrough struct {
		On  bool
		Why string
	}
	AtRest struct {
		Encrypted bool
		Key       string
	} `json:"at_rest"`
	Cache    map[string]int64
	Requests map[string]int64
}

func status(t *testing.T, e *harness.Env, dir string) seen {
	t.Helper()
	r := e.Run("status", "--json", dir)
	var report struct{ Mounts []struct{ Sources []seen } }
	if err := json.Unmarshal([]byte(r.Out), &report); err != nil || len(report.Mounts) != 1 || len(report.Mounts[0].Sources) != 1 {
		t.Fatalf("status: exit %d, %v\n%s%s", r.Code, err, r.Out, r.Err)
	}
	return report.Mounts[0].Sources[0]
}

// empatica starts a service with an organisation, and returns a home with keys for it and what mounts it.
func empatica(t *testing.T, n int) (srv *s3test.Server, e *harness.Env, mount []string, m markers) {
	t.Helper()
	const prefix = "v2/42/"
	srv, url := harness.Strict(t, prefix, s3test.Options{})
	m = plant(srv, prefix, n)
	e = harness.New(t)
	return srv, e, []string{"empatica:" + e.KeysFile("s3://study/"+prefix), "--endpoint-url", url, "--log-level", "debug"}, m
}

// The laptop is lost. Of the 200 things that were planted in the names and files of an organisation, whoever finds it finds none; with
// the encryption off all 200 are there, so it is the encryption that hides them.
func TestNothingOfAnOrganisationIsFoundOnTheDisk(t *testing.T) {
	for name, flags := range map[string][]string{"encrypted": nil, "in clear": {"--encrypt-cache=false"}} {
		_, e, mount, m := empatica(t, 100)
		dir := e.Mount(append(mount, flags...)...)
		size := readAll(t, dir)
		whileMounted := 0
		if flags == nil {
			whileMounted = found(t, e, m.all())
		}
		st := status(t, e, dir)
		e.Unmount(dir)
		n := found(t, e, m.all())
		want := 200
		if flags == nil {
			want = 0
		}
		if n != want || whileMounted != 0 || size == 0 {
			t.Errorf("%s: %d of 200 markers found after the unmount, %d before, of %d bytes read; want %d", name, n, whileMounted, size, want)
		}
		if st.AtRest.Encrypted != (flags == nil) || flags == nil && (st.Passthrough.On || !strings.Contains(st.Passthrough.Why, "encrypted") || st.AtRest.Key == "") {
			t.Errorf("%s: status says %+v", name, st)
		}
	}
}

// Encryption is switched on for what lies in clear: at the next mount it is gone before anything is shown.
func TestSwitchingEncryptionOnRemovesWhatLayInClear(t *testing.T) {
	_, e, mount, m := empatica(t, 10)
	dir := e.Mount(append(mount, "--encrypt-cache=false")...)
	readAll(t, dir)
	e.Unmount(dir)
	e.MountAt(dir, mount...)
	if n := found(t, e, m.texts); n != 0 {
		t.Errorf("%d contents are still there in clear", n)
	}
	readAll(t, dir)
	e.Unmount(dir)
	if n := found(t, e, m.all()); n != 0 {
		t.Errorf("%d of 20 markers found", n)
	}
}

// With the same key a later mount asks for no file again, the service may even be away; without it everything comes again, and the user sees no error.
func TestKeyOfTheCacheOutlivesTheMount(t *testing.T) {
	srv, e, mount, _ := empatica(t, 10)
	dir := e.Mount(mount...)
	size := readAll(t, dir)
	e.Unmount(dir)
	before := srv.Count("GetObject")
	e.MountAt(dir, mount...)
	if again := readAll(t, dir); again != size || srv.Count("GetObject") != before {
		t.Errorf("same key: %d of %d bytes, %d files fetched", again, size, srv.Count("GetObject")-before)
	}
	if st := status(t, e, dir); st.Cache["corrupt"] != 0 {
		t.Errorf("%d blocks were unreadable", st.Cache["corrupt"])
	}
	e.Unmount(dir)
	write(t, filepath.Join(e.Home, "cache.key"), strings.Repeat("another key ", 4))
	e.MountAt(dir, mount...)
	if again := readAll(t, dir); again != size || srv.Count("GetObject") != before+10 {
		t.Errorf("another key: %d of %d bytes, %d of 10 files fetched", again, size, srv.Count("GetObject")-before)
	}
	if st := status(t, e, dir); st.Cache["corrupt"] != 0 {
		t.Errorf("%d blocks were opened with the wrong key", st.Cache["corrupt"])
	}
}

// By default the key is in the kernel: no file has it, the next mount finds it, and "cache wipe" destroys it.
func TestKeyInTheKernel(t *testing.T) {
	srv, e, mount, m := empatica(t, 10)
	name := "test-" + filepath.Base(filepath.Dir(e.Home)) + "-" + filepath.Base(e.Home)
	e.Vars = append(e.Vars, "STUDYFS_CACHE_KEY=ephemeral:"+name)
	t.Cleanup(func() { e.Run("cache", "wipe") })
	dir := e.Mount(mount...)
	where := status(t, e, dir).AtRest.Key
	readAll(t, dir)
	e.Unmount(dir)
	if n := found(t, e, m.all()); n != 0 {
		t.Errorf("%d of 20 markers found", n)
	}
	if strings.Contains(where, "memory of this mount") {
		t.Skip("no kernel keyring here: ", where)
	}
	copied := filepath.Join(e.Home, "backup")
	if r := e.Exec("cp", "-a", filepath.Join(e.Home, ".cache"), copied); r.Code != 0 {
		t.Fatal(r.Err)
	}
	before := srv.Count("GetObject")
	e.MountAt(dir, mount...)
	readAll(t, dir)
	e.Unmount(dir)
	if n := srv.Count("GetObject") - before; n != 0 {
		t.Errorf("%d files were fetched again", n)
	}
	if r := e.Run("cache", "wipe"); r.Code != 0 {
		t.Errorf("wipe: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Exec("cp", "-aT", copied, filepath.Join(e.Home, ".cache")); r.Code != 0 { // a backup of the cache is put back
		t.Fatal(r.Err)
	}
	e.MountAt(dir, mount...)
	readAll(t, dir)
	if n := srv.Count("GetObject") - before; n != 10 {
		t.Errorf("after the wipe a copy of the cache served %d of 10 files", 10-n)
	}
}

// A wrong passphrase is said, before the mount, and costs nothing of what is kept.
func TestPassphraseOfTheCache(t *testing.T) {
	srv, e, mount, _ := empatica(t, 10)
	pass := filepath.Join(e.Home, "pass")
	e.Vars = append(e.Vars, "STUDYFS_CACHE_KEY=passphrase:file:"+pass)
	set := func(text string) {
		if err := os.WriteFile(pass, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("correct horse")
	dir := e.Mount(mount...)
	readAll(t, dir)
	e.Unmount(dir)
	set("battery staple")
	if r := e.Run(append(append([]string{"mount"}, mount...), dir)...); r.Code != 77 || !strings.Contains(r.Err, "wrong passphrase") {
		t.Errorf("wrong passphrase: exit %d\n%s", r.Code, r.Err)
	}
	set("correct horse")
	before := srv.Count("GetObject")
	e.MountAt(dir, mount...)
	if readAll(t, dir); srv.Count("GetObject") != before {
		t.Error("what was kept is gone")
	}
}

// What a program has read once it reads again from the kernel's memory: no byte of it is decrypted a second time. To see that, the file in the cache
// is spoilt in between; only after the kernel was made to forget is that noticed.
func TestWarmReadsOfAnEncryptedCacheStayInTheKernel(t *testing.T) {
	srv, e, mount, _ := empatica(t, 10)
	dir := e.Mount(mount...)
	path := filepath.Join(dir, "1/1/participant_data/2026-01-02/PERSON-009-QJZX/eda.csv")
	first, err := os.Open(path) // held open: the cache has looked at its blocks and will not do so again
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, e)
	before := srv.Count("GetObject")
	for range 3 {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("a warm read: %v", err)
		}
	}
	if st := status(t, e, dir); st.Cache["corrupt"] != 0 || srv.Count("GetObject") != before {
		t.Errorf("warm reads came from the cache: %d blocks, %d requests", st.Cache["corrupt"], srv.Count("GetObject")-before)
	}
	if err := unix.Fadvise(int(first.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a cold read of a spoilt block: %v", err)
	}
	if st := status(t, e, dir); st.Cache["corrupt"] == 0 {
		t.Error("nobody noticed the spoilt block: this test would not notice reads either")
	}
}

// A crash of the server must not write keys and participants' data to a file that somebody's crash reporter sends away.
func TestServerLeavesNoCore(t *testing.T) {
	_, e, mount, _ := empatica(t, 2)
	dir := e.Mount(mount...)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", e.PID(dir)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if strings.HasPrefix(line, "Max core file size") && strings.Count(line, " 0 ") != 2 {
			t.Errorf("%q", line)
		}
	}
}

// spoil changes a byte in every data file of the cache.
func spoil(t *testing.T, e *harness.Env) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(e.Home, ".cache/studyfs/*/blocks/*/*.data"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	for _, path := range all {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1)
		if _, err = f.ReadAt(one, 100); err == nil {
			one[0] ^= 1
			_, err = f.WriteAt(one, 100)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// A Beiwe study comes in zips, and its index, which names every participant, is kept as a whole: of it nothing is found either.
func TestNothingOfABeiweStudyIsFoundOnTheDisk(t *testing.T) {
	for name, flags := range map[string][]string{"encrypted": nil, "in clear": {"--encrypt-cache=false"}} {
		b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 1, Days: 1, Streams: []string{"gps"}})
		e := b.Env()
		var m markers
		for i := range 100 {
			person, text := fmt.Sprintf("qzx%05d", i), fmt.Sprintf("SECRET-%03d-ZXQJ", i)
			m.names, m.texts = append(m.names, person), append(m.texts, text)
			body := strings.Repeat("0.5,filler\n", 20+i*10) + text + "\n"
			b.Put(harness.BeiweStudyID, person, "gps", beiwetest.File{Time: b.End.Add(-50 * time.Hour), Body: beiwetest.Bytes(body)})
		}
		dir := e.Mount(append([]string{"beiwe:", "--streams", "gps", "--log-level", "debug"}, flags...)...)
		readAll(t, dir)
		whileMounted := 0
		if flags == nil {
			whileMounted = found(t, e, m.all())
		}
		e.Unmount(dir)
		want := 200
		if flags == nil {
			want = 0
		}
		if n := found(t, e, m.all()); n != want || whileMounted != 0 {
			t.Errorf("%s: %d of 200 markers found after the unmount, %d before; want %d", name, n, whileMounted, want)
		}
		if flags != nil {
			continue
		}
		b.Requests()
		e.MountAt(dir, "beiwe:", "--streams", "gps")
		readAll(t, dir)
		b.AtMost(2, "all, after a restart with the same key")
	}
}
