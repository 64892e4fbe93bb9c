package e2e

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// getxattr reads one attribute, "" if there is none.
func getxattr(t *testing.T, path, attr string) string {
	t.Helper()
	value := make([]byte, 4096)
	n, err := unix.Getxattr(path, attr, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

// A file under another subject's name is uploaded, and told of: while it waits, afterwards, and where it lies. With strict it stays here until
// it is renamed.
func TestNamesThatBIDSDoesNotKnow(t *testing.T) {
	for _, rules := range []string{"bidsish", "strict"} {
		t.Run(rules, func(t *testing.T) {
			e := writable(t)
			srv, url := harness.Strict(t, "lab/", s3test.Options{})
			srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret, Grants: []s3test.Grant{{Bucket: "study", Prefix: "lab/", Write: true}}})
			dir := e.Mount(append(lab("study", url), "--bids", rules, "--delete")...)
			write(t, dir+"/dataset_description.json", `{"Name": "x", "BIDSVersion": "1.9.0"}`)
			write(t, dir+"/derivatives/dmriprep/sub-01/ses-01/dwi/sub-02_ses-01_dwi.json", "{}")
			path := dir + "/derivatives/dmriprep/sub-01/ses-01/dwi/sub-02_ses-01_dwi.json"
			e.Run("uploads", "wait", dir)
			ls := e.Run("uploads", "ls")
			if strings.Count(ls.Out, "sub-02") < 2 || strings.Count(ls.Out, "wrong person") != 1 {
				t.Errorf("uploads ls:\n%s%s", ls.Out, ls.Err)
			}
			if text := getxattr(t, path, "user.studyfs.error"); !strings.Contains(text, "sub-02") {
				t.Errorf("the file says %q", text)
			}
			const key = "lab/derivatives/dmriprep/sub-01/ses-01/dwi/sub-02_ses-01_dwi.json"
			if got := stored(t, srv, key) == "{}"; got != (rules == "bidsish") {
				t.Errorf("uploaded: %v", got)
			}
		})
	}
}
