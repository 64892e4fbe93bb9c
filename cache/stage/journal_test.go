package stage

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/quick"
)

// busyStage is the directory of a stage that much has happened in, and what it promises.
func busyStage(t *testing.T) (tree map[string]*simFile, last moment) {
	t.Helper()
	return busyStageOn(t, &recorder{})
}

func busyStageOn(t *testing.T, rec *recorder) (tree map[string]*simFile, last moment) {
	t.Helper()
	disk, last := busyDisk(t, rec)
	return disk.crash(fate{"", all, contentOf}), last
}

func busyDisk(t *testing.T, rec *recorder) (disk *simDisk, last moment) {
	t.Helper()
	dir := fastDir(t)
	w, err := openWorld(t, dir, rec)
	if err != nil {
		t.Fatal(err)
	}
	_, do := history([]int{0, 1, 6, 9, 11, 14, 13, 3})
	do(w)
	f := w.create("the last")
	w.write(f, 0, 10)
	w.sync(f)
	if w.err != nil {
		t.Fatal(w.err)
	}
	ops := rec.log()
	w.end()
	disk = newSimDisk()
	for _, o := range ops {
		disk.apply(o)
	}
	return disk, moment{what: w.now}
}

func with(tree map[string]*simFile, journal []byte) map[string]*simFile {
	out := maps.Clone(tree)
	out[journalName] = &simFile{data: journal}
	return out
}

// A kill in the middle of a write leaves any prefix of the journal: it opens, and nobody's bytes are gone.
func TestEveryPrefixOfTheJournalOpens(t *testing.T) {
	tree, last := busyStage(t)
	raw := tree[journalName].data
	step := max(1, len(raw)/300)
	if os.Getenv("STUDYFS_FULL") != "" {
		step = 1
	}
	for n := 0; n <= len(raw); n += step {
		is := openDamaged(t, with(tree, raw[:n]), fmt.Sprintf("the first %d bytes of the journal", n))
		allBytesThere(t, is, last.what, fmt.Sprintf("the first %d bytes of the journal", n))
	}
}

// A flipped bit in the middle is not the end of the journal: what follows it counts, and what may be outdated by it is not sent out.
func TestAFlippedBitIsToldFromATornEnd(t *testing.T) {
	tree, last := busyStage(t)
	raw := tree[journalName].data
	rng := rand.New(rand.NewPCG(5, 6))
	times := 150
	switch {
	case os.Getenv("STUDYFS_FULL") != "":
		times = 3000
	case testing.Short():
		times = 30
	}
	first := 0
	{
		_, first = decodeRecord(raw)
	}
	for range times {
		at := rng.IntN(len(raw))
		bad := bytes.Clone(raw)
		bad[at] ^= 1 << rng.IntN(8)
		what := fmt.Sprintf("a flipped bit at %d of %d", at, len(raw))
		is := openDamaged(t, with(tree, bad), what)
		allBytesThere(t, is, last.what, what)
		if end := sureUpTo(raw); at >= first && at < end {
			if got := replay(bad); len(got.damage) == 0 || got.torn {
				t.Errorf("%s: taken for a torn end", what)
			}
		} else if at >= end {
			if got := replay(bad); len(got.damage) > 0 || !got.torn {
				t.Errorf("%s: in what was synced last: %d gaps, torn %v", what, len(got.damage), got.torn)
			}
		}
	}
}

// sureUpTo is where the records end of which later ones say that they were synced.
func sureUpTo(raw []byte) (at int) {
	all, sure := replay(raw).records, uint64(0)
	for _, r := range all {
		sure = max(sure, r.sure)
	}
	for _, r := range all {
		if _, n := decodeRecord(raw[at:]); r.seq <= sure {
			at += n
		}
	}
	return at
}

// Without any journal, labels and sidecars find every sealed file.
func TestALostJournalLosesNoFile(t *testing.T) {
	for _, noLabels := range []bool{false, true} {
		tree, last := busyStageOn(t, &recorder{noLabels: noLabels})
		delete(tree, journalName)
		allBytesThere(t, openDamaged(t, tree, "no journal"), last.what, "no journal")
		for _, garbage := range []string{"", "\x00", strings.Repeat("\x00", 1<<16), strings.Repeat("\xff", 1<<16), strings.Repeat("{}", 1<<15)} {
			allBytesThere(t, openDamaged(t, with(tree, []byte(garbage)), "garbage"), last.what, "garbage")
		}
	}
}

