package mounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"studyfs/tests/harness"
)

// WriteBack is how long a file must have been left alone before it is uploaded, where a program can be told.
const WriteBack = time.Second

var errMissing = errors.New("not installed") // a sentinel of this package

// Clone is rclone, as it comes or tuned for reading.
type Clone struct {
	Program string // "" if there is none
	Tuned   bool
}

// Name tells the forms apart.
func (c Clone) Name() string {
	if c.Tuned {
		return RcloneTuned
	}
	return Rclone
}

// Version is what the program says.
func (c Clone) Version() (string, error) {
	if c.Program == "" {
		return "", fmt.Errorf("%w (go install github.com/rclone/rclone@v1.75.1)", errMissing)
	}
	return say(c.Program, "version")
}

// Mount runs `rclone mount`. The tuned form keeps whole files on disk, asks for many ranges at once and leaves out the request for each
// file's own time.
func (c Clone) Mount(ctx context.Context, p Place) (*Mount, error) {
	config := filepath.Join(p.Home, "rclone.conf")
	text := fmt.Sprintf("[s3]\ntype = s3\nprovider = Other\naccess_key_id = %s\nsecret_access_key = %s\nendpoint = %s\nregion = us-east-1\nno_check_bucket = true\nlist_version = 2\n",
		harness.ID, harness.Secret, p.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	verb, more := "mount", []string{}
	switch {
	case c.Tuned:
		verb, more = "mount2", []string{
			"--vfs-cache-mode", "full", "--use-server-modtime", "--vfs-fast-fingerprint", "--vfs-read-chunk-size", "4M", "--vfs-read-chunk-streams", "16",
			"--transfers", "8",
		}
	case p.Write:
		more = []string{"--vfs-cache-mode", "writes"}
	}
	if p.Write {
		more = append(more, "--vfs-write-back", WriteBack.String())
	}
	args := append([]string{verb, "--config", config, "--cache-dir", filepath.Join(p.Home, ".cache")}, more...)
	return serve(ctx, p, nil, c.Program, append(args, "s3:"+p.Bucket, p.Dir)...)
}

// Fuse is s3fs as it comes.
type Fuse struct {
	Program string // "" if there is none
}

// Name is that of the program.
func (Fuse) Name() string { return S3fs }

// Version is what the program says.
func (f Fuse) Version() (string, error) {
	if f.Program == "" {
		return "", fmt.Errorf("%w (Debian package s3fs)", errMissing)
	}
	return say(f.Program, "--version")
}

// Mount runs s3fs with no more than what it needs to reach the store.
func (f Fuse) Mount(ctx context.Context, p Place) (*Mount, error) {
	keys := filepath.Join(p.Home, "passwd-s3fs")
	if err := os.WriteFile(keys, []byte(harness.ID+":"+harness.Secret+"\n"), 0o600); err != nil {
		return nil, err
	}
	return serve(ctx, p, nil, f.Program, p.Bucket, p.Dir, "-f", "-o", "url="+p.URL, "-o", "use_path_request_style", "-o", "endpoint=us-east-1",
		"-o", "listobjectsv2", "-o", "passwd_file="+keys)
}

// Find returns the path of a program: of a variable, in PATH or beside what `go install` makes; "" if there is none.
func Find(variable, name string) string {
	for _, candidate := range []string{os.Getenv(variable), name, filepath.Join(gobin(), name)} {
		if path, err := exec.LookPath(candidate); candidate != "" && err == nil {
			return path
		}
	}
	return ""
}

func gobin() string {
	dir, err := say("go", "env", "GOPATH")
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "bin")
}
