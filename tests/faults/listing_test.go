package faults

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// One page of a long listing is refused, the first or any other, while find or ls already has what came before. The program is told, or has
// all names: never does it end well with some of them. The next one has all, and so has the one after it, from the kernel's own memory.
func TestListingThatFailsIsNeverShort(t *testing.T) {
	const files, page = 1000, 40
	srv, url := harness.Strict(t, "", s3test.Options{PageSize: page})
	skips := []int{0, 1, 2, 4, 7, 14, 22}
	all := map[string]harness.File{}
	for i := range skips {
		for n := range files {
			all[fmt.Sprintf("d%d/f%05d", i, n)] = harness.File{Body: []byte("x")}
		}
	}
	harness.Fill(srv, "", all)
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab", "--region", "us-east-1")
	if _, err := os.ReadDir(dir); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i, skip := range skips {
		folder := fmt.Sprintf("%s/d%d", dir, i)
		srv.Inject(s3test.Rule{Op: "ListObjectsV2", Fault: s3test.AccessDenied, Skip: skip, Times: 1})
		for round := range 4 {
			cmd := exec.Command("find", folder, "-type", "f")
			if i%2 == 1 {
				cmd = exec.Command("ls", "-U", folder)
			}
			out, err := cmd.Output()
			lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			n, seen := 0, map[string]bool{}
			for _, l := range lines {
				if l != "" && !seen[l] {
					n++
				}
				if l != "" && seen[l] {
					t.Errorf("%s, round %d: %s twice", folder, round, l)
				}
				seen[l] = true
			}
			switch {
			case err == nil && n != files:
				t.Errorf("request %d was refused: round %d ended well with %d names of %d", skip, round, n, files)
			case err != nil && round > 0:
				t.Errorf("request %d was refused: round %d: %v", skip, round, err)
			case err != nil:
				failed++
			}
		}
	}
	if failed < len(skips)/2 {
		t.Errorf("only %d of %d listings failed", failed, len(skips))
	}
}
