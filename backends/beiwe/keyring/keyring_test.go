package keyring

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"studyfs/backends"
	"studyfs/backends/crypt/cryptease"
)

// A keyring that mano's own tools made, with its passphrase.
const (
	vectorPassphrase = "pässwörd-日本"
	vectorFile       = "DAEAAHsiY2lwaGVyIjogeyJmdW5jdGlvbiI6ICJBRVMiLCAicGFyYW1zIjogeyJiaXRzIjogMjU2LCAibW9kZSI6ICJDRkI4In19LCAia2RmIjogeyJmdW5jdGlvbiI6ICJQQktERjJITUFDIiwgInBhcmFtcyI6IHsic2FsdCI6ICJJOEdrc3E5STdyeTRTNUhCV2dXSjNBRDQxc2dFS2ZQcmp3MVdiZ2s1SG13PSIsICJsZW5ndGgiOiAzMiwgIml0ZXJhdGlvbnMiOiAxMDAwMDAsICJhbGdvcml0aG0iOiAic2hhMjU2In19LCAiaXYiOiAicHZVMXlITWRUcU9ib2NlRDBFUGRGQT09In2m9TXIcx1Oo5uhx4PQQ90U6XChcO1kBig5cRdFmQdjAzLSSc4VKiMUqqXoYiOERG4dgLcBh2EALiUgcor641WMD7C73yAJHf/3vk6gQkuejAMoV2rZ8QvuhFFyN3qUPT+UUngLJBci/04jYt3oKUIf8I0FJn/EI5CgSa7tTd3pJlU3dIUw1xMDPKccZyY4UVRJNMWDFdyIZreSiHassRZoH+fTNDgE1e4i3XlFX9a63hw4whpOX9rHyA=="
)

func unbase64(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// encrypt makes a keyring with the passphrase "x".
func encrypt(t *testing.T, plain string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := cryptease.Encrypt(&out, strings.NewReader(plain), []byte("x"), rand.Reader); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The keyring that somebody used with mano opens as it is.
func TestKeyringOfMano(t *testing.T) {
	k, err := Read(unbase64(t, vectorFile), backends.NewSecret(vectorPassphrase))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Sections(); !slices.Equal(got, []string{"beiwe.onnela"}) {
		t.Errorf("sections %q", got)
	}
	a, err := k.Account("beiwe.onnela")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{a.URL, a.Username, a.Password.Reveal(), a.AccessKey.Reveal(), a.SecretKey.Reveal(), a.Secrets["Study One"].Reveal()}
	if want := []string{"http://127.0.0.1:8080", "u", "p", "AKEY", "SKEY", "lock-secret"}; !slices.Equal(got, want) {
		t.Errorf("account %q; want %q", got, want)
	}
}

func TestWrongPassphrase(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"another passphrase": {unbase64(t, vectorFile), ErrPassphrase},
		"no JSON inside":     {encrypt(t, "key=value"), ErrPassphrase},
		"no object inside":   {encrypt(t, `["a"]`), ErrPassphrase},
		"null inside":        {encrypt(t, "null"), ErrPassphrase},
		"nothing inside":     {encrypt(t, ""), ErrPassphrase},
		"more than one":      {encrypt(t, "{}{}"), ErrPassphrase},
		"not encrypted":      {[]byte(`{"beiwe": {"URL": "https://studies.beiwe.org"}}`), cryptease.ErrFormat},
		"empty":              {nil, cryptease.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			if k, err := Read(c.file, backends.NewSecret("x")); k != nil || !errors.Is(err, c.want) {
				t.Errorf("got %v, %v; want %v", k, err, c.want)
			}
		})
	}
}

func TestDecryptGivesTheTextAsItWas(t *testing.T) {
	const text = "{\n\t\"a\" : 1 ,\r\n \"b\":{\"URL\": \"\\u00e4\"}\n}\n\n"
	got, err := Decrypt(encrypt(t, text), backends.NewSecret("x"))
	if err != nil || string(got) != text {
		t.Errorf("got %q, %v; want %q", got, err, text)
	}
}

// Whoever writes a keyring by hand learns where the comma is missing, and the message does not show what stands there.
func TestSyntaxErrorsTellThePlaceOnly(t *testing.T) {
	_, err := Parse([]byte("{\"beiwe\": {\n  \"URL\": \"x\"\n  SECRETKEY\n}}"))
	if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), "line 3, column 3") || strings.Contains(err.Error(), "'S'") {
		t.Errorf("got %v; want line 3, column 3 and no text", err)
	}
	for _, text := range []string{"", "{", "[]", "null", "7", `"x"`, "{}x"} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v; want ErrSyntax", text, err)
		}
	}
}

const key64 = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"

