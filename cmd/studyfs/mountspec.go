package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"studyfs/backends/s3"
)

// mountSpec is one mount, complete: all that the serving process needs to know. It reaches that process through a pipe.
type mountSpec struct {
	Dir        string       `json:"dir"`
	Sources    []sourceSpec `json:"sources"`
	Folders    bool         `json:"folders"` // one folder per source, even for a single one
	CacheDir   string       `json:"cache_dir"`
	StateDir   string       `json:"state_dir"`
	RuntimeDir string       `json:"runtime_dir"`

	CacheSize     int64      `json:"cache_size"`
	Memory        int64      `json:"memory"`
	ReadAhead     int        `json:"read_ahead_files"`
	LogLevel      slog.Level `json:"log_level"`
	AllowOther    bool       `json:"allow_other"`
	NoPassthrough bool       `json:"no_passthrough"`
	NoOpen        bool       `json:"no_open,omitempty"`
	NoIndex       bool       `json:"no_index,omitempty"`
	NoExec        bool       `json:"no_exec,omitempty"`
	Timeouts      timeouts   `json:"timeouts"`

	HTTP pageAddress `json:"http,omitempty"` // "": no live page

	AuditDays int `json:"audit_days,omitempty"` // 0: the log's default

	RemoveDir bool `json:"remove_dir"` // it was made for this mount
	Leash     bool `json:"leash"`      // unmount when the process that started it ends

	Origin *mountOrigin `json:"origin,omitempty"` // nil: there is nothing to read again

	Log string `json:"log,omitempty"` // the log file; standard error if there is none
}

// timeouts of the conversation with a service; 0 means what the backend thinks right.
type timeouts struct {
	Dial     time.Duration `json:"dial,omitempty"`
	Answer   time.Duration `json:"answer,omitempty"`
	Progress time.Duration `json:"progress,omitempty"`
	Retry    time.Duration `json:"retry,omitempty"`
}

func (t timeouts) s3() s3.Timeouts {
	return s3.Timeouts{Dial: t.Dial, FirstByte: t.Answer, Progress: t.Progress, Retry: t.Retry}
}

func (m *mountSpec) places() places {
	return places{cache: m.CacheDir, state: m.StateDir, runtime: m.RuntimeDir}
}

// folder is the name of a source's tree in the mount, "" where the source is the mount.
func (m *mountSpec) folder(s sourceSpec) string {
	if m.Folders {
		return s.Name
	}
	return ""
}

// fsName is what df and /proc/mounts show. A ":" in it tells desktop programs that this is not a local disk.
func (m *mountSpec) fsName() string {
	if len(m.Sources) == 1 && m.Sources[0].Beiwe != nil {
		_, host, _ := strings.Cut(m.Sources[0].Beiwe.Server, "://")
		return "beiwe:" + host
	}
	if len(m.Sources) == 1 && m.Sources[0].Azure != nil {
		a := m.Sources[0].Azure
		return strings.TrimSuffix("azure:"+a.Account+"/"+a.Container+"/"+m.Sources[0].Prefix, "/")
	}
	if len(m.Sources) == 1 && m.Sources[0].Dir != nil {
		return "dir:" + m.Sources[0].Dir.Path
	}
	if len(m.Sources) == 1 && len(m.Sources[0].Targets) > 0 {
		return "ecog:" + m.Sources[0].Name
	}
	if len(m.Sources) == 1 {
		return strings.TrimSuffix("s3:"+m.Sources[0].Bucket+"/"+m.Sources[0].Prefix, "/")
	}
	return "studyfs:" + filepath.Base(m.Dir)
}

// newMountSpec puts a mount together from the configuration.
func (l *loaded) newMountSpec(dir string, sources []sourceSpec) (*mountSpec, error) {
	p, err := findPlaces(l.env, l.Cache.Dir, l.State.Dir)
	if err != nil {
		return nil, err
	}
	if err := p.make(); err != nil {
		return nil, err
	}
	if l.AllowOther {
		if err := otherUsersAllowed(); err != nil {
			return nil, err
		}
	}
	return &mountSpec{
		Dir: dir, Sources: sources, Folders: len(sources) > 1,
		CacheDir: p.cache, StateDir: p.state, RuntimeDir: p.runtime,
		CacheSize: int64(l.Cache.Size), Memory: int64(l.Memory), ReadAhead: l.ReadAhead, LogLevel: slog.Level(l.Log.Level),
		AuditDays: l.Audit.KeepDays, AllowOther: l.AllowOther, NoPassthrough: l.NoPassthrough, NoExec: l.NoExec, NoOpen: l.NoOpen, NoIndex: l.NoIndex, HTTP: l.HTTP,
		Timeouts: timeouts{
			Dial: time.Duration(l.Timeout.Dial), Answer: time.Duration(l.Timeout.Answer),
			Progress: time.Duration(l.Timeout.Progress), Retry: time.Duration(l.Timeout.Retry),
		},
	}, nil
}

// fitsNoOpen says which source cannot be read without being asked at each open, nil if all can.
func (m *mountSpec) fitsNoOpen() error {
	for _, s := range m.Sources {
		why, do := s.needsOpen()
		if m.NoOpen && why != "" {
			return &failure{What: "--no-open", Why: why + ": " + s.describe(), Do: do, Code: exitUsage}
		}
	}
	return nil
}

// needsOpen says why a source must be asked at each open, and what to do about it; "" if it need not.
func (s sourceSpec) needsOpen() (why, do string) {
	switch {
	case s.Write != nil:
		return "the source can be written to", "mount it with --read-only, or without --no-open"
	case s.View != nil:
		return "a view shows files under two names", "mount it without --view, or without --no-open"
	case s.Beiwe != nil:
		return "its files come in bundles when they are opened", "mount it without --no-open"
	case s.Crypt != nil:
		return "the sizes of encrypted files are known when they are opened", "mount it without --no-open"
	case s.audited() != auditOff:
		return "the audit log would not see who opens which file", "mount it without --no-open, or with --audit off if the log is not needed"
	}
	return "", ""
}
