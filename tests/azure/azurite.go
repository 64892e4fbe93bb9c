// Package azure reads containers through mounts: of Azurite, Microsoft's own emulator, where that is installed, and of the small
// service in backends/azure/azuretest.
package azure

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"studyfs/tests/harness"
)

// The account that every emulator has, with its published key.
const (
	account = "devstoreaccount1"
	key     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// release is the last one that runs on Node 20.
const release = "azurite@3.35.0"

// azurite is the emulator. There is one per test process.
type azurite struct {
	once   sync.Once
	url    string // of the account
	cmd    *exec.Cmd
	client *azblob.Client
	err    error
	absent string // why there is none

	containers atomic.Int64
}

var theAzurite azurite // one per test process

// start starts it once, or skips the test with what is missing.
func start(t testing.TB) *azurite {
	t.Helper()
	a := &theAzurite
	a.once.Do(a.start)
	switch {
	case a.absent != "":
		t.Skip(a.absent)
	case a.err != nil:
		t.Fatal(a.err)
	}
	return a
}

// find returns the program: of the PATH, of STUDYFS_AZURITE, or of where an earlier run at full size has installed it.
func find() (program, absent string) {
	if path := os.Getenv("STUDYFS_AZURITE"); path != "" {
		return path, ""
	}
	if path, err := exec.LookPath("azurite-blob"); err == nil {
		return path, ""
	}
	dir := filepath.Join(os.TempDir(), "studyfs-"+strings.ReplaceAll(release, "@", "-"))
	program = filepath.Join(dir, "node_modules", ".bin", "azurite-blob")
	if _, err := os.Stat(program); err == nil {
		return program, ""
	}
	npm, err := exec.LookPath("npm")
	switch {
	case err != nil:
		return "", "Azurite is not installed, nor is npm: npm install -g " + release
	case !harness.Full():
		return "", fmt.Sprintf("Azurite is not installed: npm install --prefix %s %s (STUDYFS_FULL=1 does that)", dir, release)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, npm, "install", "--no-audit", "--no-fund", "--prefix", dir, release).CombinedOutput(); err != nil {
		return "", fmt.Sprintf("Azurite cannot be installed: %v\n%s", err, out)
	}
	return program, ""
}

func (a *azurite) start() {
	var program string
	if program, a.absent = find(); a.absent != "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.err = err
		return
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	a.url = "http://127.0.0.1:" + port + "/" + account
	// Without skipApiVersionCheck it refuses the version that the SDK speaks.
	a.cmd = exec.Command(program, "--silent", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", port)
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a.err = a.cmd.Start(); a.err != nil {
		return
	}
	shared, err := azblob.NewSharedKeyCredential(account, key)
	if err != nil {
		a.err = err
		return
	}
	if a.client, a.err = azblob.NewClientWithSharedKeyCredential(a.url, shared, nil); a.err != nil {
		return
	}
	for range 300 {
		var conn net.Conn
		if conn, a.err = net.Dial("tcp", "127.0.0.1:"+port); a.err == nil {
			conn.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// stop ends it, at the end of all tests.
func (a *azurite) stop() {
	if a.cmd != nil && a.cmd.Process != nil {
		a.cmd.Process.Kill()
		a.cmd.Wait()
	}
}

// container makes one of its own.
func (a *azurite) container(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("study-%d", a.containers.Add(1))
	if _, err := a.client.CreateContainer(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
	return name
}

// put stores a blob and returns when, as the service has it.
func (a *azurite) put(t testing.TB, container, name string, body []byte) time.Time {
	t.Helper()
	got, err := a.client.UploadBuffer(t.Context(), container, name, body, nil)
	if err != nil || got.LastModified == nil {
		t.Fatal(name, err)
	}
	return got.LastModified.UTC()
}

// fill stores files below a prefix, and notes their times in files.
func (a *azurite) fill(t testing.TB, container, prefix string, files map[string]harness.File) {
	t.Helper()
	for name, f := range files {
		f.Mod = a.put(t, container, prefix+name, f.Body)
		files[name] = f
	}
}

// archive moves a blob to the archive tier.
func (a *azurite) archive(t testing.TB, container, name string) {
	t.Helper()
	if _, err := a.client.ServiceClient().NewContainerClient(container).NewBlobClient(name).SetTier(t.Context(), blob.AccessTierArchive, nil); err != nil {
		t.Fatal(err)
	}
}

// sas returns a signature for reading and listing a container until then.
func (a *azurite) sas(t testing.TB, container string, until time.Time) string {
	t.Helper()
	address, err := a.client.ServiceClient().NewContainerClient(container).GetSASURL(sas.ContainerPermissions{Read: true, List: true}, until, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(address, "?")
	return query
}
