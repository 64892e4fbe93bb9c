package harness

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// Demo is what studyfs demo --servers prints.
type Demo struct {
	S3 struct {
		Endpoint  string   `json:"endpoint"`
		AccessKey string   `json:"access_key"`
		SecretKey string   `json:"secret_key"`
		Buckets   []string `json:"buckets"`
	} `json:"s3"`
	Beiwe struct {
		URL        string `json:"url"`
		Keyring    string `json:"keyring"`
		Passphrase string `json:"passphrase"`
	} `json:"beiwe"`
	Empatica struct {
		KeysCSV string `json:"keys_csv"`
	} `json:"empatica"`
}

// StartDemo starts the servers of studyfs demo as a process of their own, until the end of the test.
func StartDemo(t testing.TB) Demo {
	t.Helper()
	cmd := exec.Command(Program(t), "demo", "--servers")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	var s Demo
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return s
}
