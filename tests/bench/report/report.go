// Package report makes tables and charts of what the laboratory has measured. It is a pure function of a [Run]: it looks at no clock and no file.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Run is everything that one call of the laboratory has measured.
type Run struct {
	Date     string    `json:"date"`
	Machine  string    `json:"machine"`
	Command  string    `json:"command"`
	Notes    []string  `json:"notes,omitempty"`
	Subjects []Subject `json:"subjects"` // in the order of the columns
	Rows     []*Row    `json:"rows"`     // in the order of the table
}

// Subject is a program that was measured, or a reference.
type Subject struct {
	Name      string `json:"name"`
	Version   string `json:"version"` // or why it could not be run
	Reference bool   `json:"reference,omitempty"`
	Ours      bool   `json:"ours,omitempty"`
	Missing   bool   `json:"missing,omitempty"`
}

// Row is one workload in one state.
type Row struct {
	Group   string           `json:"group"`
	Name    string           `json:"name"`
	Step    string           `json:"step"`
	Network string           `json:"network"`
	Cells   map[string]*Cell `json:"cells"`             // by the subject's name; none where it was not run
	Sitting string           `json:"sitting,omitempty"` // when and by what it was measured, where that was not with the newest rows
}

// Cell is what one subject did of a row. The slices hold one figure for each run.
type Cell struct {
	Seconds  []float64 `json:"seconds,omitempty"`
	Cut      bool      `json:"cut,omitempty"` // the time ran out; seconds are what all of it would have taken at that pace
	Failure  string    `json:"failure,omitempty"`
	Late     bool      `json:"late,omitempty"`    // the failure is that it did not end in time
	Refused  string    `json:"refused,omitempty"` // why the figures prove nothing; they are not printed
	Skipped  string    `json:"skipped,omitempty"`
	Requests []float64 `json:"requests,omitempty"`
	Sent     []float64 `json:"sent,omitempty"`     // bytes that left the store
	Received []float64 `json:"received,omitempty"` // bytes that came to it
	Peak     []float64 `json:"peak,omitempty"`     // bytes of memory
	CPU      []float64 `json:"cpu,omitempty"`      // seconds
}

