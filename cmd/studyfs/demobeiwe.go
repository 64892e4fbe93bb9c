package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"studyfs/backends/beiwe/beiwetest"
	"studyfs/backends/crypt/cryptease"
)

// What the demo's Beiwe server holds. The names are made up, as all of its data.
const (
	demoStudyID   = "5f3a9c1e7b2d4c8f6a0e1b40"
	demoStudyName = "Sleep and Mood"
	demoSection   = "beiwe.demo"
	demoPeople    = 5
	demoDays      = 14
	uploadEvery   = 20 * time.Second // how often a phone of the demo uploads an hour, late or of now
	demoRefresh   = 10 * time.Second
)

// demoBeiwe is the embedded Beiwe server.
type demoBeiwe struct {
	data           *beiwetest.Server
	server         *http.Server
	url            string
	access, secret string
	passphrase     string
	stop           chan struct{}
	uploads        sync.WaitGroup
}

func startDemoBeiwe() (*demoBeiwe, error) {
	text := func() string { return (rand.Text() + rand.Text() + rand.Text())[:64] }
	d := &demoBeiwe{
		data: beiwetest.New(beiwetest.Options{Now: time.Now, Seed: demoSeed, V2: true}), access: text(), secret: text(), passphrase: rand.Text(),
		stop: make(chan struct{}),
	}
	d.data.AddKey(d.access, d.secret)
	people := beiwetest.Fill(d.data, beiwetest.FillOptions{
		Study: beiwetest.Study{ID: demoStudyID, Name: demoStudyName}, Participants: demoPeople, Days: demoDays, End: time.Now(), Seed: demoSeed,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed with the server
	if err != nil {
		return nil, fmt.Errorf("demo server: %w", err)
	}
	d.url = "http://" + listener.Addr().String()
	d.server = &http.Server{Handler: d.data, ReadHeaderTimeout: time.Minute}
	go d.server.Serve(listener) //nolint:errcheck // ends with close, which is its only error
	d.uploads.Go(func() { d.upload(people) })
	return d, nil
}

// upload is what the phones go on doing: an hour of now, or a late one of some days ago, every now and then.
func (d *demoBeiwe) upload(people []string) {
	ticker := time.NewTicker(uploadEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-d.stop:
			return
		case <-ticker.C:
		}
		at := time.Now()
		if n%2 == 0 {
			at = at.Add(-time.Duration(n%7*24) * time.Hour)
		}
		beiwetest.AddHour(d.data, demoStudyID, people[n%len(people)], "gps", at, n)
	}
}

func (d *demoBeiwe) close() {
	close(d.stop)
	d.uploads.Wait()
	d.data.Close()
	d.server.Close() //nolint:errcheck // nothing to lose
}

// source is the demo's folder of it.
func (d *demoBeiwe) source() sourceSpec {
	return sourceSpec{Name: kindBeiwe, Kind: kindBeiwe, KeysFrom: "the demo", Beiwe: &beiweSpec{
		Server: d.url, Section: demoSection, AccessKey: d.access, SecretKey: d.secret, Refresh: demoRefresh,
	}}
}

// demoAccount is what a client of the Beiwe server needs: mano's keyring and what opens it.
type demoAccount struct {
	URL        string `json:"url"`
	Keyring    string `json:"keyring"` // path
	Section    string `json:"section"`
	Passphrase string `json:"passphrase"`
}

// addresses writes a keyring into dir and tells of it.
func (d *demoBeiwe) addresses(dir string) (demoAccount, error) {
	account := demoAccount{URL: d.url, Keyring: filepath.Join(dir, "keyring.enc"), Section: demoSection, Passphrase: d.passphrase}
	plain, err := json.Marshal(map[string]any{demoSection: map[string]any{
		"URL": d.url, "USERNAME": "demo", "PASSWORD": "demo", "ACCESS_KEY": d.access, "SECRET_KEY": d.secret,
		"SECRETS": map[string]string{demoStudyName: rand.Text()},
	}})
	if err != nil {
		return account, err
	}
	var sealed bytes.Buffer
	if err := cryptease.Encrypt(&sealed, bytes.NewReader(plain), []byte(d.passphrase), rand.Reader); err != nil {
		return account, err
	}
	if err := os.WriteFile(account.Keyring, sealed.Bytes(), 0o600); err != nil {
		return account, &failure{What: account.Keyring, Why: lastCause(err), Code: exitCannotCreate}
	}
	return account, nil
}
