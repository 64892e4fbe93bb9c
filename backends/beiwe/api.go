package beiwe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"studyfs/backends"
)

// The routes (urls.py of the server); all but the data's have been where they are since the version that brought them.
const (
	routeStudies      = "/get-studies/v1"
	routeUsers        = "/get-users/v1"
	routePeople       = "/get-participant-ids/v1"
	routeSummary      = "/get-summary-statistics/v1"
	routeSettings     = "/get-study-settings/v1"
	routeTable        = "/get-participant-table-data/v1"
	routeIntervention = "/get-interventions/v1"
	routeHistory      = "/get-survey-history/v1"
	routeData         = "/get-data/v1"
	routeDataZstd     = "/get-data/v2"
)

// maxAnswer bounds answers that are held in memory: lists of names, settings.
const maxAnswer = 64 << 20

// decode reads one JSON value and nothing behind it.
func decode(r io.Reader, into any) error {
	d := json.NewDecoder(io.LimitReader(r, maxAnswer))
	if err := d.Decode(into); err != nil {
		return badAnswer(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one value", backends.ErrBadAnswer)
	}
	return nil
}

// badAnswer says that an answer was not what it should be, unless the network is to blame.
func badAnswer(err error) error {
	if errors.Is(err, backends.ErrUnreachable) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", backends.ErrBadAnswer, err)
}

// studies returns the names of the studies that the keys open, by their ids. Only here does "forbidden" mean the keys themselves.
func (c *client) studies(ctx context.Context) (map[string]string, error) {
	var titles map[string]string
	err := c.do(ctx, call{op: "list studies", path: routeStudies}, func(r io.Reader) error { return decode(r, &titles) })
	if errors.Is(err, backends.ErrPermission) {
		err = fmt.Errorf("list studies: %w", backends.ErrAuth)
		c.note(err)
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	for id := range titles {
		if !validStudy(id) {
			return nil, fmt.Errorf("list studies: %w: an id that cannot be one", backends.ErrBadAnswer)
		}
	}
	return titles, nil
}

func validStudy(id string) bool { return len(id) == 24 && validPerson(id) }

// ofStudy is a request about one study. "Forbidden" can mean the keys or the study: the list of studies tells which.
func (c *client) ofStudy(ctx context.Context, q call, study string, use func(io.Reader) error) error {
	if q.form == nil {
		q.form = url.Values{}
	}
	q.form.Set("study_id", study)
	err := c.do(ctx, q, use)
	if errors.Is(err, backends.ErrPermission) {
		if _, keys := c.studies(ctx); errors.Is(keys, backends.ErrAuth) {
			return keys
		}
	}
	return err
}

// people returns all participants' ids, those without data, retired and deleted ones included.
func (c *client) people(ctx context.Context, study string) (ids []string, err error) {
	for _, route := range []string{routePeople, routeUsers} { // the second is what servers before 2024-06 have
		err = c.ofStudy(ctx, call{op: "list participants", path: route}, study, func(r io.Reader) error { return decode(r, &ids) })
		if !unknownRoute(err) {
			return ids, err
		}
	}
	return ids, err
}

// unknownRoute reports whether a server is too old for what was asked: it answers with a page.
func unknownRoute(err error) bool {
	var answer *answerError
	return errors.As(err, &answer) && answer.status == http.StatusNotFound && answer.html
}

// zone returns the name of the study's time zone; ErrNotExist from servers before 2025-03.
func (c *client) zone(ctx context.Context, study string) (string, error) {
	var settings struct {
		Zone string `json:"study_time_zone"`
	}
	err := c.ofStudy(ctx, call{op: "read settings", path: routeSettings}, study, func(r io.Reader) error { return decode(r, &settings) })
	return settings.Zone, err
}

// hasZstd asks whether the server has version 2 of its data route: a GET, which needs no keys and is refused by both, differently.
func (c *client) hasZstd(ctx context.Context) (bool, error) {
	err := c.do(ctx, call{op: "look for version 2", path: routeDataZstd, get: true}, func(io.Reader) error { return nil })
	var answer *answerError
	switch {
	case err == nil:
		return false, nil // a server that answers that is none of ours
	case errors.As(err, &answer) && answer.status < http.StatusInternalServerError:
		c.note(nil)
		return answer.status == http.StatusBadRequest || answer.status == http.StatusMethodNotAllowed, nil
	}
	return false, err
}

// row is what the server says of one participant's day: bytes per stream.
type row struct {
	person string
	day    Day
	bytes  map[string]int64
}

// summary reads the bytes per participant, stream and day from a day on; 0 means all. Filters are in the address: in the body they
// are ignored. size is that of the answer.
func (c *client) summary(ctx context.Context, study string, from Day, use func(row) error) (size int64, err error) {
	q := call{op: "read summary", path: routeSummary, query: url.Values{"fields": {summaryFields()}}}
	if from != 0 {
		q.query.Set("start_date", from.String())
	}
	read := func(r io.Reader) error {
		counted := &counter{r: r}
		defer func() { size = counted.n }()
		return readRows(counted, use)
	}
	err = c.ofStudy(ctx, q, study, read)
	var answer *answerError
	if errors.As(err, &answer) && answer.status == http.StatusBadRequest { // a server that knows other fields
		q.query.Del("fields")
		err = c.ofStudy(ctx, q, study, read)
	}
	return size, err
}

func summaryFields() string {
	var fields strings.Builder
	fields.WriteString("date,participant_id")
	for _, s := range Streams() {
		fields.WriteString(",beiwe_" + s + "_bytes")
	}
	return fields.String()
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// readRows reads the list as it comes: 100 participants' year is 25 MB.
func readRows(r io.Reader, use func(row) error) error {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return badAnswer(errors.Join(errors.New("not a list"), err))
	}
	for d.More() {
		var fields map[string]json.RawMessage
		if err := d.Decode(&fields); err != nil {
			return badAnswer(err)
		}
		one, err := parseRow(fields)
		if err != nil {
			return badAnswer(err)
		}
		if err := use(one); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // the closing bracket: without it the list is not whole
		return badAnswer(err)
	}
	return nil
}

func parseRow(fields map[string]json.RawMessage) (row, error) {
	one := row{bytes: map[string]int64{}}
	text := func(key string) (s string) {
		json.Unmarshal(fields[key], &s) //nolint:errcheck // "" where it is missing or null
		return s
	}
	one.person = text("participant_id")
	var err error
	if one.day, err = ParseDay(text("date")); err != nil || !validPerson(one.person) {
		return one, errors.New("a row without date or participant")
	}
	for key, value := range fields {
		name, ok := streamOfField(key)
		if !ok {
			continue
		}
		var n *float64 // null where nothing is known; some servers write 12.0
		if err := json.Unmarshal(value, &n); err != nil || n != nil && (*n < 0 || *n > 1<<50) {
			return one, errors.New("a number of bytes that is none")
		}
		if n != nil && *n > 0 {
			one.bytes[name] = int64(*n)
		}
	}
	return one, nil
}

// streamOfField takes the stream out of "beiwe_gps_bytes".
func streamOfField(key string) (stream string, ok bool) {
	if stream, ok = strings.CutPrefix(key, "beiwe_"); ok {
		stream, ok = strings.CutSuffix(stream, "_bytes")
	}
	return stream, ok && validStream(stream)
}
