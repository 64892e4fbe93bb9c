// Package tomlfile looks into and adds to a TOML file that people write by hand: where each key stands, and tables that are put behind what
// is there, without a change to that or to its comments.
package tomlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// ErrChanged says that somebody has written the file since it was read.
var ErrChanged = errors.New("somebody has changed the file meanwhile")

// Lines tells in which line each table and each key of text stands, by its dotted path; lines count from 1. Where text is not TOML, what
// stands before the mistake is told.
func Lines(text []byte) map[string]int {
	lines := map[string]int{}
	var p unstable.Parser
	p.Reset(text)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind { //nolint:exhaustive // there are no other expressions but comments
		case unstable.Table, unstable.ArrayTable:
			table = nil
			table = note(&p, lines, table, e)
		case unstable.KeyValue:
			noteValue(&p, lines, table, e)
		}
	}
	return lines
}

// note notes the keys of e and returns its whole path.
func note(p *unstable.Parser, lines map[string]int, below []string, e *unstable.Node) []string {
	path := append([]string{}, below...)
	for key := e.Key(); key.Next(); {
		n := key.Node()
		path = append(path, string(n.Data))
		name := strings.Join(path, ".")
		if _, before := lines[name]; !before || key.IsLast() {
			lines[name] = p.Shape(n.Raw).Start.Line
		}
	}
	return path
}

func noteValue(p *unstable.Parser, lines map[string]int, below []string, e *unstable.Node) {
	path := note(p, lines, below, e)
	if v := e.Value(); v.Kind == unstable.InlineTable {
		for child := v.Children(); child.Next(); {
			noteValue(p, lines, path, child.Node())
		}
	}
}

// Key is one line of a table: a string, a bool, a number, a []string, or []Key for a table in the line.
type Key struct {
	Name  string
	Value any
}

// Append returns text with a table behind it. Everything that was there stays as it is. The table must not exist yet.
func Append(text []byte, table []string, keys []Key) ([]byte, error) {
	out := bytes.Clone(text)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	if len(bytes.TrimSpace(out)) > 0 {
		out = append(out, '\n')
	}
	var path []string
	for _, part := range table {
		path = append(path, bare(part))
	}
	out = fmt.Appendf(out, "[%s]\n", strings.Join(path, "."))
	for _, k := range keys {
		value, err := literal(k.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		out = fmt.Appendf(out, "%s = %s\n", bare(k.Name), value)
	}
	var whole map[string]any
	if err := toml.Unmarshal(out, &whole); err != nil {
		return nil, fmt.Errorf("the file with [%s]: %w", strings.Join(path, "."), err)
	}
	return out, nil
}

// bare is a key as TOML has it: in quotes where it must be.
func bare(key string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	if key != "" && !strings.ContainsFunc(key, func(r rune) bool { return !plain(r) }) {
		return key
	}
	return quoted(key)
}

// quoted is a TOML string of one line.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func literal(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return quoted(v), nil
	case bool, int, int64:
		return fmt.Sprint(v), nil
	case []string:
		all := make([]string, 0, len(v))
		for _, one := range v {
			all = append(all, quoted(one))
		}
		return "[" + strings.Join(all, ", ") + "]", nil
	case []Key:
		all := make([]string, 0, len(v))
		for _, one := range v {
			text, err := literal(one.Value)
			if err != nil {
				return "", err
			}
			all = append(all, bare(one.Name)+" = "+text)
		}
		return "{ " + strings.Join(all, ", ") + " }", nil
	}
	return "", fmt.Errorf("a value of type %T cannot be written", value)
}

// Replace writes text in the place of the file that held before (nil: there was none), readable for its owner only. The file is there
// whole at any moment; where it is a symbolic link, what it leads to is replaced. ErrChanged: it holds something else than before by now.
func Replace(path string, before, text []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // renamed, as a rule
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	now, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(now, before) {
		return ErrChanged
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename survive a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
