package azure

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"studyfs/backends/azure"
	"studyfs/backends/azure/azuretest"
	"studyfs/backends/backendtest"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, theAzurite.stop)
}

// The contract holds against Microsoft's own idea of the protocol, which signs, escapes and pages for real.
func TestConformanceWithAzurite(t *testing.T) {
	a := start(t)
	parsed, err := azure.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{2, 0} {
		for _, c := range backendtest.Checks() {
			t.Run(c.Name, func(t *testing.T) {
				if c.Name == "names of every kind come back as they went in" {
					t.Skip("the service takes a backslash for a slash")
				}
				container := a.container(t)
				src, err := azure.Open(azure.Options{
					Account: account, Container: container, Prefix: "v2/001/", Endpoint: a.url, Credentials: azure.Static(parsed), PageSize: size,
				})
				if err != nil {
					t.Fatal(err)
				}
				c.Run(t, backendtest.Harness{
					Source: src,
					Put:    func(key string, body []byte) { a.put(t, container, "v2/001/"+key, body) },
					Remove: func(key string) {
						if _, err := a.client.DeleteBlob(t.Context(), container, "v2/001/"+key, nil); err != nil {
							t.Fatal(err)
						}
					},
					Odd: true,
				})
			})
		}
	}
}

// env is a home whose user has the account's key at hand.
func env(t *testing.T, vars ...string) *harness.Env {
	e := harness.New(t)
	e.Vars = append(e.Vars, vars...)
	return e
}

// A study that lies on Azure is there byte for byte, with the account's key and with a signature for the container.
func TestEveryByteAzurite(t *testing.T) {
	a := start(t)
	container := a.container(t)
	files := harness.Study(t)
	a.fill(t, container, "old/copy/", files)
	a.put(t, container, "old/copy2", []byte("beside the prefix"))
	for name, variable := range map[string]string{
		"account key": "AZURE_STORAGE_KEY=" + key,
		"signature":   "AZURE_STORAGE_SAS_TOKEN=" + a.sas(t, container, time.Now().Add(time.Hour)),
	} {
		t.Run(name, func(t *testing.T) {
			e := env(t, variable)
			dir := e.Mount("azure://"+account+"/"+container+"/old/copy/", "--endpoint-url", a.url)
			harness.Compare(t, dir, files)
			if r := e.Run("status", dir); r.Code != 0 || !strings.Contains(r.Out, "azure://"+account+"/"+container+"/old/copy/") {
				t.Errorf("status: exit %d\n%s%s", r.Code, r.Out, r.Err)
			}
			if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
				t.Errorf("writing: %v", err)
			}
			e.Unmount(dir)
			e.MountAt(dir, "azure://"+account+"/"+container+"/old/copy/", "--endpoint-url", a.url)
			harness.Compare(t, dir, files)
			logs, _ := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "*", "*.log"))
			for _, log := range logs {
				if raw, _ := os.ReadFile(log); strings.Contains(string(raw), variable[len(variable)-20:]) || strings.Contains(string(raw), "names/") {
					t.Errorf("the log holds a key or a file's name:\n%s", raw)
				}
			}
		})
	}
}

