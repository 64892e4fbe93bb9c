package livepage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeMount is a mount with one source that files are copied into.
type fakeMount struct {
	mu    sync.Mutex // guards what follows
	items []Item
	acts  []Action
	deny  *Problem
}

func (f *fakeMount) View() View {
	return View{Dir: "/mnt/Anna Example", ID: "0123", Started: time.Unix(1000, 0), CacheLimit: 10 << 30, Sources: []Source{{
		ID: "abcd", Name: "sub-Anna", Kind: "s3", URL: "s3://bucket/sub-Anna/", Dir: "/mnt/Anna Example",
		Requests: Requests{List: 3, Put: 4}, In: 10, Out: 20, Uploads: &Uploads{Conflict: 1}, Problems: []Problem{},
	}}}
}

func (f *fakeMount) Items() []Item {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Item{}, f.items...)
}

func (f *fakeMount) Act(_ context.Context, a Action) *Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, a)
	return f.deny
}

// started serves a page for the time of the test. log gets what is logged.
func started(t *testing.T, m Mount) (s *Server, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	s, err := Listen(t.Context(), Options{Address: "127.0.0.1:0", Mount: m, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.Serve()
	t.Cleanup(func() { s.Close() })
	return s, log
}

// ask sends one request; change may alter it first.
func ask(t *testing.T, s *Server, method, path, body string, change func(*http.Request)) (status int, answer string, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.listener.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Close { // the client has taken the header out
		resp.Header.Set("Connection", "close")
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw), resp.Header
}

// The page shows names of participants: it must not be possible to show it to the network, by mistake or otherwise.
func TestOnlyLoopback(t *testing.T) {
	for address, good := range map[string]bool{
		"127.0.0.1:0": true, "127.0.0.1:8080": true, "127.8.8.8:1": true, "[::1]:0": true, "localhost:0": true,
		"": false, ":0": false, ":8080": false, "0.0.0.0:0": false, "[::]:0": false, "192.168.1.5:80": false, "10.0.0.1:0": false,
		"example.com:80": false, "localhost.evil.example:80": false, "[::ffff:127.0.0.1]:80": false, "127.0.0.1": false,
		"127.0.0.1:http": false, "127.0.0.1:99999": false, "127.1:80": false, "[::1%lo]:0": false,
	} {
		if err := CheckAddress(address); (err == nil) != good || err != nil && !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v; want good: %v", address, err, good)
		}
	}
	if _, err := Listen(t.Context(), Options{Address: "0.0.0.0:0"}); !errors.Is(err, ErrAddress) {
		t.Errorf("listening everywhere: %v", err)
	}
}

// Other users of the machine can connect, too. Without the token they must learn nothing, not even what there is.
func TestNothingWithoutToken(t *testing.T) {
	s, log := started(t, &fakeMount{})
	other := []byte(s.token)
	other[0] ^= 1
	for _, path := range []string{"/", "/api/state", "/metrics", "/nosuch", "/page.js", "/index.html", "/" + string(other) + "/", "/" + s.token[:10] + "/", "//", "/x/" + s.token + "/"} {
		for _, bearer := range []string{"", "Bearer ", "Bearer " + string(other), "Bearer " + s.token + "x", s.token, "Basic " + s.token} {
			status, text, header := ask(t, s, "GET", path, "", func(r *http.Request) {
				r.Header.Del("Authorization")
				if bearer != "" {
					r.Header.Set("Authorization", bearer)
				}
			})
			if status != http.StatusUnauthorized || strings.Contains(text, "Anna") || strings.Contains(text, s.token) || len(header.Values("Set-Cookie")) > 0 || header.Get("Connection") != "close" {
				t.Errorf("GET %s with %q: %d, %s", path, bearer, status, text)
			}
		}
	}
	if status, _, _ := ask(t, s, "POST", "/api/act", `{"do":"pause","source":"abcd"}`, func(r *http.Request) { r.Header.Del("Authorization") }); status != http.StatusUnauthorized {
		t.Errorf("an action without the token: %d", status)
	}
	if text := log.String(); strings.Contains(text, s.token) {
		t.Errorf("the log has the token:\n%s", text)
	}
}

// The token in the path opens the page and its files, and figures without names; data and actions want it in a header, which no link and no
// form can send.
func TestPathOpensPageOnly(t *testing.T) {
	m := &fakeMount{}
	s, _ := started(t, m)
	bare := func(r *http.Request) { r.Header.Del("Authorization") }
	for path, kind := range map[string]string{"": "text/html", "page.js": "text/javascript", "queue.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml", "metrics": "text/plain"} {
		status, text, header := ask(t, s, "GET", "/"+s.token+"/"+path, "", bare)
		if status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), kind) || text == "" || strings.Contains(text, "Anna") {
			t.Errorf("%s: %d, %s", path, status, header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"api/state", "api/act", "nosuch", "../api/state"} {
		if status, _, _ := ask(t, s, "GET", "/"+s.token+"/"+path, "", bare); status == http.StatusOK {
			t.Errorf("%s is to be had by a link", path)
		}
	}
	if status, _, _ := ask(t, s, "POST", "/"+s.token+"/api/act", `{"do":"pause","source":"abcd"}`, bare); status != http.StatusMethodNotAllowed || len(m.acts) > 0 {
		t.Errorf("an action by a form: %d, %v", status, m.acts)
	}
	if status, _, header := ask(t, s, "GET", "/"+s.token, "", bare); status != http.StatusPermanentRedirect || header.Get("Location") != "/"+s.token+"/" {
		t.Errorf("without the last slash: %d to %s", status, header.Get("Location"))
	}
}

// A web page that has its name resolved to 127.0.0.1 must not be taken for ours, nor one that sends requests across.
func TestHostAndOrigin(t *testing.T) {
	s, _ := started(t, &fakeMount{})
	_, port, _ := strings.Cut(s.listener.Addr().String(), ":")
	for host, want := range map[string]int{
		"127.0.0.1:" + port: http.StatusOK, "localhost:" + port: http.StatusOK,
		"evil.example:" + port: http.StatusMisdirectedRequest, "127.0.0.1": http.StatusMisdirectedRequest, "127.0.0.1:1": http.StatusMisdirectedRequest,
		"localhost.evil.example:" + port: http.StatusMisdirectedRequest, "127.0.0.2:" + port: http.StatusMisdirectedRequest, "LOCALHOST": http.StatusMisdirectedRequest,
	} {
		if status, _, _ := ask(t, s, "GET", "/api/state", "", func(r *http.Request) { r.Host = host }); status != want {
			t.Errorf("Host %s: %d, want %d", host, status, want)
		}
	}
	for _, c := range []struct {
		name, value string
		want        int
	}{
		{"Origin", "http://127.0.0.1:" + port, http.StatusOK},
		{"Origin", "http://127.0.0.1:1", http.StatusForbidden},
		{"Origin", "https://evil.example", http.StatusForbidden},
		{"Origin", "null", http.StatusForbidden},
		{"Sec-Fetch-Site", "same-origin", http.StatusOK},
		{"Sec-Fetch-Site", "none", http.StatusOK},
		{"Sec-Fetch-Site", "same-site", http.StatusForbidden}, // another port of this machine
		{"Sec-Fetch-Site", "cross-site", http.StatusForbidden},
	} {
		if status, _, _ := ask(t, s, "GET", "/api/state", "", func(r *http.Request) { r.Header.Set(c.name, c.value) }); status != c.want {
			t.Errorf("%s: %s: %d, want %d", c.name, c.value, status, c.want)
		}
	}
}

// The browser is told to load nothing from elsewhere and to tell nobody where it was.
func TestHeaders(t *testing.T) {
	s, _ := started(t, &fakeMount{})
	for _, path := range []string{"/" + s.token + "/", "/api/state", "/nosuch"} {
		_, _, h := ask(t, s, "GET", path, "", nil)
		p := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(p, want) {
				t.Errorf("%s: the policy %q lacks %s", path, p, want)
			}
		}
		if strings.Contains(p, "unsafe") || strings.Contains(p, "http") || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

// Files of the page that ask the network for anything would tell somebody who looks at which study, and would not work without it.
func TestFilesNeedNothingElse(t *testing.T) {
	names, err := web.ReadDir("web")
	if err != nil || len(names) < 6 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, n := range names {
		raw, err := web.ReadFile("web/" + n.Name())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"http:", "https:", "//cdn", "@import", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "onclick=", "style=", "localStorage", "document.cookie"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", n.Name(), bad)
			}
		}
	}
}

