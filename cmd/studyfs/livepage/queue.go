package livepage

import "strings"

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
	rankCount
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

// of cuts a page out of all that is staged: by rank, and as they came within one. Nothing is sorted or copied but the page, which is asked for
// every second however many files wait.
func (q query) of(items []Item) page {
	q.Find = strings.ToLower(q.Find)
	var ranks [rankCount][]int
	total := 0
	for i := range items {
		if q.wants(&items[i]) {
			rank := rankOf(items[i].State)
			ranks[rank] = append(ranks[rank], i)
			total++
		}
	}
	rows := min(max(q.Rows, 1), maxRows)
	from := max(q.From, 0)
	if from >= total {
		from = max(0, total-1) / rows * rows
	}
	p := page{Total: total, From: from, Rows: []Item{}}
	skip := from
	for _, wanted := range ranks {
		first := min(skip, len(wanted))
		skip -= first
		for _, i := range wanted[first:min(first+rows-len(p.Rows), len(wanted))] {
			p.Rows = append(p.Rows, items[i])
		}
	}
	return p
}
