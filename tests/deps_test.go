// Package tests holds the arrows of the architecture; what runs the program lies in the folders beside it.
package tests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Each package may import from the project only what its row names.
func TestImportsFollowTheArrows(t *testing.T) {
	allowed := map[string][]string{
		"studyfs/backends":                      {},
		"studyfs/backends/mem":                  {"studyfs/backends"},
		"studyfs/backends/backendtest":          {"studyfs/backends"},
		"studyfs/backends/s3":                   {"studyfs/backends"},
		"studyfs/backends/s3/s3test":            {},
		"studyfs/backends/s3/s3test/sample":     {"studyfs/backends/s3/s3test"},
		"studyfs/backends/azure":                {"studyfs/backends"},
		"studyfs/backends/local":                {"studyfs/backends"},
		"studyfs/backends/route":                {"studyfs/backends"},
		"studyfs/backends/azure/azuretest":      {},
		"studyfs/backends/beiwe":                {"studyfs/backends", "studyfs/backends/beiwe/zipstream"},
		"studyfs/backends/beiwe/zipstream":      {},
		"studyfs/backends/crypt":                {"studyfs/backends", "studyfs/backends/crypt/cryptease"},
		"studyfs/backends/crypt/cryptease":      {},
		"studyfs/backends/beiwe/keyring":        {"studyfs/backends", "studyfs/backends/crypt/cryptease"},
		"studyfs/backends/beiwe/beiwetest":      {},
		"studyfs/cache":                         {"studyfs/backends", "studyfs/cache/desktop"},
		"studyfs/cache/desktop":                 {},
		"studyfs/cache/view":                    {"studyfs/backends"},
		"studyfs/cache/stage/gate":              {"studyfs/cache/stage/gate/edf"},
		"studyfs/cache/stage/gate/edf":          {},
		"studyfs/cache/stage/gate/deid":         {"studyfs/cache/stage/gate/edf"},
		"studyfs/cache/stage/gate/edf/edftest":  {},
		"studyfs/cache/stage/gate/deid/survey":  {"studyfs/cache/stage/gate/deid", "studyfs/cache/stage/gate/edf"},
		"studyfs/cache/stage/gate/deid/ledger":  {"studyfs/cache/stage/gate/deid", "studyfs/cache/stage/gate/deid/survey"},
		"studyfs/cache/stage":                   {"studyfs/backends", "studyfs/cache/desktop", "studyfs/cache/stage/gate", "studyfs/cache/stage/gate/edf", "studyfs/cache/stage/vault"},
		"studyfs/cache/stage/vault":             {},
		"studyfs/fs":                            {"studyfs/backends", "studyfs/cache", "studyfs/cache/desktop", "studyfs/cache/stage", "studyfs/cache/view"},
		"studyfs/cmd/studyfs/audit":             {},
		"studyfs/cmd/studyfs/livepage":          {},
		"studyfs/cmd/studyfs/prompt":            {},
		"studyfs/cmd/studyfs/prompt/prompttest": {},
		"studyfs/cmd/studyfs/survey":            {"studyfs/backends"},
		"studyfs/cmd/studyfs/tomlfile":          {},
		"studyfs/cmd/studyfs/fstab":             {},
		"studyfs/cmd/studyfs/host":              {},
		"studyfs/cmd/studyfs/manual":            {},
		"studyfs/cmd/studyfs/systemd":           {},
		"studyfs/cmd/studyfs/warm":              {"studyfs/backends"},
		"studyfs/cmd/studyfs": {
			"studyfs/cmd/studyfs/audit", "studyfs/cmd/studyfs/fstab", "studyfs/cmd/studyfs/host", "studyfs/cmd/studyfs/livepage", "studyfs/cmd/studyfs/manual", "studyfs/cmd/studyfs/prompt", "studyfs/cmd/studyfs/survey", "studyfs/cmd/studyfs/systemd", "studyfs/cmd/studyfs/tomlfile", "studyfs/cmd/studyfs/warm",
			"studyfs/backends", "studyfs/backends/s3", "studyfs/backends/s3/s3test", "studyfs/backends/s3/s3test/sample", "studyfs/cache", "studyfs/fs", "studyfs/cache/stage", "studyfs/cache/view", "studyfs/cache/stage/gate",
			"studyfs/cache/stage/gate/edf", "studyfs/cache/stage/gate/deid", "studyfs/cache/stage/gate/deid/survey", "studyfs/cache/stage/gate/deid/ledger",
			"studyfs/backends/beiwe", "studyfs/backends/beiwe/beiwetest", "studyfs/backends/crypt", "studyfs/backends/crypt/cryptease", "studyfs/backends/beiwe/keyring", "studyfs/backends/azure", "studyfs/backends/local", "studyfs/backends/route",
		},
	}
	outside := map[string][]string{ // modules that only one package may know
		"github.com/hanwen/go-fuse": {"studyfs/fs"},
		"github.com/aws":            {"studyfs/backends/s3"},
		"filippo.io/age":            {"studyfs/backends/crypt"},
		"golang.org/x/crypto":       {"studyfs/backends/crypt", "studyfs/cmd/studyfs"},
		"github.com/zalando":        {"studyfs/cmd/studyfs"},
		"github.com/Azure":          {"studyfs/backends/azure"},
		"github.com/prometheus":     {"studyfs/cmd/studyfs/livepage"},
		"net/http": {
			"studyfs/cmd/studyfs/livepage",
			"studyfs/backends/azure", "studyfs/backends/azure/azuretest", "studyfs/backends/s3", "studyfs/backends/s3/s3test", "studyfs/backends/beiwe", "studyfs/backends/beiwe/beiwetest", "studyfs/cmd/studyfs",
		},
	}
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		may, known := allowed[fields[0]]
		if !known {
			t.Errorf("%s: a package that the table does not know", fields[0])
		}
		for _, imported := range fields[1:] {
			if strings.HasPrefix(imported, "studyfs") && !slices.Contains(may, imported) {
				t.Errorf("%s imports %s", fields[0], imported)
			}
			for module, who := range outside {
				if (imported == module || strings.HasPrefix(imported, module+"/")) && !slices.Contains(who, fields[0]) {
					t.Errorf("%s imports %s", fields[0], imported)
				}
			}
			if fields[0] == "studyfs/backends" && strings.Contains(imported, ".") {
				t.Errorf("the contract imports %s", imported)
			}
		}
	}
}