// A name is whatever somebody has called a file: it must arrive as a string, and cannot end the JSON or the header.
func TestHostileNames(t *testing.T) {
	names := []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "a\r\nSet-Cookie: x=1", "</body>", `\u003c`, "\xff\xfe", "x\x00y"}
	m := &fakeMount{}
	for i, n := range names {
		m.items = append(m.items, Item{Source: "abcd", ID: uint64(i + 1), Name: n, State: "staged"})
	}
	s, _ := started(t, m)
	_, text, h := ask(t, s, "GET", "/api/state?rows=50", "", nil)
	var got struct {
		Queue struct {
			Rows []struct{ ID, Name string }
		}
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Queue.Rows) != len(names) {
		t.Fatalf("%v\n%s", err, text)
	}
	for i, n := range names {
		if want := strings.ToValidUTF8(n, "\ufffd"); got.Queue.Rows[i].Name != want && n != "\xff\xfe" {
			t.Errorf("%q arrives as %q", n, got.Queue.Rows[i].Name)
		}
	}
	if strings.Contains(text, "<") || !strings.HasPrefix(h.Get("Content-Type"), "application/json") || len(h.Values("Set-Cookie")) > 0 {
		t.Errorf("the answer could be taken for HTML:\n%v\n%s", h, text)
	}
}

