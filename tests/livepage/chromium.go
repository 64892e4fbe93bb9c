// Package livepage looks at the live page in a real browser: Debian's Chromium, where that is installed.
package livepage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is for one answer of the browser. On a busy machine it takes seconds to start.
const patience = 60 * time.Second

// browser is a Chromium that is told what to do through two pipes (the DevTools protocol: JSON, each message ended by a zero byte).
type browser struct {
	t    testing.TB
	cmd  *exec.Cmd
	to   *os.File
	from *os.File

	mu      sync.Mutex // guards what follows
	next    int
	waiting map[int]chan message
	tabs    map[string]*tab
}

// message is what comes and goes.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// chromium starts one with a profile of its own, or skips the test where there is none.
func chromium(t testing.TB) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium in the PATH (Debian: apt-get install chromium): the live page is not looked at in a browser")
	}
	args := []string{
		"--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir=" + t.TempDir(), "about:blank",
	}
	if os.Getuid() == 0 {
		args = append([]string{"--no-sandbox"}, args...) // its sandbox is not for root
	}
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, cmd: exec.Command(program, args...), to: to, from: from, waiting: map[int]chan message{}, tabs: map[string]*tab{}}
	b.cmd.ExtraFiles = []*os.File{theirs, theirOut} // 3 and 4, as the option has them
	b.cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "DBUS_SESSION_BUS_ADDRESS=disabled:")
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	theirOut.Close()
	read := make(chan struct{})
	go func() { // ends with the browser
		defer close(read)
		b.read()
	}()
	t.Cleanup(func() {
		b.do("", "Browser.close", nil, nil) // it may be gone already
		to.Close()
		kill := time.AfterFunc(10*time.Second, func() { b.cmd.Process.Kill() })
		b.cmd.Wait()
		kill.Stop()
		from.Close()
		<-read
	})
	return b
}

// read hands messages to who waits for them.
func (b *browser) read() {
	r := bufio.NewReader(b.from)
	for {
		raw, err := r.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			for id, c := range b.waiting {
				close(c)
				delete(b.waiting, id)
			}
			b.mu.Unlock()
			return
		}
		var m message
		if json.Unmarshal(bytes.TrimSuffix(raw, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		c, t := b.waiting[m.ID], b.tabs[m.Session]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case c != nil:
			c <- m
		case t != nil:
			t.note(m)
		}
	}
}

// do sends a command and waits for its answer.
func (b *browser) do(session, method string, params, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	if params == nil {
		raw = []byte("{}")
	}
	c := make(chan message, 1)
	b.mu.Lock()
	b.next++
	m := message{ID: b.next, Session: session, Method: method, Params: raw}
	b.waiting[m.ID] = c
	text, err := json.Marshal(m)
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case m, ok := <-c:
		switch {
		case !ok:
			return errors.New("the browser has ended")
		case m.Error != nil:
			return errors.New(m.Error.Message)
		case result != nil:
			return json.Unmarshal(m.Result, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer", method)
	}
}

// tab is one page.
type tab struct {
	b       *browser
	session string
	loaded  chan struct{}

	mu       sync.Mutex // guards what follows
	requests []request
	troubles []string // errors in scripts, what the policy refused, failed loads
}

// request is what the page asked for.
type request struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
}

// open shows an address in a new tab of that size.
func (b *browser) open(url string, width, height int, phone bool) *tab {
	b.t.Helper()
	var target struct {
		ID string `json:"targetId"`
	}
	b.must(b.do("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	var attached struct {
		Session string `json:"sessionId"`
	}
	b.must(b.do("", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached))
	t := &tab{b: b, session: attached.Session, loaded: make(chan struct{}, 8)}
	b.mu.Lock()
	b.tabs[t.session] = t
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		t.do(domain+".enable", nil, nil)
	}
	scale := 1.0
	if phone {
		scale = 2
	}
	t.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}, nil)
	t.do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": "light"}}}, nil)
	t.do("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		window.measured = []; window.long = 0;
		new PerformanceObserver((l) => { for (const e of l.getEntries()) if (e.name === "update") window.measured.push({ ms: e.duration, bytes: e.detail }); }).observe({ type: "measure" });
		new PerformanceObserver((l) => { window.long += l.getEntries().length; }).observe({ type: "longtask" });`}, nil)
	t.do("Page.navigate", map[string]any{"url": url}, nil)
	select {
	case <-t.loaded:
	case <-time.After(patience):
		b.t.Fatal("the page does not load")
	}
	return t
}

func (b *browser) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("chromium: %v", err)
	}
}

func (t *tab) do(method string, params, result any) {
	t.b.t.Helper()
	if err := t.b.do(t.session, method, params, result); err != nil {
		t.b.t.Fatalf("chromium: %s: %v", method, err)
	}
}

// note keeps what the tests ask for later.
func (t *tab) note(m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch m.Method {
	case "Page.loadEventFired":
		t.loaded <- struct{}{}
	case "Network.requestWillBeSent":
		var p struct{ Request request }
		if json.Unmarshal(m.Params, &p) == nil {
			t.requests = append(t.requests, p.Request)
		}
	case "Runtime.exceptionThrown", "Page.javascriptDialogOpening":
		t.troubles = append(t.troubles, string(m.Params))
	case "Log.entryAdded":
		if strings.Contains(string(m.Params), `"level":"error"`) {
			t.troubles = append(t.troubles, string(m.Params))
		}
	}
}

// asked returns all that was requested, and what went wrong, up to now.
func (t *tab) asked() ([]request, []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]request(nil), t.requests...), append([]string(nil), t.troubles...)
}

// eval evaluates an expression in the page; a promise is waited for.
func (t *tab) eval(expression string, to any) {
	t.b.t.Helper()
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Wrong *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	t.do("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &answer)
	if answer.Wrong != nil {
		t.b.t.Fatalf("%s\n%s %s", expression, answer.Wrong.Text, answer.Wrong.Exception.Description)
	}
	if to != nil {
		if err := json.Unmarshal(answer.Result.Value, to); err != nil {
			t.b.t.Fatalf("%s: %v (%s)", expression, err, answer.Result.Value)
		}
	}
}

// until waits until an expression is true in the page.
func (t *tab) until(expression string) {
	t.b.t.Helper()
	var shown string
	t.eval(fmt.Sprintf(`new Promise((done) => {
		const begin = performance.now();
		const look = () => (%s) ? done("") : performance.now() - begin > 30000 ? done(document.body.innerText) : setTimeout(look, 20);
		look();
	})`, expression), &shown)
	if shown != "" {
		t.b.t.Fatalf("not within 30 s: %s\nthe page shows\n%.3000s", expression, shown)
	}
}

// press presses a key and lets it go: Tab, Enter, Escape, " ", ArrowDown, or one letter.
func (t *tab) press(key string) {
	t.b.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40, "ArrowRight": 39}
	texts := map[string]string{"Enter": "\r", " ": " "}
	down := map[string]any{"type": "keyDown", "key": key, "windowsVirtualKeyCode": codes[key]}
	if len(key) == 1 {
		texts[key] = key
	}
	if text := texts[key]; text != "" {
		down["text"] = text
	} else {
		down["type"] = "rawKeyDown"
	}
	t.do("Input.dispatchKeyEvent", down, nil)
	t.do("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": codes[key]}, nil)
}

// picture takes a screenshot and returns it as PNG.
func (t *tab) picture() []byte {
	t.b.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	t.do("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	raw, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		t.b.t.Fatal(err)
	}
	return raw
}
