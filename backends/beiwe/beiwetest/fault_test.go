package beiwetest

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// tenHours is a client of a server that holds ten files.
func tenHours(t *testing.T, o Options) *client {
	t.Helper()
	c := start(t, o)
	for h := range 10 {
		c.put("gps", hour.Add(time.Duration(h)*time.Hour), strings.Repeat(string(rune('a'+h)), 1000))
	}
	return c
}

// ask fetches all files of the one participant.
func (c *client) ask(path string) (reply, []byte, error) {
	c.t.Helper()
	return c.post(path, "user_ids", `["`+pid+`"]`)
}

// versions runs a test for both routes of data.
func versions(t *testing.T, test func(t *testing.T, c *client, path string)) {
	t.Helper()
	for _, path := range []string{"/get-data/v1", "/get-data/v2"} {
		t.Run(path, func(t *testing.T) { test(t, tenHours(t, Options{V2: true}), path) })
	}
}

// A gateway or the server itself refuses: each in its own words.
func TestFaultsBeforeAnswer(t *testing.T) {
	c := tenHours(t, Options{})
	for kind, want := range map[Kind]struct {
		status int
		body   string
	}{
		GatewayFailed: {502, "<!doctype"}, Maintenance: {503, "Beiwe is undergoing"}, Broken: {500, "<!doctype"}, Forbidden: {403, ""},
		Truncated404: {404, ""}, Garbage: {200, "<html>"}, RedirectHTTPS: {301, ""}, RedirectAway: {307, ""},
	} {
		c.s.Fail(Fault{Path: "/get-data", Kind: kind, Count: 1})
		if got := c.status("/get-users/v1"); got != http.StatusOK {
			t.Errorf("kind %d: another path answers %d", kind, got)
		}
		resp, body, err := c.ask("/get-data/v1")
		if err != nil || resp.StatusCode != want.status || !strings.HasPrefix(string(body), want.body) || want.body == "" && resp.ContentLength != 0 {
			t.Errorf("kind %d: %v %q, %v", kind, resp, body, err)
		}
		to := resp.Header.Get("Location")
		if kind == RedirectHTTPS && !strings.HasPrefix(to, "https://127.0.0.1") || kind == RedirectAway && strings.Contains(to, "127.0.0.1") {
			t.Errorf("kind %d leads to %q", kind, to)
		}
		if resp, _, err := c.ask("/get-data/v1"); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("after kind %d: %v, %v", kind, resp, err)
		}
	}
	c.s.Fail(Fault{Kind: Reset})
	if resp, _, err := c.ask("/get-data/v1"); err == nil {
		t.Errorf("a reset: %v", resp)
	}
}

// A balancer gives up after a silence; a client that leaves before frees the server.
func TestFaultSilence(t *testing.T) {
	c := tenHours(t, Options{})
	c.s.Fail(Fault{Kind: NoFirstByte, Delay: 30 * time.Millisecond, Count: 1})
	before := time.Now()
	if resp, _, err := c.ask("/get-data/v1"); err != nil || resp.StatusCode != http.StatusGatewayTimeout || time.Since(before) < 30*time.Millisecond {
		t.Errorf("%v, %v after %v", resp, err, time.Since(before))
	}
	c.s.Fail(Fault{Kind: NoFirstByte, Delay: time.Hour})
	impatient := &http.Client{Timeout: 30 * time.Millisecond}
	resp, err := impatient.Post(c.url+"/get-data/v1", "text/plain", nil)
	if err == nil {
		resp.Body.Close()
		t.Errorf("an answer: %v", resp.Status)
	}
	c.s.ClearFaults()
	c.s.Fail(Fault{Kind: Drip, Delay: 3 * time.Millisecond})
	before = time.Now()
	if _, body, err := c.ask("/get-data/v1"); err != nil || len(unzip(t, body)) != 11 || time.Since(before) < 30*time.Millisecond {
		t.Errorf("%d bytes, %v after %v", len(body), err, time.Since(before))
	}
}

// An answer that goes silent after some members holds them all, and ends when the server does.
func TestFaultStall(t *testing.T) {
	versions(t, func(t *testing.T, c *client, path string) {
		_, whole, _ := c.ask(path)
		c.s.Fail(Fault{Kind: Stall, After: 3})
		go func() {
			time.Sleep(50 * time.Millisecond)
			c.s.Close()
		}()
		_, body, err := c.ask(path)
		if err == nil || len(members(body)) != 3 || len(body) >= len(whole) {
			t.Errorf("%d members, %v", len(members(body)), err)
		}
	})
}

// members are the names in the local headers of an answer that may have no end.
func members(body []byte) (names []string) {
	for _, part := range bytes.Split(body, []byte("PK\x03\x04"))[1:] {
		if len(part) < 26 {
			return append(names, "half a header")
		}
		names = append(names, string(part[26:min(26+int(part[22])+int(part[23])<<8, len(part))]))
	}
	return names
}

