package stage

import (
	"testing"
	"time"
)

// Whoever compares what was uploaded with what the service has must be shown each file once, in pages, and nothing else.
func TestRecordsAreAllThatWasStored(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	for _, name := range []string{"b/y", "a", "b/x"} {
		b.file(name, "12")
	}
	if _, err := b.Mkdir("empty", Attr{Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	go b.store(t.Context())
	b.must(b.Wait(t.Context(), ""))
	b.file("c", "not stored")
	var got []string
	for after, page := "", b.Records("", 2); len(page) > 0; page = b.Records(after, 2) {
		for _, r := range page {
			got = append(got, r.Name)
			if after = r.Name; r.Version != "1" || r.Size != 2 {
				t.Errorf("%+v", r)
			}
		}
	}
	if len(got) != 3 || got[0] != "a" || got[1] != "b/x" || got[2] != "b/y" {
		t.Errorf("records of %q", got)
	}
}
