package s3

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/s3/s3test"
)

// The keys of a mounted study are revoked, and new ones put where the old ones were. Nobody mounts again for that.
func TestNewKeysAreTakenUp(t *testing.T) {
	for _, kind := range []string{"profile", "file"} {
		t.Run(kind, func(t *testing.T) {
			srv, url := server(t, s3test.Options{})
			path := filepath.Join(t.TempDir(), "keys")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
			t.Setenv("AWS_CONFIG_FILE", path+".config")
			put := func(id, secret string) Keys {
				text := fmt.Sprintf("[lab]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return Keys{AccessKey: id, SecretKey: backends.NewSecret(secret)}
			}
			keys := put(testID, testSecret)
			o := options(url)
			clock := time.Unix(1_800_000_000, 0)
			o.Now = func() time.Time { return clock }
			o.Region = "us-east-1"
			if o.Credentials = Profile("lab"); kind == "file" {
				o.Credentials = StaticFrom(keys, path, func() (Keys, error) { return keys, nil })
			}
			s := open(t, o)
			list := func() error {
				for _, err := range s.List(t.Context(), "") {
					return err
				}
				return nil
			}
			if err := list(); err != nil {
				t.Fatal(err)
			}
			srv.Revoke(testID)
			if err := list(); !errors.Is(err, backends.ErrAuth) {
				t.Fatalf("revoked keys: %v", err)
			}
			const other = "AKIAOTHEROTHEROTHERX"
			srv.AddKey(s3test.AccessKey{ID: other, Secret: testSecret})
			keys = put(other, testSecret)
			if err := os.Chtimes(path, clock, clock); err != nil { // the disk's clock may be too coarse to tell
				t.Fatal(err)
			}
			clock = clock.Add(rekeyEvery)
			if err := list(); err != nil {
				t.Errorf("new keys: %v", err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			clock = clock.Add(rekeyEvery)
			if err := list(); err != nil && kind == "profile" {
				t.Errorf("the file is gone for a moment: %v", err)
			}
		})
	}
}
