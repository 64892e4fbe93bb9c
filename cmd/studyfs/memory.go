package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// known is what is remembered of a source from one mount to the next. No secret is among it.
type known struct {
	Kind   string `json:"kind"`
	URL    string `json:"url"`
	Region string `json:"region"`
}

func (p places) knownFile(sourceID string) string {
	return filepath.Join(p.stateOf(sourceID), "source.json")
}

// recall returns what is remembered, or nothing.
func (m *mountServer) recall(s sourceSpec) known { return m.spec.places().recall(s.id()) }

func (p places) recall(sourceID string) known {
	var k known
	text, err := os.ReadFile(p.knownFile(sourceID))
	if err != nil || json.Unmarshal(text, &k) != nil {
		return known{}
	}
	return k
}

// remember keeps what helps the next mount. Failing at it costs one request then.
func (m *mountServer) remember(s sourceSpec, region string) {
	k := known{Kind: s.Kind, URL: s.url(), Region: region}
	p := m.spec.places()
	if p.recall(s.id()) == k {
		return
	}
	text, err := json.Marshal(k)
	if err == nil {
		err = os.MkdirAll(p.stateOf(s.id()), 0o700)
	}
	tmp := p.knownFile(s.id()) + ".new"
	if err == nil {
		err = os.WriteFile(tmp, text, 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, p.knownFile(s.id()))
	}
	if err != nil {
		m.log.Warn("cannot remember the region", "err", err)
	}
}
