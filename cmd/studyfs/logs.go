package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"studyfs/backends/s3"
)

// minSecret is the shortest text that is worth hiding: shorter ones would blank out harmless words.
const minSecret = 8

// maxLog is where a log file is put aside for a new one; one old one is kept.
const maxLog = 16 << 20

// newLogger writes records to w, with every secret of the mount replaced wherever it turns up. Nothing that we log
// holds one knowingly; this is for the error texts of libraries.
func newLogger(w io.Writer, level slog.Level, secrets []string) *slog.Logger {
	var pairs []string
	for _, s := range secrets {
		if len(s) >= minSecret {
			pairs = append(pairs, s, "***")
		}
	}
	hide := strings.NewReplacer(pairs...)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Value.Kind() { //nolint:exhaustive // the other kinds are numbers and times
			case slog.KindString:
				a.Value = slog.StringValue(hide.Replace(a.Value.String()))
			case slog.KindAny:
				if _, ok := a.Value.Any().(*slog.Source); !ok {
					a.Value = slog.StringValue(hide.Replace(fmt.Sprint(a.Value.Any())))
				}
			}
			return a
		},
	}))
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
