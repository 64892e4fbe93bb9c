package livepage

import (
	"slices"
	"testing"
	"time"
)

func names(rows []Item) (out []string) {
	for _, r := range rows {
		out = append(out, r.Name)
	}
	return out
}

// What needs people must stand first, and turning pages must show each file once.
func TestQueueOrderAndPages(t *testing.T) {
	items := func() []Item {
		return []Item{ // as the mount lists them
			{Source: "a", ID: 2, Name: "a2", State: "writing"},
			{Source: "a", ID: 3, Name: "A3", State: "conflict"},
			{Source: "a", ID: 9, Name: "a9", State: "staged"},
			{Source: "a", ID: 10, Name: "a10", State: "uploading"},
			{Source: "b", ID: 1, Name: "b1", State: "staged"},
			{Source: "b", ID: 7, Name: "b7", State: "parked"},
		}
	}
	for _, c := range []struct {
		q    query
		want []string
		from int
	}{
		{query{Rows: 50}, []string{"A3", "b7", "a10", "a2", "a9", "b1"}, 0},
		{query{Rows: 2, From: 2}, []string{"a10", "a2"}, 2},
		{query{Rows: 2, From: 90}, []string{"a9", "b1"}, 4}, // the queue has become shorter
		{query{Rows: 4, From: -5}, []string{"A3", "b7", "a10", "a2"}, 0},
		{query{Rows: 50, Show: "decide"}, []string{"A3", "b7"}, 0},
		{query{Rows: 50, Show: "moving"}, []string{"a10"}, 0},
		{query{Rows: 50, Show: "waiting"}, []string{"a2", "a9", "b1"}, 0},
		{query{Rows: 50, Find: "A"}, []string{"A3", "a10", "a2", "a9"}, 0},
		{query{Rows: 50, Find: "nosuch", From: 7}, nil, 0},
	} {
		if got := c.q.of(items()); !slices.Equal(names(got.Rows), c.want) || got.From != c.from {
			t.Errorf("%+v: %v from %d, want %v from %d", c.q, names(got.Rows), got.From, c.want, c.from)
		}
	}
}

// A page that was opened late shows what went before; one that is open gets only what it lacks.
func TestHistory(t *testing.T) {
	h := &history{}
	at := time.Unix(100, 0)
	h.look(at, totals{in: 100})
	if r := h.since(0); len(r.Samples) != 0 || r.Seq != 0 {
		t.Errorf("after one look: %+v", r)
	}
	h.look(at.Add(2*time.Second), totals{in: 300, reads: 4})
	if r := h.since(0); len(r.Samples) != 1 || r.Samples[0].In != 100 || r.Samples[0].Reads != 2 {
		t.Errorf("a rate: %+v", r)
	}
	h.look(at, totals{in: 300})                  // the clock was set back
	h.look(at.Add(time.Second), totals{in: 200}) // counts never fall; a backend that does gives nothing, not less than nothing
	if r := h.since(1); len(r.Samples) != 1 || r.Samples[0].In != 0 || r.Seq != 2 {
		t.Errorf("after a jump: %+v", r)
	}
	for i := range 3 * sampleCount {
		h.look(at.Add(time.Duration(i+2)*time.Second), totals{})
	}
	if r := h.since(0); len(r.Samples) != sampleCount {
		t.Errorf("%d samples are kept, want %d", len(r.Samples), sampleCount)
	}
	if r := h.since(h.seq); len(r.Samples) != 0 {
		t.Errorf("%d samples that the page has", len(r.Samples))
	}
	if r := h.since(h.seq + 5); len(r.Samples) != sampleCount { // of another process: all is new
		t.Errorf("%d samples for a number that we never gave", len(r.Samples))
	}
}
