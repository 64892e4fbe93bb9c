package main

import (
	"io"
	"runtime/debug"
	"strings"
	"time"
)

// bill is what version --sbom prints: CycloneDX 1.5. It comes from what the linker has noted in the program itself, so that it tells what
// is in there and not what some file of the sources says; nothing of it differs between two builds of the same sources.
type bill struct {
	Format     string     `json:"bomFormat"`
	Spec       string     `json:"specVersion"`
	Version    int        `json:"version"`
	Metadata   billOf     `json:"metadata"`
	Components []billPart `json:"components"`
}

type billOf struct {
	Timestamp string   `json:"timestamp,omitempty"`
	Component billPart `json:"component"`
}

// billPart is a module.
type billPart struct {
	Type       string         `json:"type"`
	Name       string         `json:"name"`
	Version    string         `json:"version"`
	URL        string         `json:"purl,omitempty"`
	Properties []billProperty `json:"properties,omitempty"`
}

type billProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (a *app) printBill(w io.Writer) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return &failure{What: "version --sbom", Why: "this program does not know what it was built from", Do: "build it with go build", Code: exitError}
	}
	b := bill{Format: "CycloneDX", Spec: "1.5", Version: 1, Components: []billPart{}}
	b.Metadata.Component = billPart{Type: "application", Name: "studyfs", Version: programVersion()}
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "CGO_ENABLED" || strings.HasPrefix(s.Key, "vcs.") {
			b.Metadata.Component.Properties = append(b.Metadata.Component.Properties, billProperty{"go:build:" + s.Key, s.Value})
		}
	}
	if date := a.sourceDate(); !date.IsZero() {
		b.Metadata.Timestamp = date.UTC().Format(time.RFC3339)
	}
	b.Components = append(b.Components, billPart{Type: "library", Name: "std", Version: info.GoVersion, URL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")})
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.Components = append(b.Components, billPart{
			Type: "library", Name: m.Path, Version: m.Version, URL: "pkg:golang/" + m.Path + "@" + m.Version,
			Properties: []billProperty{{"go:sum", m.Sum}},
		})
	}
	return printJSON(w, b)
}
