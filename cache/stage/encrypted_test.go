package stage

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"studyfs/cache/stage/vault"
)

// encryptedEnv has all tests of this package run on encrypted stages.
const encryptedEnv = "STUDYFS_TEST_ENCRYPTED"

func testKey() []byte {
	if os.Getenv(encryptedEnv) == "" {
		return nil
	}
	return []byte("0123456789abcdef0123456789abcdef")
}

// testCiphers are those of the stages of this run, nil if they are in clear.
func testCiphers() *ciphers {
	c, err := newCiphers(testKey())
	if err != nil {
		panic(err)
	}
	return c
}

func (r record) encode(b []byte, seq, sure uint64) ([]byte, error) {
	return testCiphers().encode(r, b, seq, sure)
}

func decodeRecord(b []byte) (numbered, int) { return testCiphers().decode(b) }
func replay(b []byte) replayed              { return testCiphers().replay(b) }

// readStaged is os.ReadFile of a staged file as programs see it. What never got its key has no bytes.
func readStaged(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	c := testCiphers()
	if err != nil || c == nil {
		return raw, err
	}
	number, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), scrubExt), 16, 64)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v, err := c.files.Open(onDisk{File: f}, number, vault.State{Length: int64(len(raw))})
	if errors.Is(err, vault.ErrKey) && allZeros(raw[:min(len(raw), 100)]) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, v.Size())
	if n, err := v.ReadAt(b, 0); err != nil && (!errors.Is(err, io.EOF) || n < len(b)) {
		return nil, err
	}
	return b, nil
}

func allZeros(b []byte) bool { return strings.Trim(string(b), "\x00") == "" }

// All that is promised of a stage is promised of an encrypted one.
func TestAllThatOnAnEncryptedStage(t *testing.T) {
	if testKey() != nil {
		t.Skip("this is it")
	}
	args := []string{"-test.short=" + strconv.FormatBool(testing.Short()), "-test.timeout=20m"}
	if os.Getenv("STUDYFS_FULL") == "" { // the others are the same whatever lies on the disk, or slow
		args = append(args, "-test.run=FailedCall|Tick|Flipped|Sidecars|Strange|Replace|Copy|Adopt|Model|UploadOf|UploadFinds|Scrub|Quota")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), encryptedEnv+"=1")
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		cmd.Env = append(cmd.Env, "TMPDIR=/dev/shm") // crashes are simulated: it need not wait for a disk
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
