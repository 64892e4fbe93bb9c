package livepage

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"studyfs/cmd/studyfs/livepage"
	"studyfs/tests/harness"
)

// busy is a mount with very many files on their way: at each look some have moved, one is gone and one has come.
type busy struct {
	files int
	begun time.Time

	mu    sync.Mutex // guards what follows
	looks int
	views int
	in    int64
	out   int64
}

func (b *busy) View() livepage.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.views++
	wave := math.Sin(float64(b.views) / 9)
	b.in += int64((1.2 + wave) * (6 << 20))
	b.out += int64((2.1 - wave + math.Sin(float64(b.views)/2.3)/3) * (11 << 20))
	return livepage.View{
		Dir: "/home/kim/lab", ID: "0123456789abcdef", Started: b.begun.Add(-40 * time.Minute), Passthrough: true, Memory: 31 << 20, MemoryLimit: 256 << 20, CacheLimit: 10 << 30,
		Sources: []livepage.Source{
			{
				ID: "1", Name: "derivatives", Kind: "s3", URL: "s3://lab-derivatives/dmriprep/", Dir: "/home/kim/lab/derivatives", In: b.in, Out: b.out,
				Cache: livepage.Cache{Bytes: 4 << 30, Hits: 9120, Misses: 1033}, Requests: livepage.Requests{List: 41, Get: 1210 + b.in>>20, Put: 5120 + b.out>>21, Head: 12}, Problems: []livepage.Problem{},
				Uploads: &livepage.Uploads{Uploading: 8, Staged: b.files - 12, Conflict: 2, Parked: 1, Failed: 1, Stored: 5120 + b.looks, BytesLeft: 61 << 30},
			},
			{
				ID: "2", Name: "sleep", Kind: "empatica", URL: "s3://empatica-prod-data/v2/4711/", Dir: "/home/kim/lab/sleep", In: 310 << 20,
				Cache: livepage.Cache{Bytes: 309 << 20, Hits: 812, Misses: 230}, Requests: livepage.Requests{List: 9, Get: 230}, Problems: []livepage.Problem{{
					What: "sleep", Why: "the service refused the keys: they have expired", Do: "take new keys from the Care Portal and put them into ~/keys/sleep.csv; no remount is needed",
				}},
			},
		},
	}
}

func (b *busy) Items() []livepage.Item {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	items := make([]livepage.Item, 0, b.files)
	for i := range b.files {
		id := b.looks + i // the first is gone, a new one is last
		one := livepage.Item{
			Source: "1", ID: uint64(id + 100), Name: fmt.Sprintf("derivatives/dmriprep/sub-%04d/ses-%02d/dwi/sub-%04d_desc-preproc_dwi.nii.gz", id/4, id%4, id/4), Kind: "file",
			State: "staged", Size: int64(3+id%50) << 20, Changed: b.begun.Add(-time.Duration(i) * time.Second),
		}
		if i < 8 {
			one.State, one.Sent = "uploading", one.Size*int64((b.looks*7+i*11)%100)/100
		}
		items = append(items, one)
	}
	held := []livepage.Item{
		{ID: 1, Name: "participants.tsv", State: "conflict", Size: 4100, Why: "somebody else has stored another file of that name"},
		{ID: 2, Name: "derivatives/dmriprep/dataset_description.json", State: "conflict", Size: 212, Why: "somebody else has stored another file of that name"},
		{ID: 3, Name: "derivatives/dmriprep/sub01/report.html", State: "parked", Size: 88 << 10, Why: "sub01 should be sub-01"},
		{ID: 4, Name: "derivatives/dmriprep/sub-0007/figures/fa.svg", State: "failed", Size: 1 << 20, Why: "the service will not take it: its storage class is not allowed in this bucket"},
	}
	for i := range held {
		held[i].Source, held[i].Kind, held[i].Changed = "1", "file", b.begun.Add(-90*time.Minute)
	}
	return append(items, held...)
}

func (b *busy) Act(context.Context, livepage.Action) *livepage.Problem { return nil }

