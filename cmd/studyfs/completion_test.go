package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// The names of the user's own sources are completed, by a shell's own script, without a request.
func TestCompletion(t *testing.T) {
	env, home := doctorEnv(t, nil)
	put(t, filepath.Join(home, ".config/studyfs/config.toml"), "[source.reading]\nkind=\"s3\"\nurl=\"s3://b/\"\n[source.other]\nkind=\"hcp\"\n", 0o600)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"__complete", "mount", "re"}, "reading\n"},
		{[]string{"__complete", "doctor", "re"}, "reading\n"},
		{[]string{"__complete", "run", "o"}, "other\n"},
		{[]string{"__complete", "umount", "/no/such"}, ":0\n"},
		{[]string{"completion", "bash"}, "bash completion"},
		{[]string{"completion", "zsh"}, "#compdef studyfs"},
		{[]string{"completion", "fish"}, "fish completion"},
	} {
		var out, errs bytes.Buffer
		a := &app{env: env, out: &out, err: &errs}
		if code := a.run(c.args); code != exitOK || !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), "other\nreading") {
			t.Errorf("%q: exit %d, %.200q, %s; want %q", c.args, code, out.String(), errs.String(), c.want)
		}
	}
}
