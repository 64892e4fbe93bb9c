package s3test

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// order is a restore that was asked for. It is never changed once it lies in an Object.
type order struct {
	tier  string
	ready time.Time // the copy is there from now on
	until time.Time // and is gone again then; zero: it stays (INTELLIGENT_TIERING)
}

// speed orders the tiers; below 0 for what is none.
func speed(tier string) int { return slices.Index([]string{"Bulk", "Standard", "Expedited"}, tier) }

// RestoreTime is how long AWS says that a restore takes at most ("Archive retrieval options" of the user guide). 0: the class has no such tier.
func RestoreTime(class, tier string) time.Duration {
	deep := class == "DEEP_ARCHIVE" || class == "DEEP_ARCHIVE_ACCESS"
	switch {
	case tier == "Bulk" && deep:
		return 48 * time.Hour
	case tier == "Bulk", tier == "Standard" && deep:
		return 12 * time.Hour
	case tier == "Standard":
		return 5 * time.Hour
	case tier == "Expedited" && !deep:
		return 5 * time.Minute
	}
	return 0
}

// cold is the archive that the object lies in, "" for none. A restore takes an object of INTELLIGENT_TIERING out of it for good.
func (o Object) cold(now time.Time) string {
	switch {
	case o.Class == "GLACIER", o.Class == "DEEP_ARCHIVE":
		return o.Class
	case o.Class == "INTELLIGENT_TIERING" && o.Archive != "" && (o.order == nil || now.Before(o.order.ready)):
		return o.Archive
	}
	return ""
}

// archived reports whether the object must be restored before it can be read.
func (o Object) archived(now time.Time) bool {
	return o.cold(now) != "" && !restored(o.restoring(now))
}

// restoring is the x-amz-restore header, "" for none.
func (o Object) restoring(now time.Time) string {
	switch {
	case o.Restore != "" || o.order == nil:
		return o.Restore
	case now.Before(o.order.ready):
		return `ongoing-request="true"`
	case o.order.until.IsZero(), !now.Before(o.order.until):
		return ""
	}
	return fmt.Sprintf("ongoing-request=%q, expiry-date=%q", "false", o.order.until.UTC().Format(http.TimeFormat))
}

func restored(header string) bool {
	return len(header) > 23 && header[:23] == `ongoing-request="false"`
}

// expiry is the date in an x-amz-restore header, as listings have it.
func expiry(header string) string {
	_, quoted, err := cutQuoted(header, "expiry-date=")
	t, perr := http.ParseTime(quoted)
	if err != nil || perr != nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func cutQuoted(s, after string) (rest, quoted string, err error) {
	for i := 0; i+len(after) <= len(s); i++ {
		if s[i:i+len(after)] == after {
			q, err := strconv.QuotedPrefix(s[i+len(after):])
			if err != nil {
				return "", "", err
			}
			quoted, err = strconv.Unquote(q)
			return s[i+len(after)+len(q):], quoted, err
		}
	}
	return s, "", strconv.ErrSyntax
}

type restoreRequest struct {
	XMLName xml.Name `xml:"RestoreRequest"`
	Days    *int
	Job     *struct{ Tier string } `xml:"GlacierJobParameters"`
	Type    string
}

// restore answers RestoreObject as its documentation has it: 202 for a new restore, and for one that is under way and is to be faster
// now; 200 where a copy lies there, which then stays until the new date; 409 where one is under way.
func (x *exchange) restore() *apiError {
	body, err := x.document()
	if err != nil {
		return err
	}
	var q restoreRequest
	if xml.Unmarshal(body, &q) != nil {
		return invalid("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	x.s.mu.Lock()
	status, err := x.orderRestore(q)
	x.s.mu.Unlock()
	if err != nil {
		return err
	}
	x.send(status, nil)
	return nil
}

// orderRestore notes a restore down. The caller holds mu.
func (x *exchange) orderRestore(q restoreRequest) (status int, err *apiError) {
	now := x.s.o.RestoreNow()
	o, ok := x.bucket.objects[x.log.Key]
	if !ok {
		return 0, x.missing()
	}
	tier, err := q.check(o, now)
	if err != nil {
		return 0, err
	}
	switch header := o.restoring(now); {
	case restored(header):
		next := order{tier: o.order.tierOr(tier), ready: now, until: midnight(now, *q.Days)}
		o.order, status = &next, http.StatusOK
	case header != "" && speed(tier) <= speed(o.order.tierOr("Expedited")):
		return 0, &apiError{status: http.StatusConflict, code: "RestoreAlreadyInProgress", message: "Object restore is already in progress"}
	default:
		next := order{tier: tier, ready: now.Add(x.s.o.RestoreTime(o.cold(now), tier))}
		switch {
		case header != "": // faster now; the days stay
			next.until = o.order.until
		case q.Days != nil:
			next.until = midnight(next.ready, *q.Days)
		}
		o.order, status = &next, http.StatusAccepted
	}
	o.Restore = ""
	x.bucket.objects[x.log.Key] = o // no change of the object: conditions of writes do not see it
	return status, nil
}

// check judges what is asked of an object, and returns the tier.
func (q restoreRequest) check(o Object, now time.Time) (string, *apiError) {
	tier := "Standard"
	if q.Job != nil {
		tier = q.Job.Tier
	}
	cold, header := o.cold(now), o.restoring(now)
	ongoing := header != "" && !restored(header) // a faster tier is asked for without days
	switch {
	case cold == "":
		return "", &apiError{status: http.StatusForbidden, code: "InvalidObjectState", message: "Restore is not allowed for the object's current storage class"}
	case q.Type != "", speed(tier) < 0, !ongoing && (q.Days == nil) != (o.Class == "INTELLIGENT_TIERING"):
		return "", invalid("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	case q.Days != nil && *q.Days < 1:
		return "", invalid("InvalidArgument", "restoration days should be at least 1")
	case RestoreTime(cold, tier) == 0:
		return "", invalid("InvalidArgument", "Retrieval option is not supported by this storage class")
	}
	return tier, nil
}

// tierOr is the tier of an order; of none, or of one that a test wrote as a header, it is other.
func (o *order) tierOr(other string) string {
	if o == nil {
		return other
	}
	return o.tier
}

// midnight is when a copy expires: days later, rounded up to the next midnight UTC.
func midnight(t time.Time, days int) time.Time {
	t = t.UTC().AddDate(0, 0, days)
	if up := t.Truncate(24 * time.Hour); up.Equal(t) {
		return up
	}
	return t.Truncate(24*time.Hour).AddDate(0, 0, 1)
}
