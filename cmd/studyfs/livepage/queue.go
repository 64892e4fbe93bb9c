package livepage

import (
	"slices"
	"strings"
)

// maxRows is how many rows of the queue one answer holds at most, however many wait.
const maxRows = 100

// query is the part of the queue that a page shows.
type query struct {
	Show string // all, moving, waiting, decide
	Find string // only names that hold this, letters of either case alike
	From int
	Rows int
}

// page is what it gets. Rows are never more than maxRows.
type page struct {
	Total int    `json:"total"` // of what Show and Find ask for
	From  int    `json:"from"`  // of the first row; less than asked for where the queue has become shorter
	Rows  []Item `json:"rows"`
}

// The ranks of states: what waits for people comes first, then what moves.
const (
	rankDecide = iota
	rankMoving
	rankOpen
	rankWaiting
)

func rankOf(state string) int {
	switch state {
	case "conflict", "parked", "failed", "orphan", "quarantined":
		return rankDecide
	case "uploading":
		return rankMoving
	case "writing":
		return rankOpen
	}
	return rankWaiting
}

func (q query) wants(i *Item) bool {
	rank := rankOf(i.State)
	switch {
	case q.Show == "decide" && rank != rankDecide, q.Show == "moving" && rank != rankMoving, q.Show == "waiting" && rank != rankWaiting && rank != rankOpen:
		return false
	}
	return q.Find == "" || strings.Contains(strings.ToLower(i.Name), q.Find)
}

// of cuts a page out of all that is staged. The order is the same for the same items, so that pages can be turned.
func (q query) of(items []Item) page {
	q.Find = strings.ToLower(q.Find)
	wanted := slices.DeleteFunc(items, func(i Item) bool { return !q.wants(&i) })
	slices.SortFunc(wanted, func(a, b Item) int {
		if d := rankOf(a.State) - rankOf(b.State); d != 0 {
			return d
		}
		if d := strings.Compare(a.Source, b.Source); d != 0 {
			return d
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	rows := min(max(q.Rows, 1), maxRows)
	from := max(q.From, 0)
	if from >= len(wanted) {
		from = max(0, len(wanted)-1) / rows * rows
	}
	return page{Total: len(wanted), From: from, Rows: slices.Clone(wanted[from:min(from+rows, len(wanted))])}
}