// The number of files that wait must not be the number of bytes that each update takes.
func TestAnswersStaySmall(t *testing.T) {
	m := &fakeMount{}
	for i := range 20_000 {
		m.items = append(m.items, Item{Source: "abcd", ID: uint64(i + 1), Name: fmt.Sprintf("derivatives/vista/sub-%05d/anat/sub-%05d_T1w.nii.gz", i, i), State: "staged", Size: 1 << 20})
	}
	s, _ := started(t, m)
	_, text, h := ask(t, s, "GET", "/api/state?rows=50&from=19975", "", nil)
	if len(text) > 40<<10 || !strings.Contains(text, `"total":20000`) || !strings.Contains(text, "sub-19999") {
		t.Errorf("%d bytes for a page of 25 rows", len(text))
	}
	since := ""
	var again struct{ History struct{ Seq int } }
	if err := json.Unmarshal([]byte(text), &again); err != nil {
		t.Fatal(err)
	}
	since = fmt.Sprintf("&since=%d", again.History.Seq)
	_, text, h = ask(t, s, "GET", "/api/state?rows=50"+since, "", nil)
	status, rest, _ := ask(t, s, "GET", "/api/state?rows=50"+since, "", func(r *http.Request) { r.Header.Set("If-None-Match", h.Get("ETag")) })
	if status != http.StatusNotModified || rest != "" {
		t.Errorf("nothing has changed: status %d, %d bytes, not 304", status, len(rest))
	}
	_, all, _ := ask(t, s, "GET", "/api/state?rows=1000000", "", nil)
	if n := strings.Count(all, `"changed"`); n != maxRows {
		t.Errorf("%d rows in one answer, at most %d are promised", n, maxRows)
	}
	t.Logf("%d bytes for 50 rows of 20,000", len(text))
}

