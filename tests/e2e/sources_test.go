package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/backends/s3/s3test/sample"
	"studyfs/tests/harness"
)

// hcp: is profile "hcp", bucket hcp-openaccess and prefix HCP_1200/, without a word about any of it.
func TestHCPByItsName(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.CreateBucket("hcp-openaccess")
	for key, o := range sample.HCP(sample.Options{}) {
		srv.Put("hcp-openaccess", key, o)
	}
	e := harness.New(t)
	e.Profile("hcp")
	dir := e.Mount("hcp:", "--endpoint-url", url)
	harness.Compare(t, dir, harness.Collect(t, "HCP_1200/", sample.HCP(sample.Options{})))
}

func TestAnonymousAndRequesterPays(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	files := map[string]harness.File{"a/f": {Body: []byte("open data")}}
	harness.Fill(srv, "", files)
	srv.AllowAnonymous("study")
	e := harness.New(t)
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--anonymous")
	if got, err := os.ReadFile(filepath.Join(dir, "a/f")); err != nil || string(got) != "open data" {
		t.Errorf("%q, %v", got, err)
	}
	for _, r := range srv.Requests() {
		if r.AccessKey != "" {
			t.Errorf("%s is signed", r.Op)
		}
	}
	e.Unmount(dir)

	srv.RequesterPays("study")
	e = harness.New(t)
	e.Profile("lab")
	dir = filepath.Join(e.Home, "mnt")
	if r := e.Run("mount", "s3://study/", "--endpoint-url", url, "--profile", "lab", dir); r.Code != 77 {
		t.Errorf("without agreeing to pay: exit %d\n%s", r.Code, r.Err)
	}
	e.MountAt(dir, "s3://study/", "--endpoint-url", url, "--profile", "lab", "--requester-pays")
	if got, err := os.ReadFile(filepath.Join(dir, "a/f")); err != nil || string(got) != "open data" {
		t.Errorf("%q, %v", got, err)
	}
}

// Without a network a mount starts from what was listed and read before, and says so.
func TestOfflineAfterAnEarlierMount(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"a/f": {Body: []byte("was read")}, "a/g": {Body: []byte("was not")}})
	e := harness.New(t)
	e.Profile("lab")
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_RETRY=300ms")
	args := []string{"s3://study/", "--endpoint-url", url, "--profile", "lab", "--region", "us-east-1"}
	dir := e.Mount(args...)
	if _, err := os.ReadFile(filepath.Join(dir, "a/f")); err != nil {
		t.Fatal(err)
	}
	e.Unmount(dir)
	srv.Inject(s3test.Rule{Fault: s3test.Refuse})
	e.MountAt(dir, args...)
	if got, err := os.ReadFile(filepath.Join(dir, "a/f")); err != nil || string(got) != "was read" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "a/g")); err == nil || os.IsNotExist(err) {
		t.Errorf("what is not here: %v", err)
	}
}
