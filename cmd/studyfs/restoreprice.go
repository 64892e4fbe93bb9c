package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"studyfs/backends"
)

// The list prices of a restore in US dollars, of us-east-1, as of May 2026 (after aws.amazon.com/s3/pricing, "Requests & data retrievals" and
// "Storage"; of GLACIER as AWS's own example reckons, repost.aws/knowledge-center/s3-manage-data-retrieval). Other regions cost up to twice as much; --price sets what holds. Not in them: what leaves AWS for this machine ("Data
// transfer"), which reading a file costs whether it was archived or not.
const (
	pricesAsOf = "us-east-1, May 2026"
	gigabyte   = 1 << 30 // what AWS bills as a GB

	// pricePerCopy is for a GB of the copy for a month of 30 days: it lies in STANDARD beside the archived object.
	pricePerCopy = 0.023
	copyMonth    = 30
)

// retrieval is what one tier of one archive takes and costs.
type retrieval struct {
	class, tier string
	perGB       float64
	per1000     float64 // requests
	hours       string  // what AWS says it takes
	most        float64 // the same as a number of hours, the upper end
}

// retrievals is the table. INTELLIGENT_TIERING tells in no listing how deep in its archives an object lies: its hours are the deeper one's.
func retrievals() []retrieval {
	return []retrieval{
		{"GLACIER", backends.RestoreBulk, 0, 0, "5 to 12 hours", 12},
		{"GLACIER", backends.RestoreStandard, 0.01, 0.05, "3 to 5 hours", 5},
		{"GLACIER", backends.RestoreExpedited, 0.03, 10, "1 to 5 minutes (large files longer)", 0.1},
		{"DEEP_ARCHIVE", backends.RestoreBulk, 0.0025, 0.025, "up to 48 hours", 48},
		{"DEEP_ARCHIVE", backends.RestoreStandard, 0.02, 0.10, "up to 12 hours", 12},
		{"INTELLIGENT_TIERING", backends.RestoreBulk, 0, 0, "up to 48 hours", 48},
		{"INTELLIGENT_TIERING", backends.RestoreStandard, 0, 0, "up to 12 hours", 12},
		{"INTELLIGENT_TIERING", backends.RestoreExpedited, 0.03, 10, "1 to 5 minutes", 0.1},
	}
}

// priceList is what restores cost, with what the user has set.
type priceList struct {
	table   []retrieval
	perCopy float64
	asOf    string
}

// newPriceList takes settings of the form CLASS/TIER=PER_GB or CLASS/TIER=PER_GB/PER_1000_REQUESTS, and copy=PER_GB_AND_MONTH.
func newPriceList(set []string) (priceList, error) {
	p := priceList{table: retrievals(), perCopy: pricePerCopy, asOf: pricesAsOf}
	for _, text := range set {
		if err := p.set(text); err != nil {
			return p, err
		}
		p.asOf = "prices as set, others of " + pricesAsOf
	}
	return p, nil
}

func (p *priceList) set(text string) error {
	name, value, _ := strings.Cut(text, "=")
	perGB, per1000, two := strings.Cut(value, "/")
	gb, err := strconv.ParseFloat(perGB, 64)
	requests := 0.0
	if err == nil && two {
		requests, err = strconv.ParseFloat(per1000, 64)
	}
	wrong := fmt.Errorf("%q is not a price; write DEEP_ARCHIVE/bulk=0.0025/0.025 (per GB, per 1,000 requests) or copy=0.023 (per GB and month)", text)
	if err != nil || !(gb >= 0) || !(requests >= 0) {
		return wrong
	}
	if name == "copy" && !two {
		p.perCopy = gb
		return nil
	}
	class, tier, _ := strings.Cut(name, "/")
	i := slices.IndexFunc(p.table, func(r retrieval) bool { return strings.EqualFold(r.class, class) && r.tier == strings.ToLower(tier) })
	if i < 0 {
		return wrong
	}
	p.table[i].perGB = gb
	if two {
		p.table[i].per1000 = requests
	}
	return nil
}

// of finds a row; false: the class has no such tier.
func (p priceList) of(class, tier string) (retrieval, bool) {
	i := slices.IndexFunc(p.table, func(r retrieval) bool { return r.class == class && r.tier == tier })
	if i < 0 {
		return retrieval{}, false
	}
	return p.table[i], true
}

// estimate is what asking for files of one class costs.
type estimate struct {
	Class    string  `json:"class"`
	Files    int64   `json:"files"`
	Bytes    int64   `json:"bytes"`
	Hours    string  `json:"hours"`
	MostHour float64 `json:"most_hours"`
	Asking   float64 `json:"retrieval_usd"` // the retrieval and its requests
	Keeping  float64 `json:"copies_usd"`    // the copies, for the days asked for
}

func (e estimate) total() float64 { return e.Asking + e.Keeping }

// estimate reckons; false: the class has no such tier.
func (p priceList) estimate(class string, n tally, tier string, days int) (estimate, bool) {
	r, ok := p.of(class, tier)
	gb := float64(n.Bytes) / gigabyte
	e := estimate{
		Class: class, Files: n.Files, Bytes: n.Bytes, Hours: r.hours, MostHour: r.most,
		Asking: gb*r.perGB + float64(n.Files)/1000*r.per1000,
	}
	if class != "INTELLIGENT_TIERING" { // that makes no copy: the object itself moves
		e.Keeping = gb * p.perCopy * float64(days) / copyMonth
	}
	return e, ok
}

// tally counts files.
type tally struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (t *tally) add(n int64, e backends.Entry) {
	t.Files += n
	t.Bytes += n * max(e.Size, 0)
}

// classTally is what was found of one storage class.
type classTally struct {
	Class     string `json:"class"`
	Archived  tally  `json:"archived"`
	Restoring tally  `json:"restoring"`
	Online    tally  `json:"online"`
}

func (c *classTally) of(t backends.Tier) *tally {
	switch t {
	case backends.Archived:
		return &c.Archived
	case backends.Restoring:
		return &c.Restoring
	case backends.Online:
	}
	return &c.Online
}

// found is all classes, by name.
type found []classTally

func (f *found) class(name string) *classTally {
	i, ok := slices.BinarySearchFunc(*f, name, func(c classTally, name string) int { return cmp.Compare(c.Class, name) })
	if !ok {
		*f = slices.Insert(*f, i, classTally{Class: name})
	}
	return &(*f)[i]
}

// sum adds up one tier over all classes.
func (f found) sum(t backends.Tier) (all tally) {
	for i := range f {
		all.Files += f[i].of(t).Files
		all.Bytes += f[i].of(t).Bytes
	}
	return all
}

func dollars(x float64) string {
	switch {
	case x == 0:
		return "$0"
	case x < 0.01:
		return "under $0.01"
	}
	return fmt.Sprintf("$%.2f", x)
}
