package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testKeys = "Access key ID,Secret access key,S3 access URL\r\n" +
	"AKIAIOSFODNN7EXAMPLE,wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY,s3://empatica-us-east-1-prod-data/v2/0042/\r\n"

func TestSplitURL(t *testing.T) {
	for address, want := range map[string]struct {
		bucket, prefix string
		added          bool
	}{
		"s3://bucket":      {"bucket", "", false},
		"s3://bucket/":     {"bucket", "", false},
		"s3://bucket/a/b/": {"bucket", "a/b/", false},
		"s3://bucket/a/b":  {"bucket", "a/b/", true},
		"s3://b.c-d/ä x/":  {"b.c-d", "ä x/", false},
	} {
		bucket, prefix, added, err := splitURL(address)
		if err != nil || bucket != want.bucket || prefix != want.prefix || added != want.added {
			t.Errorf("splitURL(%q) = %q, %q, %v, %v; want %+v", address, bucket, prefix, added, err, want)
		}
	}
	for _, address := range []string{"", "bucket/x/", "s3:/bucket/", "https://bucket/", "s3://", "s3:///x/", "s3://b u/", "s3://bucket//x/", "s3://bucket/x//y/"} {
		if _, _, _, err := splitURL(address); err == nil {
			t.Errorf("splitURL(%q) was accepted", address)
		}
	}
}

func TestSourceGrammar(t *testing.T) {
	keys := writeFile(t, filepath.Join(t.TempDir(), "keys.csv"), testKeys, 0o600)
	config := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), sampleConfig, 0o600)
	env := testEnv(t, "STUDYFS_CONFIG", config)
	for name, c := range map[string]struct {
		arg   string
		flags map[string]string
		want  sourceSpec
	}{
		"empatica": {
			arg:  "empatica:" + keys,
			want: sourceSpec{Name: "empatica", Kind: "empatica", Bucket: "empatica-us-east-1-prod-data", Prefix: "v2/0042/", KeysFrom: keys, KeysRef: "file:" + keys, AtRest: &atRestSpec{Ref: "ephemeral"}},
		},
		"hcp":            {arg: "hcp:", want: sourceSpec{Name: "hcp", Kind: "hcp", Bucket: "hcp-openaccess", Prefix: "HCP_1200/", Region: "us-east-1", Profile: "hcp"}},
		"hcp by another": {arg: "hcp:", flags: map[string]string{"profile": "p"}, want: sourceSpec{Name: "hcp", Kind: "hcp", Bucket: "hcp-openaccess", Prefix: "HCP_1200/", Region: "us-east-1", Profile: "p"}},
		"s3": {
			arg:   "s3://bucket/a/study/",
			flags: map[string]string{"anonymous": "true", "requester-pays": "true", "endpoint-url": "https://s3.example.org"},
			want:  sourceSpec{Name: "study", Kind: "s3", Bucket: "bucket", Prefix: "a/study/", Anonymous: true, RequesterPays: true, Endpoint: "https://s3.example.org"},
		},
		"s3, whole bucket": {arg: "s3://bucket", want: sourceSpec{Name: "bucket", Kind: "s3", Bucket: "bucket"}},
		"config":           {arg: "lab", want: sourceSpec{Name: "lab", Kind: "s3", Bucket: "lab-data", Prefix: "study1/", Profile: "lab", Region: "eu-west-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := load(env, &given{flags: c.flags})
			if err != nil {
				t.Fatal(err)
			}
			got, notices, err := l.parseSource(c.arg)
			if err != nil || len(notices) > 0 {
				t.Fatalf("%v, notices %q", err, notices)
			}
			got.KeysCSV = nil
			if g, w := got.key(), c.want.key(); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
		})
	}
}