// A power cut that takes the journal with it: what was closed has its name, and goes on by itself. What is only a file with bytes, somebody
// would have to find among orphans.
func TestAPowerCutWithoutAJournalLosesNoName(t *testing.T) {
	for _, noLabels := range []bool{false, true} {
		disk, last := busyDisk(t, &recorder{noLabels: noLabels})
		tree := disk.crash(fate{"", none, lost})
		delete(tree, journalName)
		is := openDamaged(t, tree, "power cut, no journal")
		allBytesThere(t, is, last.what, "power cut, no journal")
		for id, it := range last.what {
			if have := is[id]; it.kind == Regular && it.sealed && (have.State != Staged || have.Name == "") {
				t.Errorf("no labels %v: item %d, %q, is %v as %q", noLabels, id, it.name, have.State, have.Name)
			}
		}
	}
}

// A label or a sidecar that nobody can read is not deleted, and the journal is believed.
func TestDamagedSidecarsLoseNoFile(t *testing.T) {
	rng, damaged := rand.New(rand.NewPCG(7, 8)), 0
	for _, noLabels := range []bool{false, true} {
		tree, last := busyStageOn(t, &recorder{noLabels: noLabels})
		for path, f := range tree {
			good := f.label
			if strings.HasSuffix(path, sidecarExt) {
				good = f.data
			}
			if len(good) == 0 || noLabels != strings.HasSuffix(path, sidecarExt) {
				continue
			}
			damaged++
			flipped := bytes.Clone(good)
			flipped[rng.IntN(len(flipped))] ^= 4
			for _, bad := range [][]byte{nil, good[:len(good)/2], bytes.Repeat([]byte{0}, len(good)), flipped} {
				odd := with(tree, tree[journalName].data)
				if odd[path] = (&simFile{data: f.data, label: bad}); noLabels {
					odd[path] = &simFile{data: bad}
				}
				if why := last.what.all(openDamaged(t, odd, path)); why != "" {
					t.Errorf("damaged, no labels %v, %d bytes: %s", noLabels, len(bad), why)
				}
			}
		}
	}
	if damaged < 6 {
		t.Errorf("only %d were there", damaged)
	}
}

