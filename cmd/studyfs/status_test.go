package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The fields of status --json are a promise to other people's scripts.
func TestStatusFields(t *testing.T) {
	text, err := json.Marshal(statusReport{Schema: statusSchema, Mounts: []mountStatus{{Sources: []sourceStatus{{Errors: []failure{}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Schema int `json:"schema"`
		Mounts []struct {
			Sources []map[string]any `json:"sources"`
		} `json:"mounts"`
	}
	if err := json.Unmarshal(text, &report); err != nil || report.Schema != 1 {
		t.Fatalf("schema %d, %v; want 1", report.Schema, err)
	}
	for field, parts := range map[string]string{
		"name": "", "kind": "", "dir": "", "read_only": "", "errors": "", "passthrough": "on why",
		"cache": "bytes limit hits misses evicted corrupt", "requests": "list get head put delete other", "bytes": "in out",
		"listing": "hidden_keys age_s", "uploads": "staged uploading stored conflict parked failed orphan bytes_left",
	} {
		value, ok := report.Mounts[0].Sources[0][field]
		if !ok {
			t.Errorf("field %s is missing", field)
		}
		for part := range strings.FieldsSeq(parts) {
			if inner, isMap := value.(map[string]any); !isMap || inner[part] == nil {
				t.Errorf("field %s.%s is missing", field, part)
			}
		}
	}
}

// A process that was killed leaves its socket: that must read as "nothing mounted", once and for all.
func TestDeadSocket(t *testing.T) {
	p := places{runtime: t.TempDir()}
	socket := p.socketOf("/mnt/x")
	m := &mountServer{spec: &mountSpec{Dir: "/mnt/x", RuntimeDir: p.runtime}}
	c, err := listenControl(m)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info, err)
	}
	kept := filepath.Join(p.runtime, "kept")
	if err := os.Link(socket, kept); err != nil { // close removes the name, a kill would not
		t.Fatal(err)
	}
	c.close()
	if err := os.Rename(kept, socket); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t.Context(), socket, request{Op: "status"}); !errors.Is(err, errNoMount) {
		t.Errorf("a dead socket: %v; want %v", err, errNoMount)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead socket is still there: %v", err)
	}
}

// A client of another version must be told so, and sockets must work below long paths.
func TestControlConversation(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	p := places{runtime: deep}
	c, err := listenControl(&mountServer{spec: &mountSpec{Dir: "/mnt/x", RuntimeDir: deep}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	_, err = ask(t.Context(), p.socketOf("/mnt/x"), request{Op: "dance"})
	if codeOf(err) != exitError || !strings.Contains(err.Error(), "another version") {
		t.Errorf("unknown request: %v; want it to say so", err)
	}
}

func TestStatusOfNothing(t *testing.T) {
	var out, errs bytes.Buffer
	a := &app{env: testEnv(t), out: &out, err: &errs}
	if got := a.run([]string{"status", "--json"}); got != exitOK || !strings.Contains(out.String(), `"mounts": []`) {
		t.Errorf("exit %d, %s; want an empty list", got, out.String())
	}
	for _, args := range [][]string{{"status", t.TempDir()}, {"umount", t.TempDir()}} {
		errs.Reset()
		if got := a.run(args); got != exitError || !strings.Contains(errs.String(), "not mounted there") {
			t.Errorf("studyfs %q: exit %d, %s; want %d and a message", args, got, errs.String(), exitError)
		}
	}
}