// A click does what it says, once, and nothing else can be asked for.
func TestActions(t *testing.T) {
	m := &fakeMount{}
	s, _ := started(t, m)
	for body, want := range map[string]int{
		`{"do":"pause","source":"abcd"}`:                               http.StatusOK,
		`{"do":"resume","source":"abcd"}`:                              http.StatusOK,
		`{"do":"retry","source":"abcd","item":"18446744073709551615"}`: http.StatusOK,
		`{"do":"resolve","source":"abcd","item":"7","how":"both"}`:     http.StatusOK,
		`{"do":"resolve","source":"abcd","item":"7","how":"all"}`:      http.StatusBadRequest,
		`{"do":"resolve","source":"abcd","how":"mine"}`:                http.StatusBadRequest,
		`{"do":"drop","source":"abcd","item":"7"}`:                     http.StatusBadRequest,
		`{"do":"verify","source":"abcd"}`:                              http.StatusBadRequest,
		`{"do":"pause"}`:                                               http.StatusBadRequest,
		`{"do":"pause","source":"abcd","name":"x"}`:                    http.StatusBadRequest,
		`{"do":"pause","source":"` + strings.Repeat("x", 8<<10) + `"}`: http.StatusBadRequest,
		`x`: http.StatusBadRequest,
	} {
		if status, text, _ := ask(t, s, "POST", "/api/act", body, nil); status != want {
			t.Errorf("%.60s: %d %s, want %d", body, status, text, want)
		}
	}
	if len(m.acts) != 4 {
		t.Errorf("%d actions reached the mount, want 4: %v", len(m.acts), m.acts)
	}
	form := func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }
	if status, _, _ := ask(t, s, "POST", "/api/act", `{"do":"pause","source":"abcd"}`, form); status != http.StatusUnsupportedMediaType {
		t.Errorf("what a form of another page could send: %d", status)
	}
	if status, _, _ := ask(t, s, "GET", "/api/act", "", nil); status != http.StatusMethodNotAllowed {
		t.Errorf("an action by GET: %d", status)
	}
	m.deny = &Problem{What: "x", Why: "it is not in conflict"}
	if status, text, _ := ask(t, s, "POST", "/api/act", `{"do":"retry","source":"abcd","item":"1"}`, nil); status != http.StatusConflict || !strings.Contains(text, "not in conflict") {
		t.Errorf("a refused action: %d %s", status, text)
	}
}

// Metrics go to places where participants' names must not be: no label may hold what could be one.
func TestMetricsTellNoNames(t *testing.T) {
	m := &fakeMount{items: []Item{{Source: "abcd", ID: 1, Name: "sub-Anna/a.nii", State: "staged"}}}
	s, _ := started(t, m)
	status, text, _ := ask(t, s, "GET", "/metrics", "", nil)
	if status != http.StatusOK || strings.Contains(text, "Anna") || strings.Contains(text, "bucket") || strings.Contains(text, "/mnt") {
		t.Errorf("%d\n%s", status, text)
	}
	for _, want := range []string{
		`studyfs_requests_total{kind="s3",mount="0123",operation="put",source="abcd"} 4`,
		`studyfs_uploads{kind="s3",mount="0123",source="abcd",state="conflict"} 1`,
		`studyfs_sent_bytes_total{kind="s3",mount="0123",source="abcd"} 20`,
		"# TYPE studyfs_received_bytes_total counter",
		`studyfs_start_time_seconds{mount="0123"} 1000`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\nstudyfs_"); n > 60 {
		t.Errorf("%d series for one source", n)
	}
	var b bytes.Buffer
	if err := WriteMetrics(&b, []View{m.View(), {ID: "4567"}}); err != nil || !strings.Contains(b.String(), `studyfs_start_time_seconds{mount="4567"}`) {
		t.Errorf("of two mounts: %v\n%s", err, b.String())
	}
}

// Another user of the machine who opens connections and says nothing must not use up the mount's descriptors.
func TestConnectionsAreLimited(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	few := limit(l, 2)
	defer few.Close()
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() { // ends with the listener
		for {
			c, err := few.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	var theirs []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		theirs = append(theirs, c)
	}
	first, second := <-accepted, <-accepted
	if n := len(few.slots); n != 2 {
		t.Errorf("%d of 2 slots are taken", n)
	}
	first.Close()
	first.Close() // the server may close twice: one slot comes back
	third := <-accepted
	if theirs[2].LocalAddr().String() != third.RemoteAddr().String() {
		t.Errorf("%v was accepted, want %v", third.RemoteAddr(), theirs[2].LocalAddr())
	}
	few.Close() // while all slots are taken
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	second.Close()
	third.Close()
}

// After the end of the mount nothing of it may be touched.
func TestCloseEnds(t *testing.T) {
	s, _ := started(t, &fakeMount{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.Get(s.URL()); err == nil {
		resp.Body.Close()
		t.Errorf("the page still answers: %d", resp.StatusCode)
	}
	unused, err := Listen(t.Context(), Options{Address: "127.0.0.1:0", Mount: &fakeMount{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := unused.Close(); err != nil {
		t.Errorf("one that never served: %v", err)
	}
}