// Median is the middle of the figures; of an even number of them the mean of the two in the middle; NaN of none.
func Median(figures []float64) float64 {
	if len(figures) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Spread is the smallest and the largest; NaN of none.
func Spread(figures []float64) (least, most float64) {
	if len(figures) == 0 {
		return math.NaN(), math.NaN()
	}
	return slices.Min(figures), slices.Max(figures)
}

// good tells that a cell has figures that may be shown.
func (c *Cell) good() bool {
	return c != nil && len(c.Seconds) > 0 && c.Failure == "" && c.Refused == ""
}

// Table writes all of the run in Markdown.
func Table(run Run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, by `%s`. Seconds: median of the runs (least to most; how many); runs in turn, each on a fresh mount with the caches empty unless the row says otherwise. "+
		"**▼**: studyfs is slower than a peer. ≈: the time ran out, and this is what all of it would have taken at that pace.\n", run.Date, run.Machine, run.Command)
	b.WriteByte('\n')
	for _, s := range run.Subjects {
		fmt.Fprintf(&b, "* %s: %s\n", s.Name, plain(s.Version))
	}
	for i, sitting := range run.sittings() {
		if i == 0 {
			b.WriteString("\nThe rows are of several sittings, those of a workload of one. The others:\n\n")
		}
		fmt.Fprintf(&b, "* %s\n", sitting)
	}
	for _, note := range run.Notes {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	for _, group := range Groups(run) {
		run.seconds(&b, group)
		run.counts(&b, group)
	}
	return b.String()
}

// Merge returns newer with those rows of older that are of workloads which newer has nothing of: so a workload's rows are of one sitting. They come
// in the order of older, what is new at the end of its group. The notes are newer's.
func Merge(older, newer Run) Run {
	rows := slices.Clone(newer.Rows)
	for _, r := range older.Rows {
		if !slices.ContainsFunc(newer.Rows, r.sameWork) {
			kept := *r
			kept.Sitting = cmp.Or(r.Sitting, fmt.Sprintf("`%s` (%s; %s)", older.Command, older.Date, older.Machine))
			rows = append(rows, &kept)
		}
	}
	place := func(same func(have *Row) bool) int {
		if i := slices.IndexFunc(older.Rows, same); i >= 0 {
			return i
		}
		return len(older.Rows)
	}
	slices.SortStableFunc(rows, func(a, b *Row) int {
		return cmp.Or(
			cmp.Compare(place(func(have *Row) bool { return have.Group == a.Group }), place(func(have *Row) bool { return have.Group == b.Group })),
			cmp.Compare(place(a.sameWork), place(b.sameWork)),
		)
	})
	newer.Rows = rows
	return newer
}

func (r *Row) sameWork(o *Row) bool {
	return r.Group == o.Group && r.Name == o.Name && r.Network == o.Network
}

// sittings are those of rows that were kept.
func (run Run) sittings() []string {
	var all []string
	for _, r := range run.Rows {
		if r.Sitting != "" && !slices.Contains(all, r.Sitting) {
			all = append(all, r.Sitting)
		}
	}
	return all
}

// Groups are the names of the groups in the order of the rows.
func Groups(run Run) []string {
	var groups []string
	for _, r := range run.Rows {
		if !slices.Contains(groups, r.Group) {
			groups = append(groups, r.Group)
		}
	}
	return groups
}

// columns are the subjects that have anything in a group.
func (run Run) columns(group string) []Subject {
	var all []Subject
	for _, s := range run.Subjects {
		if slices.ContainsFunc(run.Rows, func(r *Row) bool { return r.Group == group && r.Cells[s.Name] != nil }) {
			all = append(all, s)
		}
	}
	return all
}

func (run Run) seconds(b *strings.Builder, group string) {
	columns := run.columns(group)
	fmt.Fprintf(b, "\n### %s\n\n| workload |", group)
	for _, s := range columns {
		fmt.Fprintf(b, " %s |", s.Name)
	}
	peers := slices.ContainsFunc(columns, func(s Subject) bool { return !s.Ours && !s.Reference })
	if peers {
		b.WriteString(" best peer ÷ studyfs |")
	}
	rule := strings.Repeat("---|", len(columns)+1)
	if peers {
		rule += "---|"
	}
	fmt.Fprintf(b, "\n|%s\n", rule)
	for _, r := range run.Rows {
		if r.Group != group {
			continue
		}
		fmt.Fprintf(b, "| %s |", r.title())
		for _, s := range columns {
			fmt.Fprintf(b, " %s |", r.Cells[s.Name].text())
		}
		if peers {
			fmt.Fprintf(b, " %s |", run.against(r))
		}
		b.WriteByte('\n')
	}
}

func (r *Row) title() string {
	parts := []string{r.Name}
	for _, more := range []string{r.Step, r.Network} {
		if more != "" {
			parts = append(parts, more)
		}
	}
	return strings.Join(parts, "; ")
}

// text is the cell of the table.
func (c *Cell) text() string {
	switch {
	case c == nil:
		return ""
	case c.Skipped != "":
		return "skipped: " + plain(c.Skipped)
	case c.Late:
		return plain(c.Failure)
	case c.Failure != "":
		return "**failed**: " + plain(c.Failure)
	case c.Refused != "":
		return "refused: " + plain(c.Refused)
	case len(c.Seconds) == 0:
		return "not run"
	}
	about := ""
	if c.Cut {
		about = "≈ "
	}
	least, most := Spread(c.Seconds)
	text := about + figure(Median(c.Seconds))
	if len(c.Seconds) == 1 {
		return text + " (one run)"
	}
	return fmt.Sprintf("%s (%s to %s; %d)", text, figure(least), figure(most), len(c.Seconds))
}

// plain is a message that fits a cell.
func plain(message string) string {
	message = strings.Join(strings.Fields(strings.NewReplacer("|", "/", "`", "'").Replace(message)), " ")
	if r := []rune(message); len(r) > 100 {
		return string(r[:99]) + "…"
	}
	return message
}

// figure writes a number with three digits.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// against compares our median with that of the fastest peer.
func (run Run) against(r *Row) string {
	ours, best := math.NaN(), math.Inf(1)
	for _, s := range run.Subjects {
		c := r.Cells[s.Name]
		if !c.good() || s.Reference {
			continue
		}
		if s.Ours {
			ours = Median(c.Seconds)
			continue
		}
		best = min(best, Median(c.Seconds))
	}
	switch {
	case math.IsNaN(ours):
		return ""
	case math.IsInf(best, 1):
		return "no peer did it"
	case best < ours:
		return fmt.Sprintf("**▼ %s**", figure(best/ours))
	}
	return figure(best / ours)
}

// counts is the table of what was counted at the store and of memory.
func (run Run) counts(b *strings.Builder, group string) {
	var columns []Subject
	for _, s := range run.columns(group) {
		if slices.ContainsFunc(run.Rows, func(r *Row) bool {
			c := r.Cells[s.Name]
			return r.Group == group && c.good() && len(c.Requests) > 0
		}) {
			columns = append(columns, s)
		}
	}
	if len(columns) == 0 {
		return
	}
	b.WriteString("\nRequests, MiB from the store (and to it), peak memory of the mount in MiB:\n\n| workload |")
	for _, s := range columns {
		fmt.Fprintf(b, " %s |", s.Name)
	}
	fmt.Fprintf(b, "\n|%s\n", strings.Repeat("---|", len(columns)+1))
	for _, r := range run.Rows {
		if r.Group != group || !slices.ContainsFunc(columns, func(s Subject) bool { return r.Cells[s.Name].counted() != "" }) {
			continue
		}
		fmt.Fprintf(b, "| %s |", r.title())
		for _, s := range columns {
			fmt.Fprintf(b, " %s |", r.Cells[s.Name].counted())
		}
		b.WriteByte('\n')
	}
}

func (c *Cell) counted() string {
	if !c.good() || len(c.Requests) == 0 || c.Cut {
		return ""
	}
	const mib = 1 << 20
	text := fmt.Sprintf("%.0f; %s", Median(c.Requests), figure(Median(c.Sent)/mib))
	if in := Median(c.Received) / mib; in >= 0.1 {
		text += fmt.Sprintf(" (%s)", figure(in))
	}
	if peak := Median(c.Peak); !math.IsNaN(peak) && peak > 0 {
		text += fmt.Sprintf("; %.0f", peak/mib)
	}
	return text
}

// The lines between which a document holds the table.
const (
	Begin = "<!-- laboratory: begin (written by tests/bench; what is changed here is lost) -->"
	End   = "<!-- laboratory: end -->"
)

// Insert puts text between the marks of a document, in place of what is there; at its end if it has none.
func Insert(document, text string) string {
	inner := Begin + "\n\n" + strings.TrimSpace(text) + "\n\n" + End
	before, rest, found := strings.Cut(document, Begin)
	_, after, ended := strings.Cut(rest, End)
	if !found || !ended {
		if document = strings.TrimRight(document, "\n"); document != "" {
			document += "\n\n"
		}
		return document + inner + "\n"
	}
	return before + inner + after
}
