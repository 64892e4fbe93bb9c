package livepage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// The names of files that somebody has called so to harm who looks at them.
const (
	imageName  = `<img src=x onerror="window.pwned=1">.txt`
	scriptName = `"><script>window.pwned=1<` + "\\" + `script>.txt`
	bidiName   = "invoice\u202Etxt.exe"
)

// shown is a mount that is written to, with a live page.
type shown struct {
	*harness.Env
	srv *s3test.Server
	dir string
	url string
}

// mounted mounts a bucket with the page. Nothing is uploaded before somebody waits for it.
func mounted(t *testing.T) *shown {
	t.Helper()
	srv, url := harness.Strict(t, "", s3test.Options{})
	s := &shown{Env: harness.New(t), srv: srv}
	s.Profile("lab")
	s.Vars = append(s.Vars, "STUDYFS_QUIET=1h")
	s.dir = s.Mount("s3://study/lab/", "--endpoint-url", url, "--profile", "lab", "--region", "us-east-1", "--write", "--http", "127.0.0.1:0")
	r := s.Run("status", s.dir)
	if s.url = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/[A-Za-z0-9_-]{22}/`).FindString(r.Out); s.url == "" {
		t.Fatalf("status shows no page:\n%s%s", r.Out, r.Err)
	}
	return s
}

func (s *shown) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// conflict makes a file that somebody else has stored meanwhile.
func (s *shown) conflict(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		s.write(t, name, "mine")
		s.srv.Put("study", "lab/"+name, s3test.Bytes([]byte("theirs")))
	}
	s.Run("uploads", "wait")
}

func (s *shown) stored(t *testing.T, name string) string {
	t.Helper()
	o, ok := s.srv.Object("study", "lab/"+name)
	if !ok {
		return "(nothing)"
	}
	body, err := io.ReadAll(io.NewSectionReader(o.Body, 0, o.Size))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// tabTo presses Tab until the focus is where the expression says, as somebody without a mouse does.
func (t *tab) tabTo(expression string) {
	t.b.t.Helper()
	for range 80 {
		var there bool
		t.eval(fmt.Sprintf(`((e) => Boolean(%s))(document.activeElement)`, expression), &there)
		if there {
			var seen bool
			t.eval(`((s) => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))`, &seen)
			if !seen {
				t.b.t.Errorf("the focus cannot be seen where %s", expression)
			}
			return
		}
		t.press("Tab")
	}
	t.b.t.Fatalf("80 times Tab do not lead to where %s", expression)
}

// row is an expression for the row of a file.
func row(name string) string {
	quoted, _ := json.Marshal(name)
	return fmt.Sprintf(`[...document.querySelectorAll("#rows > li")].find((li) => li.querySelector(".name").textContent === %s)`, quoted)
}

// innocent fails the test if a script has failed or was refused, if something came from elsewhere, or if the address was told to anybody.
func (t *tab) innocent(url string) {
	t.b.t.Helper()
	requests, troubles := t.asked()
	for _, trouble := range troubles {
		t.b.t.Errorf("the browser complains: %.500s", trouble)
	}
	origin := strings.Join(strings.Split(url, "/")[:3], "/") + "/"
	for _, r := range requests {
		if !strings.HasPrefix(r.URL, origin) || r.Headers["Referer"] != "" {
			t.b.t.Errorf("requested: %s, Referer %q", r.URL, r.Headers["Referer"])
		}
	}
	if len(requests) < 5 {
		t.b.t.Errorf("only %d requests were seen", len(requests))
	}
	var pwned bool
	t.eval(`window.pwned !== undefined || document.cookie !== "" || localStorage.length > 0 || document.querySelector("#rows img, #rows script, #sure img") !== null`, &pwned)
	if pwned {
		t.b.t.Error("a file's name has become part of the page")
	}
}

// Somebody without a mouse settles three conflicts, pauses and resumes; the names of the files are an attack, and stay names.
func TestKeyboardAndHostileNames(t *testing.T) {
	t.Parallel()
	b := chromium(t)
	s := mounted(t)
	s.conflict(t, "a/"+imageName, "b/"+scriptName, "c/plain.txt")
	s.write(t, bidiName, "waits")
	for name, size := range map[string][2]int{"desktop": {1280, 900}, "phone": {360, 740}} {
		p := b.open(s.url, size[0], size[1], name == "phone")
		p.until(`document.querySelectorAll("#rows > li").length >= 4`)
		p.fits(name)
	}
	p := b.open(s.url, 1280, 900, false)
	p.until(row("a/"+imageName) + ` && ` + row("b/"+scriptName) + ` && ` + row("c/plain.txt"))
	p.until(`document.getElementById("rows").textContent.includes("\\u202e") && document.getElementById("health").textContent.includes("3 files need you")`)

	p.tabTo(`e.textContent === "Keep mine" && (` + row("a/"+imageName) + `)?.contains(e)`)
	p.press("Enter")
	p.until(`document.getElementById("sure").open && document.getElementById("sure-text").textContent.includes("onerror")`)
	p.press("Escape")
	p.until(`!document.getElementById("sure").open && document.activeElement.textContent === "Keep mine"`)
	p.press(" ")
	p.until(`document.getElementById("sure").open`)
	p.tabTo(`e.id === "sure-yes"`)
	p.press("Enter")
	p.until(`!(` + row("a/"+imageName) + `)?.querySelector(".state.bad") && document.getElementById("said").textContent.includes("done")`)

	p.tabTo(`e.textContent === "Keep theirs" && (` + row("b/"+scriptName) + `)?.contains(e)`)
	p.press("Enter")
	p.until(`document.getElementById("sure").open`)
	p.tabTo(`e.id === "sure-yes"`)
	p.press("Enter")
	p.until(`!(` + row("b/"+scriptName) + `)`)
	p.tabTo(`e.textContent === "Keep both" && (` + row("c/plain.txt") + `)?.contains(e)`)
	p.press("Enter")
	p.until(`document.getElementById("health").textContent.includes("All is well")`)

	p.eval(`document.body.focus()`, nil)
	p.tabTo(`e.textContent === "Pause uploads"`)
	p.press("Enter")
	p.until(`document.getElementById("health").textContent.includes("paused") && document.activeElement.textContent === "Resume uploads"`)
	if r := s.Run("uploads", "ls"); !strings.Contains(r.Out, "paused by hand") {
		t.Errorf("after a click on pause:\n%s", r.Out)
	}
	p.press("Enter")
	p.until(`document.getElementById("health").textContent.includes("All is well")`)
	s.Drain(s.dir)
	p.until(`document.getElementById("health").textContent.includes("All is stored") && document.querySelectorAll("#rows > li").length === 0`)
	p.innocent(s.url)
	if mine, theirs, plain := s.stored(t, "a/"+imageName), s.stored(t, "b/"+scriptName), s.stored(t, "c/plain.txt"); mine != "mine" || theirs != "theirs" || plain != "theirs" {
		t.Errorf("stored %q, %q and %q, want mine, theirs, theirs", mine, theirs, plain)
	}
	if keys := slices.DeleteFunc(s.srv.Keys("study"), func(k string) bool { return !strings.HasPrefix(k, "lab/c/") || strings.HasSuffix(k, "/") }); len(keys) != 2 {
		t.Errorf("both were to be kept: %q", keys)
	}
}

// fits fails the test if something sticks out at the side, or a button is too small for a finger or has no name.
func (t *tab) fits(name string) {
	t.b.t.Helper()
	var wide string
	t.eval(`document.documentElement.scrollWidth <= document.documentElement.clientWidth ? "" : [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + "#" + e.id + "." + e.className).join(" ") || "?"`, &wide)
	if wide != "" {
		t.b.t.Errorf("%s: wider than the screen: %s", name, wide)
	}
	var bad []string
	t.eval(`[...document.querySelectorAll("button, input, a")].filter((e) => e.checkVisibility() && !e.classList.contains("skip")).filter((e) => !(e.textContent || e.getAttribute("aria-label") || e.labels?.length) || (e.tagName === "BUTTON" && e.getBoundingClientRect().height < 40)).map((e) => e.outerHTML)`, &bad)
	if len(bad) > 0 {
		t.b.t.Errorf("%s: no name or too small: %q", name, bad)
	}
}

// What is told of the page: that it is there, to the one who mounts; nothing to logs; nothing of it is left after the end.
func TestAddressIsTold(t *testing.T) {
	t.Parallel()
	s := mounted(t)
	var report struct {
		Mounts []struct{ Page, Log string }
	}
	if r := s.Run("status", "--json", s.dir); json.Unmarshal([]byte(r.Out), &report) != nil || len(report.Mounts) != 1 || report.Mounts[0].Page != s.url {
		t.Errorf("status --json: %s; want %s", r.Out, s.url)
	}
	resp, err := http.Get(s.url + "metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`studyfs_requests_total{`)) || bytes.Contains(text, []byte("lab")) || bytes.Contains(text, []byte(s.dir)) {
		t.Errorf("metrics: %d, %v\n%s", resp.StatusCode, err, text)
	}
	if r := s.Run("status", "--metrics"); r.Code != 0 || !strings.Contains(r.Out, `studyfs_requests_total{`) || strings.Contains(r.Out, s.dir) {
		t.Errorf("status --metrics: %d\n%s%s", r.Code, r.Out, r.Err)
	}
	token := strings.Split(s.url, "/")[3]
	if log, err := os.ReadFile(report.Mounts[0].Log); err != nil || bytes.Contains(log, []byte(token)) {
		t.Errorf("%v; the log has the token, or there is none:\n%s", err, log)
	}
	other := filepath.Join(s.Home, "other")
	if r := s.Run("mount", "s3://study/", "--http", "0.0.0.0:0", other); r.Code != 2 || !strings.Contains(r.Err, "this machine") {
		t.Errorf("a page for the network: exit %d\n%s", r.Code, r.Err)
	}
	s.Unmount(s.dir)
	if resp, err := http.Get(s.url); err == nil {
		resp.Body.Close()
		t.Error("the page outlives the mount")
	}
}

// keep writes a screenshot to the folder that STUDYFS_SCREENSHOTS names, if it does, with few colours: for the documents.
func keep(t *testing.T, name string, raw []byte) {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if !colourful(img) {
		t.Errorf("%s: an empty picture", name)
	}
	dir := os.Getenv("STUDYFS_SCREENSHOTS")
	if dir == "" {
		return
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, fewColours(img)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), small.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d bytes", name, small.Len())
}

// fewColours keeps the 64 colours that a picture has most of, and takes the nearest of them for the others.
func fewColours(img image.Image) image.Image {
	count := map[color.Color]int{}
	box := img.Bounds()
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			count[img.At(x, y)]++
		}
	}
	all := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	few := color.Palette(all[:min(64, len(all))])
	nearest := map[color.Color]uint8{}
	for _, c := range all {
		nearest[c] = uint8(few.Index(c))
	}
	out := image.NewPaletted(box, few)
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			out.SetColorIndex(x, y, nearest[img.At(x, y)])
		}
	}
	return out
}

func colourful(img image.Image) bool {
	seen := map[color.Color]bool{}
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y += 7 {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x += 7 {
			seen[img.At(x, y)] = true
		}
	}
	return len(seen) > 8
}