// A source by name, its signature in a file; what is archived says so instead of hanging, and a blob that is replaced is seen.
func TestAzuriteByName(t *testing.T) {
	a := start(t)
	container := a.container(t)
	a.put(t, container, "cold.tar.gz", []byte("long ago"))
	a.put(t, container, "warm.csv", []byte("now"))
	a.archive(t, container, "cold.tar.gz")
	e := env(t)
	keys := filepath.Join(e.Home, "sas")
	config := filepath.Join(e.Home, ".config", "studyfs", "config.toml")
	text := "[source.old]\nkind = \"azure\"\nurl = \"azure://" + account + "/" + container + "/\"\nendpoint-url = \"" + a.url + "\"\nkeys = \"file:" + keys + "\"\n"
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(config), 0o700), os.WriteFile(config, []byte(text), 0o600),
		os.WriteFile(keys, []byte("?"+a.sas(t, container, time.Now().Add(time.Hour))+"\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	dir := e.Mount("old")
	if _, err := os.ReadFile(filepath.Join(dir, "cold.tar.gz")); !errors.Is(err, syscall.ENODATA) {
		t.Errorf("archived: %v", err)
	}
	if r := e.Run("status", filepath.Join(dir, "cold.tar.gz")); r.Code != 0 || !strings.Contains(r.Out, "archive") {
		t.Errorf("status of what is archived: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "warm.csv")); err != nil || string(got) != "now" {
		t.Errorf("%q, %v", got, err)
	}
}

// Every mistake has its own message, which says what to do, and its exit code.
func TestAzuriteMistakes(t *testing.T) {
	a := start(t)
	container := a.container(t)
	good := "AZURE_STORAGE_KEY=" + key
	for name, c := range map[string]struct {
		variable, container string
		args                []string
		code                int
		says                string
	}{
		// Azurite says of both that the key is good but may not do this; Azure says that it is refused.
		"wrong key":    {"AZURE_STORAGE_KEY=" + strings.Repeat("A", 86) + "==", container, nil, 77, "AZURE_STORAGE_KEY"},
		"expired":      {"AZURE_STORAGE_SAS_TOKEN=" + a.sas(t, container, time.Now().Add(-time.Hour)), container, nil, 77, "AZURE_STORAGE_SAS_TOKEN"},
		"no container": {good, "nosuchcontainer", nil, 78, "no such container"},
		"not public":   {"X=", container, []string{"--anonymous"}, 0, "--anonymous"},
		"no network":   {good, container, []string{"--endpoint-url", "http://127.0.0.1:1/" + account}, 69, "cannot be reached"},
		"no key":       {"X=", container, nil, 77, "AZURE_STORAGE_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			e := env(t, c.variable, "STUDYFS_TIMEOUT_RETRY=500ms")
			args := append([]string{"mount", "azure://" + account + "/" + c.container + "/", "--endpoint-url", a.url}, c.args...)
			r := e.Run(append(args, filepath.Join(e.Home, "mnt"))...)
			if r.Code == 0 || c.code != 0 && r.Code != c.code || !strings.Contains(r.Err, c.says) {
				t.Errorf("exit %d, want %d with %q\n%s", r.Code, c.code, c.says, r.Err)
			}
		})
	}
}

// Old copies that were encrypted before they went to Azure are read in clear.
func TestEncryptedCopies(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	if err == nil {
		_, err = w.Write(harness.Pattern(1, 300_000))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	srv := azuretest.New(azuretest.Options{Account: "lab", Container: "study"})
	web := httptest.NewServer(srv)
	t.Cleanup(web.Close)
	srv.Put("video.avi.age", azuretest.Blob{Body: sealed.Bytes()})
	e := env(t, "AZURE_STORAGE_KEY="+key)
	identity := filepath.Join(e.Home, "identity")
	if err := os.WriteFile(identity, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := e.Mount("azure://lab/study/", "--endpoint-url", web.URL+"/lab", "--identity", "file:"+identity)
	if got, err := os.ReadFile(filepath.Join(dir, "video.avi")); err != nil || !bytes.Equal(got, harness.Pattern(1, 300_000)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// The same study from the small service, as each of the kinds of accounts there are. It needs nothing installed.
func TestEveryByteStrict(t *testing.T) {
	for name, o := range map[string]azuretest.Options{
		"plain": {PageSize: 7}, "without startFrom": {PageSize: 7, IgnoreStart: true}, "hierarchical": {PageSize: 7, Hierarchical: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.Account, o.Container = "lab", "study"
			srv := azuretest.New(o)
			web := httptest.NewServer(srv)
			t.Cleanup(web.Close)
			files := harness.Study(t)
			for name, f := range files {
				srv.Put("copy/"+name, azuretest.Blob{Body: f.Body, Modified: f.Mod})
			}
			e := env(t, "AZURE_STORAGE_KEY="+key)
			harness.Compare(t, e.Mount("azure://lab/study/copy/", "--endpoint-url", web.URL+"/lab"), files)
		})
	}
}
