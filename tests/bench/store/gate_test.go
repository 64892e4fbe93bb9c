package store

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What the table says of requests and bytes is what came to the store.
func TestGateCounts(t *testing.T) {
	var g gate
	h := httptest.NewServer(g.before(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "12345")
	})))
	defer h.Close()
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/bucket/key", ""},
		{"GET", "/bucket/?list-type=2", ""},
		{"GET", "/bucket?list-type=2", ""},
		{"HEAD", "/bucket/key", ""},
		{"PUT", "/bucket/a/b", "1234567"},
		{"POST", "/bucket?delete", "12"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), r.method, h.URL+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	want := Counts{Get: 1, List: 2, Head: 1, Write: 1, Other: 1, Out: 30, In: 9, AtOnce: 1}
	got := g.read()
	if got.AtOnce > 2 { // a request leaves a moment after its answer has come
		t.Error(got.AtOnce)
	}
	if got.AtOnce = 1; got != want || got.Requests() != 6 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if g.reset(); g.read() != (Counts{}) {
		t.Error("it does not forget")
	}
}
