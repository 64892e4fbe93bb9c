package beiwe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/beiwe/beiwetest"
)

func quick(t *testing.T, o beiwetest.Options, days int, streams ...string) (*site, []string) {
	t.Helper()
	s, ids := newSite(t, o, beiwetest.FillOptions{Participants: 1, Days: days, Streams: streams})
	return s, ids
}

// hasty has a client give up a request whose server falls silent. It makes five in all, of which a busy machine must be in time for one.
func (s *site) hasty() {
	s.o.Timeouts.FirstByte, s.o.Timeouts.Progress = 2*time.Second, 2*time.Second
}

// Whatever goes wrong a few times on the way, in the end everything is there, and right.
func TestPassingFaults(t *testing.T) {
	const data = "/get-data"
	faults := map[string]beiwetest.Fault{
		"504 after silence":   {Path: data, Kind: beiwetest.NoFirstByte, Delay: 100 * time.Millisecond, Count: 2},
		"silence":             {Path: data, Kind: beiwetest.NoFirstByte, Delay: 5 * time.Second, Count: 1},
		"502":                 {Kind: beiwetest.GatewayFailed, Every: 2, Count: 4},
		"503":                 {Kind: beiwetest.Maintenance, Every: 2, Count: 4},
		"reset":               {Kind: beiwetest.Reset, Every: 2, Count: 4},
		"truncated":           {Path: data, Kind: beiwetest.Truncate, After: 10, Count: 3},
		"truncated at once":   {Path: data, Kind: beiwetest.Truncate, Count: 3},
		"cut inside a file":   {Path: data, Kind: beiwetest.Cut, After: 7, Count: 3},
		"missing object":      {Path: data, Kind: beiwetest.MissingObject, Count: 3},
		"stalls":              {Path: data, Kind: beiwetest.Stall, After: 5, Count: 2},
		"slow":                {Path: data, Kind: beiwetest.Drip, Delay: 2 * time.Millisecond},
		"a damaged file":      {Path: data, Kind: beiwetest.WrongCRC, Count: 1},
		"a short file":        {Path: data, Kind: beiwetest.WrongSize, Count: 1},
		"names that lead out": {Path: data, Kind: beiwetest.BadNames, After: 3},
		"a file twice":        {Path: data, Kind: beiwetest.Twice, After: 3},
	}
	for name, f := range faults {
		for _, v2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s v2 %v", name, v2), func(t *testing.T) {
				t.Parallel()
				s, _ := quick(t, beiwetest.Options{V2: v2}, 1, "gps", "calls", "survey_answers", "survey_timings")
				if f.Delay > time.Second || f.Kind == beiwetest.Stall {
					s.hasty()
				}
				s.srv.Fail(f)
				s.open()
				s.compare()
				s.reopen()
				s.srv.ClearFaults()
				s.compare()
			})
		}
	}
}

// What goes wrong for good is an error, never a folder that looks whole.
func TestLastingFaults(t *testing.T) {
	faults := map[string]beiwetest.Fault{
		"500":           {Kind: beiwetest.Broken},
		"garbage":       {Kind: beiwetest.Garbage},
		"http to https": {Kind: beiwetest.RedirectHTTPS},
		"elsewhere":     {Kind: beiwetest.RedirectAway},
		"damaged":       {Kind: beiwetest.WrongCRC},
		"compressed":    {Kind: beiwetest.Deflate},
		"bomb":          {Kind: beiwetest.Bomb},
		"404":           {Kind: beiwetest.Truncated404},
	}
	for name, f := range faults {
		f.Path = "/get-data"
		for _, v2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s v2 %v", name, v2), func(t *testing.T) {
				t.Parallel()
				s, ids := quick(t, beiwetest.Options{V2: v2}, 2, "gps")
				s.o.Timeouts.Retry = 200 * time.Millisecond
				s.open()
				people := s.list("Demo Study")
				s.srv.Fail(f)
				if len(people) != 1 {
					t.Fatalf("participants %v", people)
				}
				if all, err := s.store.List(t.Context(), "Demo Study/"+ids[0]+"/gps"); err == nil {
					t.Errorf("%d files listed", len(all))
				}
				s.srv.ClearFaults()
				time.Sleep(10 * time.Millisecond)
				s.compare()
			})
		}
	}
}