func TestSourceMistakes(t *testing.T) {
	keys := writeFile(t, filepath.Join(t.TempDir(), "keys.csv"), testKeys, 0o600)
	for name, c := range map[string]struct {
		arg, want string
		flags     map[string]string
		code      int
	}{
		"no keyring":           {arg: "beiwe:study", want: "give mano's keyring with --keyring", code: exitConfig},
		"dir of nothing":       {arg: "dir:", want: "names no directory", code: exitUsage},
		"keys without scheme":  {arg: keys, want: "did you mean empatica:" + keys, code: exitUsage},
		"no such name":         {arg: "labb", want: "not a source", code: exitUsage},
		"empatica alone":       {arg: "empatica:", want: "needs the keys file", code: exitUsage},
		"hcp with more":        {arg: "hcp:x", want: "takes nothing after the colon", code: exitUsage},
		"keys file missing":    {arg: "empatica:/nonexistent/keys.csv", want: "no such file", code: exitConfig},
		"no bucket":            {arg: "s3://", want: "names no bucket", code: exitUsage},
		"endpoint in clear":    {arg: "s3://bucket/", flags: map[string]string{"endpoint-url": "http://s3.example.org"}, want: "unencrypted", code: exitUsage},
		"endpoint is nonsense": {arg: "s3://bucket/", flags: map[string]string{"endpoint-url": "s3.example.org"}, want: "not an address", code: exitUsage},
		"endpoint with secret": {arg: "s3://bucket/", flags: map[string]string{"endpoint-url": "https://u:p@s3.example.org"}, want: "must not hold a password", code: exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := load(testEnv(t), &given{flags: c.flags})
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = l.parseSource(c.arg)
			if err == nil || codeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (exit %d); want %q, exit %d", err, codeOf(err), c.want, c.code)
			}
		})
	}
}

func TestMissingSlashIsAddedAndSaid(t *testing.T) {
	l, err := load(testEnv(t), &given{})
	if err != nil {
		t.Fatal(err)
	}
	s, notices, err := l.parseSource("s3://bucket/study1")
	if err != nil || s.Prefix != "study1/" || len(notices) != 1 || !strings.Contains(notices[0], "slash") {
		t.Errorf("got prefix %q, notices %q, %v; want study1/ and a notice", s.Prefix, notices, err)
	}
	keys := writeFile(t, filepath.Join(t.TempDir(), "keys.csv"), strings.Replace(testKeys, "0042/", "0042", 1), 0o600)
	s, notices, err = l.parseSource("empatica:" + keys)
	if err != nil || s.Prefix != "v2/0042/" || len(notices) != 1 || !strings.Contains(notices[0], "slash") {
		t.Errorf("got prefix %q, notices %q, %v; want v2/0042/ and a notice", s.Prefix, notices, err)
	}
}

func TestFoldersAreUnique(t *testing.T) {
	l, err := load(testEnv(t), &given{})
	if err != nil {
		t.Fatal(err)
	}
	sources, _, err := l.sourcesOf([]string{"s3://b-one/data/", "s3://b-two/data/", "s3://b-three/data/"})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{sources[0].Name, sources[1].Name, sources[2].Name}
	if strings.Join(got, " ") != "data data-2 data-3" {
		t.Errorf("folders %q; want data, data-2, data-3", got)
	}
}

func TestKeysFile(t *testing.T) {
	dir := t.TempDir()
	if _, notices, err := readKeysFile(writeFile(t, dir+"/good.csv", testKeys, 0o600), false); err != nil || len(notices) > 0 {
		t.Errorf("0600: %v, %q; want silence", err, notices)
	}
	open := writeFile(t, dir+"/open.csv", testKeys, 0o640)
	if _, _, err := readKeysFile(open, false); codeOf(err) != exitPermission || !strings.Contains(err.Error(), "chmod 600 "+open) {
		t.Errorf("group-readable: %v; want exit %d and the fix", err, exitPermission)
	}
	if text, notices, err := readKeysFile(open, true); err != nil || len(notices) != 1 || string(text) != testKeys {
		t.Errorf("--insecure-keys-file: %v, %q; want the keys and a notice", err, notices)
	}
	if _, _, err := readKeysFile(dir, false); codeOf(err) != exitConfig {
		t.Errorf("a directory: %v; want exit %d", err, exitConfig)
	}
}

func TestKeysFileInGit(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) { runGit(t, dir, args...) }
	git("init", "-q")
	keys := writeFile(t, dir+"/keys.csv", testKeys, 0o600)
	if _, notices, err := readKeysFile(keys, false); err != nil || len(notices) != 1 || !strings.Contains(notices[0], ".gitignore") {
		t.Errorf("untracked: %v, %q; want a notice", err, notices)
	}
	writeFile(t, dir+"/.gitignore", "keys.csv\n", 0o600)
	if _, notices, err := readKeysFile(keys, false); err != nil || len(notices) != 0 {
		t.Errorf("ignored: %v, %q; want silence", err, notices)
	}
	git("add", "-f", "keys.csv")
	if _, _, err := readKeysFile(keys, false); codeOf(err) != exitPermission || !strings.Contains(err.Error(), "revoke") {
		t.Errorf("tracked: %v; want exit %d", err, exitPermission)
	}
	link := t.TempDir() + "/link.csv"
	if err := os.Symlink(keys, link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readKeysFile(link, false); codeOf(err) != exitPermission {
		t.Errorf("a link to a tracked file: %v; want exit %d", err, exitPermission)
	}
}