// With 20,000 files on their way a page must stay smooth: what an update costs must not grow with them. What is counted is asserted; the times
// are told.
func TestTwentyThousand(t *testing.T) {
	t.Parallel()
	c := chromium(t)
	m := &busy{files: 20_000, begun: time.Now()}
	clock := m.begun.Add(-15 * time.Minute)
	s, err := livepage.Listen(t.Context(), livepage.Options{
		Address: "127.0.0.1:0", Mount: m, Log: slog.New(slog.DiscardHandler),
		Every: 10 * time.Millisecond, Now: func() time.Time { // so that there is something to be drawn: each look is 5 s later
			clock = clock.Add(5 * time.Second)
			return clock
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Serve()
	defer s.Close()
	for _, screen := range []struct {
		name          string
		width, height int
		phone         bool
	}{{"desktop", 1280, 1100, false}, {"phone", 390, 844, true}} {
		p := c.open(s.URL(), screen.width, screen.height, screen.phone)
		p.until(`window.measured.length >= 3`)
		p.small(screen.name)
		p.fits(screen.name)
		if screen.phone {
			keep(t, "livepage-phone.png", p.picture())
			p.eval(`document.getElementById("queue").scrollIntoView()`, nil)
			keep(t, "livepage-phone-uploads.png", p.picture())
		} else {
			keep(t, "livepage-desktop.png", p.picture())
			pages(p)
		}
		p.innocent(s.URL())
	}
}

// small counts what updates cost and fails the test if that is more than a page of the queue.
func (t *tab) small(name string) {
	t.b.t.Helper()
	var got struct {
		Measured []struct {
			MS    float64 `json:"ms"`
			Bytes int     `json:"bytes"`
		} `json:"measured"`
		Rows, Nodes, Long int
		Fetches           []float64
	}
	t.eval(`({ measured: window.measured, rows: document.querySelectorAll("#rows > li").length, nodes: document.querySelectorAll("*").length, long: window.long,
		fetches: performance.getEntriesByType("resource").filter((e) => e.name.includes("/api/state")).map((e) => e.responseEnd - e.requestStart).sort((a, b) => a - b) })`, &got)
	if got.Rows != 50 || got.Nodes > 2000 {
		t.b.t.Errorf("%s: %d rows and %d elements; 50 and at most 2,000 are promised", name, got.Rows, got.Nodes)
	}
	times := []float64{}
	for i, m := range got.Measured {
		if m.Bytes > 40<<10 {
			t.b.t.Errorf("%s: update %d has %d bytes", name, i, m.Bytes)
		}
		times = append(times, m.MS)
	}
	slices.Sort(times)
	t.b.t.Logf("%s: %d updates, the middle one %.1f ms, the longest %.1f ms, %d bytes; %d rows, %d elements, %d tasks of more than 50 ms; the answers took %.1f to %.1f ms",
		name, len(times), times[len(times)/2], times[len(times)-1], got.Measured[len(got.Measured)-1].Bytes, got.Rows, got.Nodes, got.Long, got.Fetches[0], got.Fetches[len(got.Fetches)-1])
}

// The same with a real mount, whose queue is written to while somebody looks.
func TestRealQueue(t *testing.T) {
	t.Parallel()
	c := chromium(t)
	s := mounted(t)
	files := harness.Sized(120, 20_000)
	p := c.open(s.url, 1280, 900, false)
	for i := range files {
		s.write(t, fmt.Sprintf("sub-%03d/f%05d.json", i%100, i), "{}")
	}
	p.until(fmt.Sprintf(`document.getElementById("n-all").textContent.replace(",", "") === "%d"`, files))
	p.until(fmt.Sprintf(`document.getElementById("where").textContent.replace(",", "") === "1 to 50 of %d"`, files))
	p.small(fmt.Sprintf("%d files in a mount", files))
	p.eval(`document.getElementById("find").focus()`, nil)
	for _, letter := range fmt.Sprintf("f%05d", files-1) {
		p.press(string(letter))
	}
	p.until(`document.querySelectorAll("#rows > li").length === 1`)
	p.innocent(s.url)
}

// pages turns the pages of the queue and narrows it, by keyboard alone.
func pages(p *tab) {
	p.tabTo(`e.id === "last"`)
	p.press("Enter")
	p.until(`document.getElementById("where").textContent.includes("20,001 to 20,004 of 20,004")`)
	p.until(`document.activeElement.id === "last" && document.querySelectorAll("#rows > li").length === 4`)
	p.eval(`document.getElementById("show").querySelector("input").focus()`, nil)
	p.press("ArrowRight")
	p.until(`document.querySelector('input[value="decide"]').checked && document.querySelectorAll("#rows > li").length === 4 && document.querySelectorAll("#rows .state.bad").length === 4`)
	p.eval(`document.getElementById("find").focus()`, nil)
	for _, letter := range "participants" {
		p.press(string(letter))
	}
	p.until(`document.querySelectorAll("#rows > li").length === 1 && document.getElementById("rows").textContent.includes("participants.tsv")`)
}