// A connection that breaks off again and again still makes progress: what has come is not sent again.
func TestBrokenOffGoesOn(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{}, 10, "gps")
	s.srv.Fail(beiwetest.Fault{Path: "/get-data", Kind: beiwetest.Truncate, After: 50})
	s.open()
	names := s.list("Demo Study/" + ids[0] + "/gps")
	if len(names) != 240 {
		t.Fatalf("%d hours", len(names))
	}
	sent := 0
	for _, r := range s.srv.Log() {
		sent += r.Members
	}
	if sent < 240 || sent > 360 { // what was on its way when the connection broke is lost: more on a busy machine
		t.Errorf("%d files were sent for 240", sent)
	}
	s.compare()
}

// While the server is down for maintenance, what is here can be listed and read; also after a restart.
func TestMaintenance(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{V2: true}, 2, "gps", "survey_answers")
	s.o.Timeouts.Retry = 100 * time.Millisecond
	s.open()
	s.compare()
	s.srv.Fail(beiwetest.Fault{Kind: beiwetest.Maintenance})
	s.compare()
	s.reopen()
	s.compare()
	if _, err := s.read("Demo Study/" + ids[0] + "/gps/2020-01-01 00_00_00+00_00.csv"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := s.src.Trouble(); !errors.Is(err, backends.ErrUnreachable) {
		t.Errorf("trouble: %v", err)
	}
}

// Whoever lost the right to read the data has lost it for the copy too; and gets it back without a remount.
func TestRevokedKeys(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{V2: true}, 2, "gps")
	s.o.Refresh = 50 * time.Millisecond
	s.open()
	s.compare()
	s.srv.RevokeKey(access)
	eventually(t, func() bool { return errors.Is(s.src.Trouble(), backends.ErrAuth) })
	if _, err := s.store.List(t.Context(), "Demo Study/"+ids[0]+"/gps"); !errors.Is(err, backends.ErrAuth) {
		t.Errorf("list: %v", err)
	}
	if n := strings.Count(s.log.String(), "refuses the keys"); n != 1 {
		t.Errorf("told %d times:\n%s", n, s.log.String())
	}
	s.srv.AddKey(access, secret)
	eventually(t, func() bool { return s.src.Trouble() == nil })
	s.compare()
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came")
		}
	}
}

// Keys that open no study, and a study that these keys do not open, are told apart.
func TestForbiddenStudy(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{}, 1, "gps")
	s.open()
	s.list("Demo Study")
	s.srv.Fail(beiwetest.Fault{Path: "/get-data", Kind: beiwetest.Forbidden})
	_, err := s.store.List(t.Context(), "Demo Study/"+ids[0]+"/gps")
	if !errors.Is(err, backends.ErrPermission) || errors.Is(err, backends.ErrAuth) {
		t.Errorf("forbidden: %v", err)
	}
}

// Hours that phones upload late, and hours that are rewritten, appear by themselves, and only their days are fetched again.
func TestRefreshFetchesDirtyDaysOnly(t *testing.T) {
	for _, g := range []beiwetest.Generation{beiwetest.Current, beiwetest.MD5} {
		s, ids := quick(t, beiwetest.Options{Generation: g}, 10, "gps", "calls")
		s.o.Refresh = 100 * time.Millisecond
		var mu sync.Mutex
		var told []backends.Change
		s.cache.Changed = func(c backends.Change) { mu.Lock(); told = append(told, c); mu.Unlock() }
		s.open()
		s.compare()
		mu.Lock()
		told = nil
		mu.Unlock()
		time.Sleep(300 * time.Millisecond)
		s.srv.ResetLog()
		old := time.Now().Add(-5 * 24 * time.Hour).Truncate(time.Hour)
		beiwetest.AddHour(s.srv, studyID, ids[0], "gps", old, 80) // more rows than any hour has
		gps := "Demo Study/" + ids[0] + "/gps"
		eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.ContainsFunc(told, func(c backends.Change) bool { return c.Dir == gps && c.All })
		})
		s.compare()
		var sent, members int64
		for _, r := range s.srv.Log() {
			if r.Path == "/get-data/v1" {
				sent, members = sent+r.Bytes, members+int64(r.Members)
				from, _ := time.Parse("2006-01-02T15:04:05", r.Form.Get("time_start"))
				to, _ := time.Parse("2006-01-02T15:04:05", r.Form.Get("time_end"))
				if to.Sub(from) > 25*time.Hour || old.Before(from) || old.After(to) || r.Form.Get("data_streams") != `["gps"]` {
					t.Errorf("fetched %v from %v to %v", r.Form["data_streams"], from, to)
				}
			}
		}
		if most := int64(1); g == beiwetest.Current && members != most || members > 24 {
			t.Errorf("generation %d: %d files sent, %d bytes", g, members, sent)
		}
		s.close()
	}
}