// A keyring may hold what other programs keep there, and deployments that cannot be used beside those that can.
func TestSections(t *testing.T) {
	k, err := Parse([]byte(`{
		"zeta": {"URL": "https://z.example.org/", "ACCESS_KEY": "` + key64 + `", "SECRET_KEY": "` + key64 + `", "USERNAME": null, "SECRETS": null},
		"beiwe": {"URL": "https://b.example.org/beiwe//", "ACCESS_KEY": "a", "SECRET_KEY": "b", "SECRETS": {"S 1": "x", "S 2": "", "S 3": null}},
		"broken": {"URL": 7}, "xnat": {"url": "https://x.example.org"}, "text": "URL", "list": ["URL"], "null": null, "number": 1.5e300, "": {}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Sections(); !slices.Equal(got, []string{"beiwe", "broken", "zeta"}) {
		t.Errorf("sections %q; want those with a URL, sorted", got)
	}
	z, err := k.Account("zeta")
	if err != nil || z.URL != "https://z.example.org" || z.Username != "" || !z.Password.Empty() || z.Secrets == nil {
		t.Errorf("zeta: %+v, %v", z, err)
	}
	b, err := k.Account("beiwe")
	if err != nil || b.URL != "https://b.example.org/beiwe" || len(b.Secrets) != 1 || b.Secrets["S 1"].Reveal() != "x" {
		t.Errorf("beiwe: %+v, %v; want no slash at the end, and the one passphrase", b, err)
	}
	if _, err := k.Account("beiwe.onela"); !errors.Is(err, ErrNoSection) || !strings.Contains(err.Error(), `"beiwe", "broken", "zeta"`) {
		t.Errorf("no such section: %v; want the names there are", err)
	}
	for _, name := range []string{"broken", "xnat", "text", "list", "null", "number", ""} {
		if a, err := k.Account(name); !errors.Is(err, ErrAccount) || a.URL != "" {
			t.Errorf("%q: %+v, %v; want ErrAccount", name, a, err)
		}
	}
	empty, err := Parse([]byte("{}"))
	if err != nil || len(empty.Sections()) != 0 {
		t.Fatalf("%v, %v; an empty keyring is one", empty, err)
	}
	if _, err := empty.Account("beiwe"); !errors.Is(err, ErrNoSection) || !strings.Contains(err.Error(), "none") {
		t.Errorf("in an empty keyring: %v", err)
	}
}

const planted = "PLANTED"

// A wrong field is named, and never shown: the address may hold a password, and the key is one.
func TestWrongFields(t *testing.T) {
	for name, c := range map[string]struct{ field, value, want string }{
		"no URL":                {"URL", ``, "URL is missing"},
		"URL is null":           {"URL", `null`, "URL is missing"},
		"URL is empty":          {"URL", `""`, "URL is empty"},
		"URL without scheme":    {"URL", `"PLANTED.example.org"`, "https://studies.beiwe.org"},
		"URL of another scheme": {"URL", `"ftp://PLANTED.example.org"`, "https://studies.beiwe.org"},
		"URL without host":      {"URL", `"https:///PLANTED"`, "https://studies.beiwe.org"},
		"URL with port only":    {"URL", `"https://:443/PLANTED"`, "https://studies.beiwe.org"},
		"URL with password":     {"URL", `"https://u:PLANTED@studies.beiwe.org"`, "password"},
		"URL with query":        {"URL", `"https://studies.beiwe.org/?key=PLANTED"`, "without ?"},
		"URL with fragment":     {"URL", `"https://studies.beiwe.org/#PLANTED"`, "without ?"},
		"URL unparsable":        {"URL", `"https://u:PLANTED@[::1"`, "not an address"},
		"URL in clear":          {"URL", `"http://studies.beiwe.org"`, "use https"},
		"URL is a number":       {"URL", `5`, "URL is not a text"},
		"no access key":         {"ACCESS_KEY", ``, "ACCESS_KEY is missing"},
		"access key empty":      {"ACCESS_KEY", `""`, "ACCESS_KEY is empty"},
		"access key with space": {"ACCESS_KEY", `"PLANTED "`, "ACCESS_KEY holds a character"},
		"secret key with quote": {"SECRET_KEY", `"'PLANTED'"`, "SECRET_KEY holds a character"},
		"secret key a list":     {"SECRET_KEY", `["PLANTED"]`, "SECRET_KEY is not a text"},
		"password a list":       {"PASSWORD", `["PLANTED"]`, "PASSWORD is not a text"},
		"username an object":    {"USERNAME", `{"PLANTED": 1}`, "USERNAME is not a text"},
		"secrets a text":        {"SECRETS", `"PLANTED"`, "SECRETS is not a JSON object"},
		"a study's a number":    {"SECRETS", `{"Study One": ["PLANTED"]}`, `"Study One"`},
	} {
		t.Run(name, func(t *testing.T) {
			section := map[string]json.RawMessage{
				"URL": json.RawMessage(`"http://localhost:8080"`), "ACCESS_KEY": json.RawMessage(`"a"`), "SECRET_KEY": json.RawMessage(`"b"`),
			}
			if section[c.field] = json.RawMessage(c.value); c.value == "" {
				delete(section, c.field)
			}
			text, err := json.Marshal(map[string]any{"s": section})
			if err != nil {
				t.Fatal(err)
			}
			k, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			_, err = k.Account("s")
			if !errors.Is(err, ErrAccount) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), planted) {
				t.Errorf("got %v; want ErrAccount, %q and nothing of the value", err, c.want)
			}
		})
	}
}

// Who shows only the end of a chain of errors, as our messages do, shows what is wrong and not only that something is.
func TestTheInnermostErrorTells(t *testing.T) {
	k, err := Parse([]byte(`{"s": {"URL": "https://h"}}`))
	if err != nil {
		t.Fatal(err)
	}
	_, syntax := Parse([]byte("{"))
	_, section := k.Account("x")
	_, account := k.Account("s")
	_, env := FromEnvironment(func(string) string { return "" })
	for want, err := range map[string]error{"line 1": syntax, `it has "s"`: section, "ACCESS_KEY is missing": account, "BEIWE_URL": env} {
		for next := err; next != nil; next = errors.Unwrap(next) {
			err = next
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("innermost: %v; want %q", err, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	from := func(pairs ...string) func(string) string {
		return func(name string) string {
			if i := slices.Index(pairs, name); i >= 0 {
				return pairs[i+1]
			}
			return ""
		}
	}
	a, err := FromEnvironment(from(envURL, "https://studies.beiwe.org/", envAccessKey, key64, envSecretKey, key64, envUsername, "u", envPassword, "p"))
	if err != nil || a.URL != "https://studies.beiwe.org" || a.AccessKey.Reveal() != key64 || a.Username != "u" || a.Password.Reveal() != "p" || a.Secrets == nil {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := FromEnvironment(from(envURL, "http://127.0.0.1:1", envAccessKey, "a", envSecretKey, "b")); err != nil {
		t.Errorf("without name and password: %v; data needs neither", err)
	}
	_, err = FromEnvironment(from(envSecretKey, planted))
	if !errors.Is(err, ErrAccount) || !strings.Contains(err.Error(), "BEIWE_URL and BEIWE_ACCESS_KEY not set") || strings.Contains(err.Error(), planted) {
		t.Errorf("got %v; want the two that are missing", err)
	}
	_, err = FromEnvironment(from(envURL, "https://h", envAccessKey, "a", envSecretKey, planted+"\n"))
	if !errors.Is(err, ErrAccount) || !strings.Contains(err.Error(), "BEIWE_SECRET_KEY holds a character") || strings.Contains(err.Error(), planted) {
		t.Errorf("got %v; want the variable's name", err)
	}
}

// Whatever is printed or logged, and around whatever it is wrapped: no secret.
func TestNothingIsPrinted(t *testing.T) {
	k, err := Parse([]byte(`{"s": {"URL": "https://h", "USERNAME": "u", "PASSWORD": "PLANTED1", "ACCESS_KEY": "PLANTED2", "SECRET_KEY": "PLANTED3",
		"SECRETS": {"Study One": "PLANTED4"}}, "other": {"token": "PLANTED5"}}`))
	if err != nil {
		t.Fatal(err)
	}
	a, err := k.Account("s")
	if err != nil {
		t.Fatal(err)
	}
	type wrapped struct {
		K       *Keyring
		A       Account
		private *Keyring
	}
	var out strings.Builder
	text := slog.New(slog.NewTextHandler(&out, nil))
	jsonLog := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{k, *k, a, &a, wrapped{k, a, k}, []Account{a}, map[string]*Keyring{"k": k}} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&out, format+"\n", v)
		}
		j, err := json.Marshal(v)
		if err != nil {
			t.Errorf("JSON of %T: %v", v, err)
		}
		out.Write(j)
		text.Info("m", "v", v)
		jsonLog.Info("m", "v", v)
	}
	fmt.Fprintln(&out, k.Sections())
	for _, leak := range []string{planted, fmt.Sprintf("%x", planted), fmt.Sprintf("%X", planted), "80 76 65 78 84 69"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q was printed:\n%s", leak, out.String())
		}
	}
	if !strings.Contains(out.String(), `"s"`) || !strings.Contains(out.String(), "Study One") {
		t.Errorf("the names are missing:\n%s", out.String())
	}
}

// FuzzRead begins behind the decryption: its 100,000 rounds would leave no time for anything else.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"s": {"URL": "https://h/", "USERNAME": "u", "PASSWORD": "p", "ACCESS_KEY": "a", "SECRET_KEY": "b", "SECRETS": {"x": "y"}}, "n": null}`))
	f.Add([]byte(`{"s": {"URL": "http://[::1]:80", "ACCESS_KEY": "a", "SECRET_KEY": "b"}}`))
	f.Add([]byte(`{"s": {"URL": "https://u:p@h?q#f"}} `))
	f.Add([]byte("[1]"))
	f.Fuzz(func(t *testing.T, plain []byte) {
		k, err := Parse(plain)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("got %v; want ErrSyntax", err)
			}
			return
		}
		for _, name := range k.Sections() {
			a, err := k.Account(name)
			switch {
			case errors.Is(err, ErrAccount):
			case err != nil:
				t.Fatalf("got %v; want ErrAccount", err)
			case wrongURL(a.URL) != "" || wrongKey(a.AccessKey) != "" || wrongKey(a.SecretKey) != "" || a.Secrets == nil:
				t.Fatalf("an account that cannot be used: %+v", a)
			}
		}
	})
}
