package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	testAccountKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	testSAS        = "?sv=2024-11-04&sr=c&sp=rl&se=2030-01-01T00%3A00%3A00Z&sig=c2VjcmV0c2VjcmV0c2VjcmV0"
)

// A container is named by its address; its key comes from a file or the variables that Azure's own tools take.
func TestAzureSources(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "sas"), testSAS+"\n", 0o600)
	config := writeFile(t, filepath.Join(t.TempDir(), "config.toml"),
		"[source.old]\nkind = \"azure\"\nurl = \"azure://lab/study/old/\"\nkeys = \"file:"+file+"\"\n", 0o600)
	for name, c := range map[string]struct {
		arg  string
		vars []string
		want sourceSpec
	}{
		"config": {"old", nil, sourceSpec{
			Name: "old", Kind: "azure", Prefix: "old/", KeysFrom: file, KeysRef: "file:" + file,
			Azure: &azureSpec{Account: "lab", Container: "study", Key: testSAS},
		}},
		"key of the environment": {"azure://lab/study", []string{"AZURE_STORAGE_KEY", testAccountKey}, sourceSpec{
			Name: "study", Kind: "azure", KeysFrom: "AZURE_STORAGE_KEY", Azure: &azureSpec{Account: "lab", Container: "study", Key: testAccountKey},
		}},
		"connection string": {"azure://lab/study/a/b/", []string{"AZURE_STORAGE_CONNECTION_STRING", "AccountName=lab;AccountKey=" + testAccountKey}, sourceSpec{
			Name: "b", Kind: "azure", Prefix: "a/b/", KeysFrom: "AZURE_STORAGE_CONNECTION_STRING",
			Azure: &azureSpec{Account: "lab", Container: "study", Key: "AccountName=lab;AccountKey=" + testAccountKey},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := load(testEnv(t, append([]string{"STUDYFS_CONFIG", config}, c.vars...)...), &given{})
			if err != nil {
				t.Fatal(err)
			}
			got, notices, err := l.parseSource(c.arg)
			if err != nil || len(notices) > 0 {
				t.Fatalf("%v, notices %q", err, notices)
			}
			if g, w := got.key(), c.want.key(); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
			if _, err := azureOptions(got, timeouts{}, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAzureMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		arg, want string
		flags     map[string]string
		vars      []string
		code      int
	}{
		"no key":               {arg: "azure://lab/study/", want: "AZURE_STORAGE_KEY", code: exitPermission},
		"key of another":       {arg: "azure://lab/study/", vars: []string{"AZURE_STORAGE_ACCOUNT", "other", "AZURE_STORAGE_KEY", testAccountKey}, want: "no key was given", code: exitPermission},
		"no key at all":        {arg: "azure://lab/study/", vars: []string{"AZURE_STORAGE_KEY", "hunter2"}, want: "neither an account key, nor", code: exitConfig},
		"no container":         {arg: "azure://lab/", want: "names no container", code: exitUsage},
		"no such account":      {arg: "azure://Lab_1/study/", want: "cannot be a storage account's name", code: exitUsage},
		"no such container":    {arg: "azure://lab/Study/", want: "cannot be a container's name", code: exitUsage},
		"signature in it":      {arg: "azure://lab/study" + testSAS, want: "must not hold a signature", code: exitUsage},
		"empty folder":         {arg: "azure://lab/study/a//b", want: "empty folder name", code: exitUsage},
		"write":                {arg: "azure://lab/study/", flags: map[string]string{"write": "true", "anonymous": "true"}, want: "only s3, dir and ecog take files", code: exitUsage},
		"in clear":             {arg: "azure://lab/study/", flags: map[string]string{"anonymous": "true", "endpoint-url": "http://blobs.example.org"}, want: "unencrypted", code: exitUsage},
		"keys are in a pocket": {arg: "x", want: "does not say where the key is", code: exitConfig},
	} {
		t.Run(name, func(t *testing.T) {
			config := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), "[source.x]\nkind = \"azure\"\nurl = \"azure://lab/study/\"\nkeys = \"aws-profile:p\"\n", 0o600)
			l, err := load(testEnv(t, append([]string{"STUDYFS_CONFIG", config}, c.vars...)...), &given{flags: c.flags})
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = l.parseSource(c.arg)
			if err == nil || codeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v (exit %d); want %q, exit %d", err, codeOf(err), c.want, c.code)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "c2VjcmV0") {
				t.Errorf("the key is shown: %v", err)
			}
		})
	}
}

// A message about the key's file must not send its owner to look for a CSV.
func TestAzureKeyFileMissing(t *testing.T) {
	config := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), "[source.x]\nkind = \"azure\"\nurl = \"azure://lab/study/\"\nkeys = \"file:/nonexistent\"\n", 0o600)
	l, err := load(testEnv(t, "STUDYFS_CONFIG", config), &given{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = l.parseSource("x"); err == nil || strings.Contains(err.Error(), "CSV") || !strings.Contains(err.Error(), "a SAS, and nothing else") {
		t.Errorf("got %v", err)
	}
}

func TestAzureKeysAreReadAgain(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "key"), testAccountKey, 0o600)
	if _, err := rereadAzureKey(path); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := rereadAzureKey(path); err == nil {
		t.Error("a key that others can read is taken")
	}
}

// What makes a key valid must not come through into a log, whatever form the key had.
func TestAzureSecretsAreHidden(t *testing.T) {
	for text, want := range map[string]string{
		testAccountKey: testAccountKey,
		testSAS:        "c2VjcmV0c2VjcmV0c2VjcmV0",
		"AccountName=lab;AccountKey=" + testAccountKey: testAccountKey,
	} {
		got := secretsOf([]sourceSpec{{Kind: kindAzure, Azure: &azureSpec{Account: "lab", Container: "study", Key: text}}})
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among what is hidden", want)
		}
	}
}