// A program that has a file open when its hour is rewritten reads on in what it opened; whoever opens it next gets the new bytes.
func TestOpenFileKeepsItsVersion(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{V2: true}, 2, "gps")
	s.o.Refresh = 50 * time.Millisecond
	s.open()
	dir := "Demo Study/" + ids[0] + "/gps"
	name := dir + "/" + s.list(dir)[5]
	before, err := s.read(name)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := s.store.Lookup(t.Context(), name)
	r, err := s.store.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at, _ := time.Parse("2006-01-02 15_04_05+00_00.csv", path.Base(name))
	beiwetest.AddHour(s.srv, studyID, ids[0], "gps", at, 3)
	eventually(t, func() bool {
		now, err := s.store.Lookup(t.Context(), name)
		return err == nil && now.Version != e.Version
	})
	p := make([]byte, e.Size)
	if n, err := r.ReadAt(context.Background(), p, 0); (err != nil && !errors.Is(err, io.EOF)) || string(p[:n]) != string(before) {
		t.Errorf("the open file changed: %d bytes, %v", n, err)
	}
	after, err := s.read(name)
	if err != nil || string(after) == string(before) {
		t.Errorf("the new version is the old one: %v", err)
	}
}

// Two answers within one second get a number each from the server, in the order of chance. Here the names stay.
func TestNamesOfOneSecondStay(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{}, 1, "gps")
	at := time.Now().UTC().Truncate(time.Second).Add(-5 * time.Hour)
	for i, ms := range []int{700, 100, 400} {
		s.srv.Put(studyID, ids[0], "survey_answers", beiwetest.File{
			Survey: beiwetest.SurveyID, Time: at.Add(time.Duration(ms) * time.Millisecond), Body: beiwetest.Bytes(fmt.Sprintf("question id\n%d,%d", i, ms)),
		})
	}
	s.open()
	dir := "Demo Study/" + ids[0] + "/survey_answers/" + beiwetest.SurveyID
	check := func() {
		t.Helper()
		stem := at.Format("2006-01-02 15_04_05+00_00")
		for name, want := range map[string]string{stem + ".csv": "1,100", stem + "_2.csv": "2,400", stem + "_3.csv": "0,700"} {
			got, err := s.read(dir + "/" + name)
			if err != nil || !strings.HasSuffix(string(got), "\n"+want) {
				t.Errorf("%s holds %q, %v", name, got, err)
			}
		}
	}
	if n := len(s.list(dir)); n != 3 {
		t.Fatalf("%d files", n)
	}
	for range 5 {
		check()
		s.reopen()
	}
	s.dir = t.TempDir() // another machine
	s.reopen()
	s.list(dir)
	check()
}

// A server from before 2024 has no summary, no time zone, other names: it only takes longer.
func TestOldServer(t *testing.T) {
	s, ids := newSite(t, beiwetest.Options{NoSummary: true, NoSettings: true, NaiveNames: true, Generation: beiwetest.MD5}, beiwetest.FillOptions{
		Participants: 2, Days: 2, Streams: []string{"gps", "calls", "survey_answers", "audio_recordings", "gyro"},
	})
	s.srv.AddParticipant(studyID, "nobody11", beiwetest.Participant{})
	s.open()
	s.compare()
	if got := s.list("Demo Study/" + ids[0]); slices.Contains(got, "accelerometer") || slices.Contains(got, "ambient_audio") {
		t.Errorf("streams without data: %v", got)
	}
	s.requests()
	s.walk("Demo Study")
	s.atMost(0, "a second walk")
}

// What the options do not want is neither shown nor fetched.
func TestShownDaysAndStreams(t *testing.T) {
	s, ids := newSite(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 1, Days: 10, Streams: []string{"gps", "calls", "power_state"}})
	s.open()
	s.compare()
	s.o.Streams = []string{"gps"}
	today := time.Now()
	s.o.Since, s.o.Until = day(t, today.AddDate(0, 0, -5)), day(t, today.AddDate(0, 0, -4))
	s.reopen()
	if got := s.list("Demo Study/" + ids[0]); !slices.Equal(got, []string{"gps"}) {
		t.Errorf("streams %v", got)
	}
	if n := len(s.list("Demo Study/" + ids[0] + "/gps")); n != 48 {
		t.Errorf("%d hours of two days", n)
	}
	if _, err := s.store.Lookup(t.Context(), "Demo Study/"+ids[0]+"/calls"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("calls: %v", err)
	}
}

