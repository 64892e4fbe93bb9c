package azure

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"studyfs/backends"
	"studyfs/backends/azure/azuretest"
)

// Whoever puts a new SAS in the place of one that has expired need not mount again.
func TestNewKeyIsTakenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sas")
	load := func() (Key, error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return Key{}, err
		}
		return ParseKey(string(text))
	}
	write := func(sig string) {
		if err := os.WriteFile(path, []byte("?sv=2024-11-04&sp=rl&sig="+url.QueryEscape(sig)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("an old one")
	now := time.Unix(1_800_000_000, 0)
	srv, src := serve(t, azuretest.Options{Signature: "new"}, func(o *Options) {
		key, err := load()
		if err != nil {
			t.Fatal(err)
		}
		o.Credentials, o.Now = StaticFrom(key, path, load), func() time.Time { return now }
	})
	srv.Put("v2/001/a", azuretest.Blob{Body: []byte("x")})
	if _, err := src.Stat(t.Context(), "a"); !errors.Is(err, backends.ErrAuth) {
		t.Fatalf("with the old key: %v", err)
	}
	write("new")
	now = now.Add(rekeyEvery)
	if _, err := src.Stat(t.Context(), "a"); err != nil {
		t.Errorf("with the new key: %v", err)
	}
}

func TestParseKey(t *testing.T) {
	for text, sas := range map[string]bool{
		accountKey + "\n":                      false,
		"?sv=2024-11-04&sr=c&sp=rl&sig=abc%3D": true,
		"https://lab.blob.core.windows.net/study?sv=2024-11-04&sp=rl&sig=abc":                                            true,
		"DefaultEndpointsProtocol=https;AccountName=lab;AccountKey=" + accountKey + ";EndpointSuffix=core.windows.net":   false,
		"BlobEndpoint=https://lab.blob.core.windows.net/;SharedAccessSignature=sv=2024-11-04&ss=b&srt=sco&sp=rl&sig=abc": true,
	} {
		if k, err := ParseKey(text); err != nil || k.sas != sas {
			t.Errorf("%s: %+v, %v", text, k, err)
		}
	}
	for _, text := range []string{"", "hunter2", "sv=2024-11-04&sp=rl", "AccountKey=;x"} {
		if _, err := ParseKey(text); !errors.Is(err, ErrKey) || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// token is an access token as Microsoft Entra makes them, without a signature that anybody could check here.
func token(name string, end time.Time) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"typ":"JWT","alg":"RS256"}`) + "." + part(fmt.Sprintf(`{"oid":%q,"exp":%d}`, name, end.Unix())) + "." + part("signed")
}

// A lab that has switched account keys off reads as somebody: with tokens that end after an hour, while a copy takes all night.
func TestTokensAreRenewed(t *testing.T) {
	now := time.Now()
	first, second := token("first", now.Add(time.Minute)), token("second", now.Add(time.Hour))
	key, err := ParseKey(`{"accessToken": "` + first + `", "expiresOn": "2026-11-21 15:00:00.000000", "tokenType": "Bearer"}`)
	if err != nil || !key.IsToken() || key.Reveal() != first {
		t.Fatalf("%v, %v", key, err)
	}
	asked := 0
	renew := func() (Key, error) {
		if asked++; asked > 1 {
			return Key{}, errors.New("somebody has to log in again")
		}
		return ParseKey(second + "\n")
	}
	clock := atomic.Pointer[time.Time]{}
	clock.Store(&now)
	srv, src := serve(t, azuretest.Options{Token: second, Signature: "none"}, quick, func(o *Options) {
		o.Credentials, o.Now = Renewed(key, renew), func() time.Time { return *clock.Load() }
	})
	srv.Put("v2/001/a", azuretest.Blob{Body: []byte("x")})
	for range 3 {
		if _, err := src.Stat(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for a token", asked)
	}
	end := &identity{now: func() time.Time { return now.Add(2 * time.Hour) }, read: renew, key: mustParse(t, second)}
	if got, err := end.GetToken(t.Context(), policy.TokenRequestOptions{}); !errors.Is(err, backends.ErrAuth) || got.Token != "" {
		t.Errorf("after its end: %v", err)
	}
	if f := understand(t.Context(), fmt.Errorf("request: %w", backends.ErrAuth)); !errors.Is(f.kind, backends.ErrAuth) || f.again {
		t.Errorf("%+v", f)
	}
}

func mustParse(t *testing.T, text string) Key {
	t.Helper()
	k, err := ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What only looks like a token is not sent as one.
func TestOddTokens(t *testing.T) {
	for _, text := range []string{"eyJ.eyJ.x", "a.b.c", "{}", `{"accessToken": "hunter2"}`, "eyJ" + strings.Repeat("A", 60)} {
		if k, err := ParseKey(text); err == nil && k.IsToken() {
			t.Errorf("%q is taken for a token", text)
		}
	}
}
