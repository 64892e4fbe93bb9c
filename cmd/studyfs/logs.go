package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"studyfs/backends/s3"
)

// minSecret is the shortest text that is worth hiding: shorter ones would blank out harmless words.
const minSecret = 8

// maxLog is where a log file is put aside for a new one; one old one is kept.
const maxLog = 16 << 20

// newLogger writes records to w, with every secret of the mount replaced wherever it turns up. Nothing that we log
// holds one knowingly; this is for the error texts of libraries.
func newLogger(w io.Writer, level slog.Level, secrets []string) *slog.Logger {
	log, _ := newLiveLogger(w, level, secrets)
	return log
}

// liveLog is what of a logger can change while it is used. It is safe for concurrent use.
type liveLog struct {
	level slog.LevelVar
	hide  atomic.Pointer[strings.Replacer]

	mu    sync.Mutex // guards known
	known []string   // secrets, those of earlier keys too: texts of old errors may turn up late
}

// keep also hides these from now on.
func (l *liveLog) keep(secrets []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range secrets {
		if len(s) >= minSecret && !slices.Contains(l.known, s) {
			l.known = append(l.known, s)
		}
	}
	var pairs []string
	for _, s := range l.known {
		pairs = append(pairs, s, "***")
	}
	l.hide.Store(strings.NewReplacer(pairs...))
}

func newLiveLogger(w io.Writer, level slog.Level, secrets []string) (*slog.Logger, *liveLog) {
	live := &liveLog{}
	live.level.Set(level)
	live.keep(secrets)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: &live.level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Value.Kind() { //nolint:exhaustive // the other kinds are numbers and times
			case slog.KindString:
				a.Value = slog.StringValue(live.hide.Load().Replace(a.Value.String()))
			case slog.KindAny:
				if _, ok := a.Value.Any().(*slog.Source); !ok {
					a.Value = slog.StringValue(live.hide.Load().Replace(fmt.Sprint(a.Value.Any())))
				}
			}
			return a
		},
	})), live
}

// secretsOf lists what must not be seen of the sources' keys.
func secretsOf(sources []sourceSpec) []string {
	var secrets []string
	for _, s := range sources {
		for _, t := range s.Targets {
			secrets = append(secrets, secretsOf([]sourceSpec{t.Source})...)
		}
		if s.Beiwe != nil {
			secrets = append(secrets, s.Beiwe.AccessKey, s.Beiwe.SecretKey)
		}
		secrets = append(secrets, s.Crypt.secrets()...)
		secrets = append(secrets, s.Gate.secrets()...)
		secrets = append(secrets, s.Azure.secrets()...)
		secrets = append(secrets, s.AtRest.secrets()...)
		secrets = append(secrets, s.stageSecrets()...)
		for field := range bytes.FieldsFuncSeq(s.KeysCSV, func(r rune) bool { return strings.ContainsRune(",;\t\r\n\"", r) }) {
			if text := strings.TrimSpace(string(field)); looksSecret(text) {
				secrets = append(secrets, text)
			}
		}
		if keys, err := s3.ReadKeys(bytes.NewReader(s.KeysCSV)); err == nil {
			secrets = append(secrets, keys.AccessKey)
		}
	}
	return secrets
}

// looksSecret tells a secret from the rest of a keys file: headings have blanks, addresses a colon.
func looksSecret(field string) bool {
	return len(field) >= 16 && !strings.ContainsAny(field, " :")
}

// openLog opens the log of a mount for appending.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
