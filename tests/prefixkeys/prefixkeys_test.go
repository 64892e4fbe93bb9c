// Package prefixkeys mounts with keys that a real server limits to a prefix, as Empatica's are: versitygw and its IAM service. It
// is a package of its own since there can be one gateway per process.
package prefixkeys

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"studyfs/backends"
	ours "studyfs/backends/s3"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func await(t *testing.T, url string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
	}
	t.Fatalf("%s does not answer", url)
}

// start runs the IAM service and a gateway that asks it, and returns their addresses.
func start(t *testing.T) (iamURL, s3URL string) {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"iam", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	running := 0
	t.Cleanup(func() {
		cancel()
		for range running {
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
			}
		}
	})
	iamAddr, s3Addr := freePort(t), freePort(t)
	socket := filepath.Join(dir, "iam.sock")
	running++
	go func() {
		ended <- embedgw.RunIAMAPI(ctx, &embedgw.IAMConfig{
			RootUserAccess: harness.ID, RootUserSecret: harness.Secret, Ports: []string{iamAddr}, PrivatePorts: []string{socket},
			IAMDir: filepath.Join(dir, "iam"), MaxConnections: 100, MaxRequests: 100, Quiet: true, HealthPath: "/health", Region: "us-east-1",
		})
	}()
	await(t, "http://"+iamAddr+"/health")
	be, err := posix.New(filepath.Join(dir, "root"), meta.XattrMeta{}, posix.PosixOpts{})
	if err != nil {
		t.Fatal(err)
	}
	running++
	go func() {
		ended <- embedgw.RunVersityGW(ctx, be, &embedgw.Config{
			RootUserAccess: harness.ID, RootUserSecret: harness.Secret, Region: "us-east-1", Ports: []string{s3Addr}, Quiet: true, KeepAlive: true,
			HealthPath: "/health", MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000,
			StandaloneIAMEndpoint: socket, IAMCacheDisable: true,
		})
	}()
	await(t, "http://"+s3Addr+"/health")
	return "http://" + iamAddr, "http://" + s3Addr
}

const policy = `{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::empatica","Condition":{"StringLike":{"s3:prefix":["v2/4711/*","v2/4711/"]}}},
{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::empatica/v2/4711/*"}]}`

func TestKeysLimitedToAPrefix(t *testing.T) {
	iamURL, s3URL := start(t)
	root := credentials.NewStaticCredentialsProvider(harness.ID, harness.Secret, "")
	users := iam.New(iam.Options{BaseEndpoint: &iamURL, Region: "us-east-1", Credentials: root})
	store := s3.New(s3.Options{BaseEndpoint: &s3URL, Region: "us-east-1", UsePathStyle: true, Credentials: root})
	name := aws.String("empa")
	_, err := users.CreateUser(t.Context(), &iam.CreateUserInput{UserName: name})
	if err == nil {
		_, err = users.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("p"), PolicyDocument: aws.String(policy)})
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := users.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]harness.File{"1/1/day/a.csv": {Body: []byte("mine")}, "1/1/day/b.csv": {Body: harness.Pattern(1, 5<<20)}}
	harness.FillGateway(t, store, "empatica", "v2/4711/", files)
	e := harness.New(t)
	csv := filepath.Join(e.Home, "portal.csv")
	text := "ACCESS KEY ID,SECRET ACCESS KEY,S3 ACCESS URL\n" + *key.AccessKey.AccessKeyId + "," + *key.AccessKey.SecretAccessKey + ",s3://empatica/v2/4711/\n"
	if err := os.WriteFile(csv, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := e.Mount("empatica:"+csv, "--endpoint-url", s3URL)
	harness.Compare(t, dir, files)
	if _, err := os.Stat(filepath.Join(dir, "1/1/day/none")); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
	src, err := ours.Open(t.Context(), ours.Options{
		Bucket: "empatica", Prefix: "v2/4711/", Endpoint: s3URL,
		Credentials: ours.Static(ours.Keys{AccessKey: *key.AccessKey.AccessKeyId, SecretKey: backends.NewSecret(*key.AccessKey.SecretAccessKey)}),
	})
	if err != nil || src.Region() != "us-east-1" {
		t.Fatalf("region from a refused HeadBucket: %v", err)
	}
	if _, err := src.Stat(t.Context(), "1/none"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("stat of a missing name: %v", err)
	}
	for _, beyond := range []string{"", "v2/", "v2/4712/"} {
		src, err := ours.Open(t.Context(), ours.Options{
			Bucket: "empatica", Prefix: beyond, Endpoint: s3URL, Region: "us-east-1",
			Credentials: ours.Static(ours.Keys{AccessKey: *key.AccessKey.AccessKeyId, SecretKey: backends.NewSecret(*key.AccessKey.SecretAccessKey)}),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.WalkPage(t.Context(), "", ""); !errors.Is(err, backends.ErrPermission) {
			t.Errorf("prefix %q: %v", beyond, err)
		}
	}
	// The portal's owner revokes the keys: one clear message.
	if _, err := users.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: key.AccessKey.AccessKeyId}); err != nil {
		t.Fatal(err)
	}
	e.Unmount(dir)
	if r := e.Run("mount", "empatica:"+csv, "--endpoint-url", s3URL, dir); r.Code != 77 {
		t.Errorf("revoked keys: exit %d\n%s", r.Code, r.Err)
	}
}
