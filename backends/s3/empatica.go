package s3

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"

	"studyfs/backends"
)

// ErrKeysFile says that a file does not hold keys in a form that is understood.
var ErrKeysFile = errors.New("not a Data Access Keys file")

// maxKeysFile bounds what is read of a keys file: a real one has three fields.
const maxKeysFile = 64 << 10

// ReadKeys reads the file of Data Access Keys that Empatica's Care Portal gives: a CSV with ACCESS KEY ID, SECRET ACCESS KEY and S3 ACCESS URL. Its exact
// header was never published, so columns are found by name, whatever their order, case and punctuation, in rows or in columns, and
// failing that by the shape of their values. AWS's own download, which lacks the URL, is read too; then Keys.URL is "". No error
// holds anything of the file's contents.
func ReadKeys(r io.Reader) (Keys, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxKeysFile+1))
	if err != nil {
		return Keys{}, fmt.Errorf("read keys: %w", err)
	}
	if len(raw) > maxKeysFile {
		return Keys{}, fmt.Errorf("%w: larger than %d bytes", ErrKeysFile, maxKeysFile)
	}
	rows, err := readRows(raw)
	if err != nil {
		return Keys{}, err
	}
	fields := byHeader(rows)
	if fields["accesskeyid"] == "" || fields["secretaccesskey"] == "" {
		fields = byShape(rows, fields)
	}
	switch {
	case fields["accesskeyid"] == "":
		return Keys{}, fmt.Errorf("%w: it has no access key id", ErrKeysFile)
	case fields["secretaccesskey"] == "":
		return Keys{}, fmt.Errorf("%w: it has no secret access key", ErrKeysFile)
	}
	return Keys{
		AccessKey: fields["accesskeyid"], SecretKey: backends.NewSecret(fields["secretaccesskey"]), URL: fields["s3accessurl"],
	}, nil
}

func readRows(raw []byte) ([][]string, error) {
	c := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))))
	c.FieldsPerRecord = -1
	c.TrimLeadingSpace = true
	c.LazyQuotes = true
	if first, _, _ := bytes.Cut(raw, []byte("\n")); bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		c.Comma = ';' // what spreadsheets save where the comma is the decimal sign
	}
	rows, err := c.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%w: it is no CSV", ErrKeysFile)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
	}
	return rows, nil
}

// plain is what is left of a header to compare: small letters and digits.
func plain(header string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, header)
}

// byHeader finds fields by name: in a header row above their values, or each in front of its value.
func byHeader(rows [][]string) map[string]string {
	fields := map[string]string{}
	for i, row := range rows {
		for j, cell := range row {
			if !isHeader(cell) {
				continue
			}
			name, value := plain(cell), ""
			if len(row) == 2 && j == 0 && !isHeader(row[1]) {
				value = row[1]
			} else if i+1 < len(rows) && j < len(rows[i+1]) {
				value = rows[i+1][j]
			}
			if fields[name] == "" && !isHeader(value) {
				fields[name] = value
			}
		}
	}
	return fields
}

func isHeader(cell string) bool {
	name := plain(cell)
	return name == "accesskeyid" || name == "secretaccesskey" || name == "s3accessurl"
}

// byShape recognises values by what they look like.
func byShape(rows [][]string, fields map[string]string) map[string]string {
	shapes := map[string]*regexp.Regexp{
		"accesskeyid":     regexp.MustCompile(`^(AKIA|ASIA)[A-Z0-9]{16}$`),
		"secretaccesskey": regexp.MustCompile(`^[A-Za-z0-9/+=]{40}$`),
		"s3accessurl":     regexp.MustCompile(`^s3://`),
	}
	for _, row := range rows {
		for _, cell := range row {
			for name, shape := range shapes {
				if fields[name] == "" && shape.MatchString(cell) {
					fields[name] = cell
				}
			}
		}
	}
	return fields
}

// ErrURL says that a text is no address of a bucket.
var ErrURL = errors.New("not an address of the form s3://bucket/prefix/")

var bucketName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]$`)

// ParseURL cuts s3://bucket/prefix/ into bucket and prefix. The prefix is returned as it stands: whether it lacks its slash is for the caller
// to mend and to tell.
func ParseURL(text string) (bucket, prefix string, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "s3://")
	if !ok {
		if strings.HasPrefix(text, "http") {
			return "", "", fmt.Errorf("%w: it is a web address", ErrURL)
		}
		return "", "", ErrURL
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	if !bucketName.MatchString(bucket) {
		return "", "", fmt.Errorf("%w: bucket names have 3 to 63 letters, digits, dots and hyphens", ErrURL)
	}
	if strings.ContainsAny(prefix, "\x00\n\r") {
		return "", "", fmt.Errorf("%w: control characters in the prefix", ErrURL)
	}
	return bucket, prefix, nil
}

// EmpaticaTTL tells how long a listing of Empatica's is believed. Day files are rewritten all day and late uploads land in past days: of today and yesterday
// (UTC) a minute, of the last two weeks ten, of older days an hour. Directories above the days are as fresh as today.
func EmpaticaTTL(dir string, now time.Time) time.Duration {
	for part := range strings.SplitSeq(dir, "/") {
		day, err := time.Parse(time.DateOnly, part)
		if err != nil {
			continue
		}
		switch age := now.UTC().Sub(day); {
		case age < 48*time.Hour:
			return time.Minute
		case age < 15*24*time.Hour:
			return 10 * time.Minute
		}
		return time.Hour
	}
	return time.Minute
}
