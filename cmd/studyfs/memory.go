package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"studyfs/backends"
)

// known is what is remembered of a source from one mount to the next. No secret is among it.
type known struct {
	Kind   string `json:"kind"`
	URL    string `json:"url"`
	Region string `json:"region"`
	// Conditions and Checksums are what the service has shown of its abilities when something was written.
	Conditions backends.Ability `json:"conditions,omitempty"`
	Checksums  backends.Ability `json:"checksums,omitempty"`
}

func (k known) abilities() backends.Abilities {
	return backends.Abilities{Conditions: k.Conditions, Checksums: k.Checksums}
}

// learn takes over what is known by now; what has not been tried again stays.
func (k *known) learn(a backends.Abilities) {
	if a.Conditions != backends.Untried {
		k.Conditions = a.Conditions
	}
	if a.Checksums != backends.Untried {
		k.Checksums = a.Checksums
	}
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
func (m *mountServer) remember(s sourceSpec, change func(*known)) {
	if err := m.spec.places().remember(s, change); err != nil {
		m.log.Warn("cannot remember what is known of a source", "err", err)
	}
}

func (p places) remember(s sourceSpec, change func(*known)) error {
	k := p.recall(s.id())
	k.Kind, k.URL = s.Kind, s.url()
	change(&k)
	if p.recall(s.id()) == k {
		return nil
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
	return err
}
