// Package packages builds studyfs as users get it, and installs it where nothing else is.
package packages

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// build runs the script that makes packages and returns its directory.
func build(t *testing.T, vars []string, formats ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("bash", append([]string{"../../cmd/studyfs/packaging/build", dir, "amd64"}, formats...)...)
	cmd.Env = append(os.Environ(), vars...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %v: %v\n%.4000s", formats, err, out)
	}
	return dir
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%.2000s", name, args, err, out)
	}
	return string(out)
}

func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// contents are what a package must bring so that nothing has to be set up by hand.
func contents() []string {
	return []string{
		"usr/bin/studyfs", "usr/sbin/mount.studyfs", "usr/sbin/umount.fuse.studyfs",
		"usr/lib/systemd/user/studyfs@.service", "usr/lib/systemd/system/studyfs@.service",
		"usr/share/bash-completion/completions/studyfs", "usr/share/zsh/vendor-completions/_studyfs", "usr/share/fish/vendor_completions.d/studyfs.fish",
		"usr/share/man/man1/studyfs.1.gz", "usr/share/man/man1/studyfs-uploads-resolve.1.gz", "usr/share/man/man5/studyfs.toml.5.gz", "usr/share/man/man8/mount.studyfs.8.gz",
		"usr/share/doc/studyfs/LICENSE", "usr/share/doc/studyfs/copyright", "usr/share/doc/studyfs/THIRD-PARTY-LICENSES", "usr/share/doc/studyfs/sbom.cdx.json",
	}
}

func checkRoot(t *testing.T, root string) {
	t.Helper()
	for _, name := range contents() {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	licences, err := os.ReadFile(filepath.Join(root, "usr/share/doc/studyfs/THIRD-PARTY-LICENSES"))
	bill, err2 := os.ReadFile(filepath.Join(root, "usr/share/doc/studyfs/sbom.cdx.json"))
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for _, module := range []string{"github.com/hanwen/go-fuse/v2", "github.com/hashicorp/golang-lru/v2", "github.com/spf13/cobra"} {
		if !bytes.Contains(licences, []byte("== "+module+"@")) || !bytes.Contains(bill, []byte("pkg:golang/"+module+"@")) {
			t.Errorf("%s is in the program, and its licence or its name is not in the package", module)
		}
	}
	if out, err := exec.Command("bash", "-n", filepath.Join(root, "usr/share/bash-completion/completions/studyfs")).CombinedOutput(); err != nil {
		t.Errorf("completion: %v %s", err, out)
	}
	if out := run(t, filepath.Join(root, "usr/bin/studyfs"), "version"); !strings.HasPrefix(out, "studyfs ") {
		t.Errorf("the program says %q", out)
	}
}

// Whoever unpacks the archive has all that a package brings.
func TestArchive(t *testing.T) {
	out := build(t, []string{"PROGRAM=" + harness.Program(t)}, "tar")
	root := t.TempDir()
	run(t, "tar", "-xzf", one(t, out+"/*.tar.gz"), "-C", root, "--strip-components=1")
	checkRoot(t, root)
}

// Anybody can build the packages again and compare: two builds are the same bytes. What they install runs where nothing else is.
func TestPackages(t *testing.T) {
	if !harness.Full() {
		t.Skip("builds the program twice, and nfpm: STUDYFS_FULL=1")
	}
	first, second := build(t, nil), build(t, nil)
	a, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	if err != nil || !bytes.Equal(a, b) || bytes.Count(a, []byte("\n")) != 3 {
		t.Errorf("two builds: %v\n%s\n%s", err, a, b)
	}
	root := t.TempDir()
	if _, err := exec.LookPath("dpkg"); err != nil || os.Geteuid() != 0 {
		t.Skip("no dpkg, or not root")
	}
	for _, dir := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "dpkg", "--root="+root, "--force-depends", "-i", one(t, first+"/*.deb")) // fuse3 is not there
	checkRoot(t, root)
	if out := run(t, "chroot", root, "/usr/bin/studyfs", "version"); !strings.HasPrefix(out, "studyfs v0") {
		t.Errorf("in a root of its own the program says %q", out)
	}
	checkControl(t, one(t, first+"/*.deb"))
	checkRPM(t, one(t, first+"/*.rpm"))
}

// checkControl looks at what a package of Debian says of itself.
func checkControl(t *testing.T, deb string) {
	t.Helper()
	for field, want := range map[string]string{"Depends": "fuse3", "Recommends": "ca-certificates", "Maintainer": "studyfs maintainers", "Homepage": ""} {
		if got := strings.TrimSpace(run(t, "dpkg-deb", "-f", deb, field)); got != want {
			t.Errorf("%s: %q; want %q", field, got, want)
		}
	}
}

// checkRPM looks at the header of a package, which is not compressed: the names of its files stand there, and what it needs.
func checkRPM(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(raw, []byte{0xed, 0xab, 0xee, 0xdb}) {
		t.Errorf("%s is no rpm: %v", path, err)
	}
	for _, name := range append(contents(), "Apache-2.0", "fuse3", "ca-certificates") {
		if !bytes.Contains(raw, []byte(filepath.Base(name)+"\x00")) {
			t.Errorf("the rpm lacks %s", name)
		}
	}
}