// A connection breaks between two members or inside one, and the client's library says so.
func TestFaultsThatCut(t *testing.T) {
	versions(t, func(t *testing.T, c *client, path string) {
		_, whole, _ := c.ask(path)
		for _, kind := range []Kind{Truncate, MissingObject, Cut} {
			for after := range 11 {
				c.s.ResetLog()
				c.s.ClearFaults()
				c.s.Fail(Fault{Kind: kind, After: after})
				_, body, err := c.ask(path)
				if kind == Cut && after == 10 { // there is no eleventh
					if err != nil {
						t.Errorf("cut after all: %v", err)
					}
					continue
				}
				want := after
				if kind == Cut {
					want++ // its half is there
				}
				if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) >= len(whole) || len(members(body)) != want || slices.Contains(members(body), "registry") {
					t.Errorf("kind %d after %d: %d bytes, members %q, %v", kind, after, len(body), members(body), err)
				}
			}
		}
	})
}

// A member that is damaged is one of the whole answer's: nothing else tells.
func TestFaultsInsideMembers(t *testing.T) {
	versions(t, func(t *testing.T, c *client, path string) {
		_, whole, _ := c.ask(path)
		for kind, want := range map[Kind]error{WrongCRC: zip.ErrChecksum, Deflate: nil, WrongSize: nil} {
			c.s.ClearFaults()
			c.s.Fail(Fault{Kind: kind})
			_, body, err := c.ask(path)
			if err != nil || len(members(body)) != 11 {
				t.Fatalf("kind %d: members %q, %v", kind, members(body), err)
			}
			if kind == WrongSize {
				if len(body) != len(whole)-10 {
					t.Errorf("short by %d bytes", len(whole)-len(body))
				}
				continue
			}
			z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
			if err != nil || len(z.File) != 11 {
				t.Fatalf("kind %d: %v", kind, err)
			}
			for _, f := range z.File[:10] {
				r, err := f.Open()
				if err == nil {
					_, err = io.ReadAll(r)
				}
				if err == nil || want != nil && !errors.Is(err, want) || kind == Deflate && f.Method != zip.Deflate {
					t.Errorf("kind %d: %s: method %d, %v", kind, f.Name, f.Method, err)
				}
			}
		}
	})
}

// Members that no client asked for come where they were ordered, each with its line in the registry.
func TestFaultsThatAdd(t *testing.T) {
	versions(t, func(t *testing.T, c *client, path string) {
		for kind, added := range map[Kind]int{BadNames: 5, Twice: 1, UnknownStream: 1} {
			c.s.ClearFaults()
			c.s.Fail(Fault{Kind: kind, After: 3})
			_, body, err := c.ask(path)
			got := members(body)
			if err != nil || len(got) != 11+added {
				t.Fatalf("kind %d: members %q, %v", kind, got, err)
			}
			end := map[string]string{"/get-data/v1": "", "/get-data/v2": ".zst"}[path]
			for _, name := range got[3 : 3+added] {
				bad := strings.Contains(name, "..") || name[0] == '/' || strings.ContainsAny(name, "\x00\\") || strings.Contains(name, "//")
				if kind == BadNames && !bad || kind == Twice && name != got[2] || kind == UnknownStream && name != pid+"/ai_chat_logs/2026-01-01 00_00_00+00_00.csv"+end {
					t.Errorf("kind %d: %q", kind, name)
				}
			}
			if n := bytes.Count(body[bytes.LastIndex(body, []byte("registry{")):], []byte(`": "`)); n != 10+added && path == "/get-data/v1" {
				t.Errorf("kind %d: %d lines in the registry", kind, n)
			}
		}
	})
}

// A member unpacks to more than a laptop has, or says so.
func TestFaultBomb(t *testing.T) {
	c := start(t, Options{V2: true})
	c.put("gps", hour, "text")
	c.s.Fail(Fault{Kind: Bomb})
	_, body, err := c.ask("/get-data/v1")
	if err != nil || !bytes.Contains(body[:200], []byte{0, 0, 0, 0, 0, 0, 4, 0}) { // 1 << 50
		t.Errorf("version 1: %q, %v", body[:200], err)
	}
	_, body, err = c.ask("/get-data/v2")
	if err != nil || len(body) > 1<<20 {
		t.Fatalf("version 2: %d bytes, %v", len(body), err)
	}
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := z.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, zstd.HeaderMaxSize)
	io.ReadFull(r, head)
	var h zstd.Header
	if err := h.Decode(head); err != nil || h.FrameContentSize != 200<<20 {
		t.Errorf("unpacks to %d bytes, %v", h.FrameContentSize, err)
	}
}

// Faults strike as often as ordered, and no more once they are cleared.
func TestFaultsCount(t *testing.T) {
	c := start(t, Options{})
	called := 0
	c.s.Fail(Fault{Path: "/get-studies", Hook: func() { called++ }, Every: 2})
	c.s.Fail(Fault{Path: "/get-users", Kind: GatewayFailed, Count: 2})
	got := ""
	for range 4 {
		got += fmt.Sprint(c.status("/get-studies/v1"), c.status("/get-users/v1"), " ")
	}
	if want := "200 502 200 502 200 200 200 200 "; got != want || called != 2 {
		t.Errorf("%s; the hook was called %d times", got, called)
	}
	c.s.Fail(Fault{Kind: Broken})
	c.s.ClearFaults()
	if got := c.status("/get-studies/v1"); got != http.StatusOK {
		t.Errorf("after all faults were cleared: %d", got)
	}
	c.s.RevokeKey(access)
	if got := c.status("/get-studies/v1"); got != http.StatusForbidden {
		t.Errorf("revoked: %d", got)
	}
}
