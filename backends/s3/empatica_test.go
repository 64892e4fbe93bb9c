package s3

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestReadKeysForms(t *testing.T) {
	const id, secret, url = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s3://bucket/v2/0042/"
	for name, text := range map[string]string{
		"as documented":     "ACCESS KEY ID,SECRET ACCESS KEY,S3 ACCESS URL\n" + id + "," + secret + "," + url + "\n",
		"BOM and CRLF":      "\xef\xbb\xbfAccess Key ID,Secret Access Key,S3 Access URL\r\n" + id + "," + secret + "," + url + "\r\n",
		"quoted":            `"access_key_id","secret_access_key","s3_access_url"` + "\n" + `"` + id + `","` + secret + `","` + url + `"`,
		"other order":       "S3 ACCESS URL,name,SECRET ACCESS KEY,ACCESS KEY ID\n" + url + ",me," + secret + "," + id,
		"vertical":          "ACCESS KEY ID," + id + "\nSECRET ACCESS KEY," + secret + "\nS3 ACCESS URL," + url + "\n",
		"vertical, header":  "field,value\nAccess key ID," + id + "\nSecret access key," + secret + "\nS3 access URL," + url,
		"unknown header":    "kennung,geheim,ort\n" + id + "," + secret + "," + url,
		"no header":         id + "," + secret + "," + url,
		"semicolons":        "ACCESS KEY ID;SECRET ACCESS KEY;S3 ACCESS URL\n" + id + ";" + secret + ";" + url,
		"spaces":            "ACCESS KEY ID , SECRET ACCESS KEY , S3 ACCESS URL\n " + id + " , " + secret + " , " + url + " \n",
		"AWS without a URL": "Access key ID,Secret access key\n" + id + "," + secret,
	} {
		k, err := ReadKeys(strings.NewReader(text))
		wantURL := url
		if strings.Contains(name, "without") {
			wantURL = ""
		}
		if err != nil || k.AccessKey != id || k.SecretKey.Reveal() != secret || k.URL != wantURL {
			t.Errorf("%s: %q %q %q, %v", name, k.AccessKey, k.SecretKey.Reveal(), k.URL, err)
		}
		js, _ := json.Marshal(k)
		if s := fmt.Sprintf("%v %+v %#v %s", k, k, k, js); strings.Contains(s, secret) {
			t.Errorf("%s: the secret can be printed: %s", name, s)
		}
	}
	for _, text := range []string{"", "a,b,c", "ACCESS KEY ID,SECRET ACCESS KEY\n,", "\"unclosed", strings.Repeat("x", 100_000)} {
		if _, err := ReadKeys(strings.NewReader(text)); !errors.Is(err, ErrKeysFile) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"s3://bucket/v2/001/": "bucket v2/001/", "s3://bucket": "bucket ", "s3://bucket/": "bucket ", "s3://bucket/a": "bucket a",
		"https://bucket.s3.amazonaws.com/": "", "bucket/v2": "", "s3://": "", "s3://-/x": "", "s3://b\nc/": "",
	} {
		bucket, prefix, err := ParseURL(text)
		if got := bucket + " " + prefix; err == nil && got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestEmpaticaTTL(t *testing.T) {
	now := time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC)
	for day, want := range map[string]time.Duration{
		"2026-11-21": time.Minute, "2026-11-20": time.Minute, "2026-11-15": 10 * time.Minute, "2026-10-01": time.Hour,
	} {
		if got := EmpaticaTTL("1/1/participant_data/"+day+"/P-3YK/raw_data", now); got != want {
			t.Errorf("%s: %v", day, got)
		}
	}
	if got := EmpaticaTTL("1/1", now); got != time.Minute {
		t.Errorf("above the days: %v", got)
	}
}

func TestContentRange(t *testing.T) {
	for header, ok := range map[string]bool{
		"bytes 0-9/10": true, "bytes 5-5/6": true, "bytes 0-10/10": false, "bytes 9-0/10": false, "bytes 0-9/*": false, "0-9/10": false,
		"bytes -9/10": false, "bytes */10": false, "": false,
	} {
		if _, _, _, got := parseContentRange(header); got != ok {
			t.Errorf("%q: %v", header, got)
		}
	}
}

func FuzzReadKeys(f *testing.F) {
	f.Add("ACCESS KEY ID,SECRET ACCESS KEY\nAKIA,s")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ReadKeys(strings.NewReader(text))
		if err == nil && (k.AccessKey == "" || k.SecretKey.Empty()) {
			t.Error("empty keys without an error")
		}
		if err != nil && !errors.Is(err, ErrKeysFile) {
			t.Error(err)
		}
	})
}

func FuzzParseURL(f *testing.F) {
	f.Add("s3://bucket/prefix/")
	f.Fuzz(func(t *testing.T, text string) {
		bucket, prefix, err := ParseURL(text)
		if err == nil && (bucket == "" || strings.Contains(bucket, "/") || strings.ContainsAny(prefix, "\n\x00")) {
			t.Errorf("%q gave %q %q", text, bucket, prefix)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-9/10")
	f.Fuzz(func(t *testing.T, header string) {
		first, last, total, ok := parseContentRange(header)
		if ok && (first < 0 || last < first || total <= last) {
			t.Errorf("%q: %d %d %d", header, first, last, total)
		}
	})
}