// A stream that the server does not know (any more) is a "not found" for the whole request. The others must come all the same.
func TestStreamThatTheServerLacks(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{NoSummary: true, NoSettings: true, Generation: beiwetest.MD5, Lacks: []string{"proximity", "gyro", "bluetooth"}}, 2,
		"gps", "calls", "power_state")
	s.open()
	s.compare()
	if _, err := s.store.List(t.Context(), "Demo Study/"+ids[0]+"/proximity"); err != nil {
		t.Errorf("a stream that nobody has: %v", err)
	}
	s.reopen()
	s.requests()
	s.compare()
	if n, text := s.requests(); n > 25 { // what the server lacks is remembered; streams that nobody has are looked for once
		t.Errorf("%d requests after a restart: %s", n, text)
	}
}

// A participant who is gone is "not found" too, and that is not the stream's fault.
func TestParticipantWhoIsGone(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{}, 1, "gps")
	s.open()
	s.list("Demo Study")
	s.srv.Fail(beiwetest.Fault{Path: "/get-data", Kind: beiwetest.Truncated404})
	if _, err := s.store.List(t.Context(), "Demo Study/"+ids[0]+"/gps"); err == nil {
		t.Error("listed")
	}
}

// A study that is deleted on the server leaves the mount, and with it what was known of it.
func TestStudyIsDeleted(t *testing.T) {
	s, _ := quick(t, beiwetest.Options{V2: true}, 1, "gps")
	s.o.Refresh = 50 * time.Millisecond
	s.open()
	s.compare()
	s.srv.DeleteStudy(studyID)
	eventually(t, func() bool { return len(s.list("")) == 0 })
	if _, err := s.store.Lookup(t.Context(), "Demo Study"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("the study: %v", err)
	}
}

// The server's list of streams grows: what it sends of a stream that this version does not know is shown.
func TestStreamThatWeDoNotKnow(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		s, ids := quick(t, beiwetest.Options{V2: v2}, 1, "gps")
		route := map[bool]string{false: "/get-data/v1", true: "/get-data/v2"}[v2]
		s.srv.Fail(beiwetest.Fault{Path: route, Kind: beiwetest.UnknownStream, After: 2})
		s.open()
		s.list("Demo Study/" + ids[0] + "/gps")
		if got := s.list("Demo Study/" + ids[0]); !slices.Equal(got, []string{"ai_chat_logs", "gps"}) {
			t.Fatalf("v2 %v: streams %v", v2, got)
		}
		if got := s.list("Demo Study/" + ids[0] + "/ai_chat_logs"); len(got) != 1 {
			t.Errorf("v2 %v: files %v", v2, got)
		}
		got, err := s.read("Demo Study/" + ids[0] + "/ai_chat_logs/2026-01-01 00_00_00+00_00.csv")
		if err != nil || !strings.HasSuffix(string(got), "hello") {
			t.Errorf("v2 %v: %q, %v", v2, got, err)
		}
		s.close()
	}
}

// Documents of the study as a whole: whole, right, and read again when the server's change.
func TestDocuments(t *testing.T) {
	s, ids := quick(t, beiwetest.Options{V2: true}, 2, "gps")
	s.open()
	dir := ".studyfs/Demo Study"
	if got := s.list(dir); !slices.Equal(got, []string{"interventions.json", "participants.csv", "settings.json", "summary.csv", "survey_history.json"}) {
		t.Fatalf("documents %v", got)
	}
	s.requests()
	for _, name := range s.list(dir) {
		got, err := s.read(dir + "/" + name)
		if err != nil || len(got) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if strings.HasSuffix(name, ".csv") && !strings.Contains(string(got), ids[0]) {
			t.Errorf("%s holds nobody:\n%s", name, got)
		}
	}
	s.atMost(0, "documents that were listed")
	if got := s.list(""); !slices.Equal(got, []string{"Demo Study"}) {
		t.Errorf("the root shows %v", got)
	}
	s.srv.Fail(beiwetest.Fault{Path: "/get-study-settings", Kind: beiwetest.Garbage})
	s.dir = t.TempDir()
	s.reopen()
	if _, err := s.store.Lookup(t.Context(), dir+"/settings.json"); err == nil || errors.Is(err, backends.ErrNotExist) {
		t.Errorf("a login page as settings: %v", err)
	}
}
