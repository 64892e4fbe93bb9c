package main

import (
	"time"

	"studyfs/cache/stage/gate/deid/ledger"
)

// deidReport is what deid show --json prints.
type deidReport struct {
	Schema int          `json:"schema"`
	People []deidPerson `json:"people"`
}

type deidPerson struct {
	Code    string      `json:"code"`
	Name    string      `json:"name"`
	Since   time.Time   `json:"since"`
	Files   int         `json:"files"` // that have a name by the code now
	Batches []deidBatch `json:"batches,omitempty"`
}

// deidBatch is one renaming, with --files.
type deidBatch struct {
	When   time.Time  `json:"when"`
	Parent string     `json:"parent"`
	State  string     `json:"state"`
	Moves  []deidMove `json:"moves"`
}

type deidMove struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func deidReportOf(book *ledger.Ledger, files bool) deidReport {
	report := deidReport{Schema: statusSchema, People: []deidPerson{}}
	for _, p := range book.People {
		one := deidPerson{Code: p.Code, Name: p.Name, Since: p.Made}
		for _, b := range p.Batches {
			if b.State != ledger.Undone {
				one.Files += len(b.Moves)
			}
			if !files {
				continue
			}
			batch := deidBatch{When: b.When, Parent: b.Parent, State: stateOfBatch(b), Moves: []deidMove{}}
			for _, m := range b.Moves {
				batch.Moves = append(batch.Moves, deidMove{m.From, m.To})
			}
			one.Batches = append(one.Batches, batch)
		}
		report.People = append(report.People, one)
	}
	return report
}

// stateOfBatch is how far a renaming is.
func stateOfBatch(b *ledger.Batch) string {
	return [...]string{"not finished", "renamed", "undoing it is not finished", "undone"}[min(b.State, ledger.Undone)]
}