// What does not belong there is put aside.
func TestStrangeFilesArePutAside(t *testing.T) {
	tree, last := busyStage(t)
	for _, name := range []string{"files/x", "files/0000000000000001x", "files/../files/thesis.docx", "files/FFFFFFFFFFFFFFFFF"} {
		tree[name] = &simFile{data: []byte("somebody's")}
	}
	tree["files/sub"] = &simFile{dir: true}
	dir := layOut(t, tree)
	is, err := survey(t, dir, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	if why := last.what.all(is); why != "" {
		t.Error(why)
	}
	if b, err := os.ReadFile(filepath.Join(dir, quarantineDir, "thesis.docx")); err != nil || string(b) != "somebody's" {
		t.Errorf("a strange file: %q, %v", b, err)
	}
}

func openDamaged(t *testing.T, tree map[string]*simFile, what string) map[ID]found {
	t.Helper()
	dir := layOut(t, tree)
	defer os.RemoveAll(dir)
	is, err := survey(t, dir, &recorder{})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return is
}

// allBytesThere minds sealed files whose bytes are nowhere, under whatever name and in whatever state; and files that were never sealed and go out.
func allBytesThere(t *testing.T, is map[ID]found, p promises, what string) {
	t.Helper()
	for id, it := range p {
		have, ok := is[id]
		switch {
		case it.kind != Regular:
		case !it.sealed:
			if ok && have.State == Staged {
				t.Errorf("%s: item %d was never sealed and is handed out", what, id)
			}
		case !ok:
			t.Errorf("%s: item %d, %q, is lost", what, id, it.name)
		case !it.dirty() && !bytes.Equal(have.bytes, it.live()):
			t.Errorf("%s: item %d, %q, has other bytes", what, id, it.name)
		}
	}
}

// Records come back as they were.
func TestRecordsComeBack(t *testing.T) {
	check := func(name, why string, id uint64, mode uint32, mtime int64, resume []byte, seq uint64) bool {
		it := itemRecord{ID: ID(id), Name: strings.ToValidUTF8(name, ""), Why: strings.ToValidUTF8(why, ""), Attr: attrRecord{Mode: mode, ModTime: mtime}, Resume: resume}
		raw, err := record{Kind: kindPut, ID: it.ID, Item: &it}.encode([]byte("before"), seq, seq/2)
		if err != nil {
			return false
		}
		r, n := decodeRecord(raw[len("before"):])
		return n == len(raw)-len("before") && r.seq == seq && r.sure == seq/2 && r.Item.Name == it.Name && r.Item.ID == it.ID && r.Item.Attr.ModTime == mtime && bytes.Equal(r.Item.Resume, resume)
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
}

func FuzzReplay(f *testing.F) {
	var journal []byte
	for seq, r := range []record{
		{Kind: kindNext, ID: 7},
		{Kind: kindPut, ID: 1, Item: &itemRecord{ID: 1, Name: "a", Sealed: &mark{1, 2}}},
		{Kind: kindRename, Name: "a", To: "b"},
		{Kind: kindExchange, ID: 1, Other: 2},
		{Kind: kindDrop, ID: 1},
		{Kind: kindStored, ID: 2, Known: &knownRecord{Name: "c", Version: "v"}},
	} {
		journal, _ = r.encode(journal, uint64(seq)+1, uint64(seq))
	}
	f.Add(journal)
	f.Add(journal[:len(journal)-3])
	f.Add(append(bytes.Clone(journal[:40]), journal[60:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := replay(b)
		last := uint64(0)
		for i, r := range got.records {
			if i > 0 && r.seq <= last {
				t.Fatalf("record %d after %d", r.seq, last)
			}
			last = r.seq
		}
		if got.valid > len(b) {
			t.Fatalf("%d valid bytes of %d", got.valid, len(b))
		}
		if again := replay(b[:got.valid]); len(got.damage) == 0 && (len(again.damage) > 0 || again.torn || len(again.records) != len(got.records)) {
			t.Fatalf("the valid part is damaged: %+v", again)
		}
	})
}

// FuzzOpen gives a stage a journal and a sidecar that anybody may have written.
func FuzzOpen(f *testing.F) {
	side, _ := record{Kind: kindPut, ID: 1, Item: &itemRecord{ID: 1, Name: "a/b", Sealed: &mark{1, 2}}}.encode(nil, 9, 0)
	journal, _ := record{Kind: kindPut, ID: 1, Item: &itemRecord{ID: 1, Name: "a"}}.encode(nil, 1, 0)
	f.Add(journal, side)
	f.Add(side, journal)
	f.Fuzz(func(t *testing.T, journal, side []byte) {
		dir := layOut(t, map[string]*simFile{
			filesDir: {dir: true}, fileName(1): {data: []byte("bytes"), label: side[:min(len(side), maxLabel)]}, sidecarName(1): {data: side}, journalName: {data: journal},
		})
		defer os.RemoveAll(dir)
		s, err := Open(testOptions(dir, &recorder{}))
		if err != nil {
			t.Fatal(err)
		}
		s.Items()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{fileName(1), quarantineDir + "/" + filepath.Base(fileName(1))} {
			if _, err := os.Stat(filepath.Join(dir, path)); err == nil {
				return
			}
		}
		if !strings.Contains(string(journal), string(kindDrop)) && !strings.Contains(string(journal), string(kindStored)) {
			t.Error("the bytes are gone")
		}
	})
}

// The room ahead of the journal is zeros. What is taken for a torn record there would be told as a crash that nobody had, and one behind it
// must still be found: a disk that lost a page of the journal gives zeros, too.
func TestRoomAhead(t *testing.T) {
	var b []byte
	for seq := range uint64(3) {
		b, _ = record{Kind: kindNext, ID: 7}.encode(b, seq+1, seq)
	}
	whole := len(b)
	if out := replay(append(bytes.Clone(b), make([]byte, 5000)...)); len(out.records) != 3 || out.torn || out.valid != whole || out.damage != nil {
		t.Errorf("%d records, torn %v, valid to %d of %d, damage %v", len(out.records), out.torn, out.valid, whole, out.damage)
	}
	clear(b[whole/3 : 2*whole/3])
	if out := replay(b); len(out.records) != 2 || out.damage == nil {
		t.Errorf("%d records, damage %v", len(out.records), out.damage)
	}
}
