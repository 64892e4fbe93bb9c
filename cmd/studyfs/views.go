package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
	_ "time/tzdata" // a zone must not depend on what is installed on the machine

	"studyfs/backends"
	"studyfs/cache/view"
)

// The views that a source can have.
const (
	viewOff           = "off"
	viewByParticipant = "by-participant"
	viewPyAFQ         = "pyafq"
)

// viewName is one of them, "" for the default.
type viewName string

func (v viewName) String() string { return string(v) }

// UnmarshalText reads a view's name.
func (v *viewName) UnmarshalText(text []byte) error {
	switch string(text) {
	case viewOff, viewByParticipant, viewPyAFQ:
		*v = viewName(text)
		return nil
	}
	return fmt.Errorf("%q is not a view; write by-participant, pyafq or off", text)
}

// kind is the kind of sources that have it.
func (v viewName) kind() string {
	if v == viewPyAFQ {
		return kindHCP
	}
	return kindEmpatica
}

// zoneName is a time zone's name in the IANA database.
type zoneName string

func (z zoneName) String() string { return string(z) }

// UnmarshalText reads a zone's name.
func (z *zoneName) UnmarshalText(text []byte) error {
	name := string(text)
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" { // the machine's own would name other days on another one
		return fmt.Errorf("%q is not a time zone; write one such as Europe/Berlin or America/New_York", text)
	}
	*z = zoneName(name)
	return nil
}

// checkView tells whether the source can be shown so.
func (c sourceConfig) checkView() error {
	shown := c.View != "" && c.View != viewOff
	switch {
	case shown && c.View.kind() != c.Kind:
		return fmt.Errorf("view: a source of kind %s cannot be shown %s; only %s can", c.Kind, c.View, c.View.kind())
	case c.TimeZone != "" && c.View != viewByParticipant:
		return errors.New("time-zone: it is for view = \"by-participant\" only")
	}
	return nil
}

// viewSpec is what a sourceSpec holds of a view.
type viewSpec struct {
	Name viewName `json:"name"`
	Zone zoneName `json:"zone,omitempty"`
}

// buildView says under which names a source is shown once more; nil for none.
func buildView(s sourceSpec, c sourceConfig) (*viewSpec, error) {
	if err := c.checkView(); err != nil {
		what, why, _ := strings.Cut(err.Error(), ": ")
		return nil, &failure{
			What: s.describe(), Why: why, Code: exitUsage,
			Do: "leave out --" + what + ", or put " + what + " into the [source.NAME] of the configuration that is meant",
		}
	}
	if c.View == "" || c.View == viewOff {
		return nil, nil
	}
	return &viewSpec{Name: c.View, Zone: c.TimeZone}, nil
}

// newView makes the view of an open source, nil if there is none.
func (s *liveSource) newView() (*view.View, error) {
	v := s.spec.View
	switch {
	case v == nil:
		return nil, nil
	case v.Name == viewPyAFQ:
		return view.PyAFQ(s.store, path.Base("/"+s.spec.Bucket+"/"+s.spec.Prefix)), nil
	case v.Zone == "":
		return view.Empatica(s.store, nil), nil
	}
	zone, err := time.LoadLocation(string(v.Zone))
	return view.Empatica(s.store, zone), err
}

// hiddenByView says which of the names at the source's root the view takes for itself.
func (s *liveSource) hiddenByView(root []backends.Entry) (notices []string) {
	for _, e := range root {
		if s.view != nil && s.view.Has(e.Name) {
			notices = append(notices, s.spec.url()+" has a "+e.Name+" of its own: the view of that name stands before it (see it with --view off)")
		}
	}
	return notices
}

// plain is what the source calls what lies at and below a name, which may be one of the view's.
func (s *liveSource) plain(ctx context.Context, name string) ([]string, error) {
	if s.view == nil || !s.view.Has(name) {
		return []string{name}, nil
	}
	return s.view.Plain(ctx, name)
}
