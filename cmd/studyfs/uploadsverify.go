package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"studyfs/backends"
	"studyfs/cache/stage"
)

const (
	verifyBatch    = 200 // objects that are looked at for one answer
	verifyParallel = 16  // at once
)

// verifyReport is what came out of looking at some stored files.
type verifyReport struct {
	Schema  int          `json:"schema,omitempty"` // of uploads verify --json
	Checked int          `json:"checked"`
	Sums    int          `json:"sums"` // of Checked, those whose checksum both sides know
	Wrong   []difference `json:"wrong"`
	After   string       `json:"after,omitempty"` // go on after this; "": that was all
}

// difference is one stored file that is not what was sent.
type difference struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// verify compares stored files with what was sent, one request each.
func (t *uploadTarget) verify(ctx context.Context, q uploadsRequest) (*verifyReport, error) {
	to, err := t.examiner(ctx)
	if err != nil {
		return nil, err
	}
	records := t.stage.Records(q.After, verifyBatch)
	found := make([]backends.Stored, len(records))
	errs := make([]error, len(records))
	var asking sync.WaitGroup
	slots := make(chan struct{}, verifyParallel)
	for i, one := range records {
		slots <- struct{}{}
		asking.Go(func() {
			found[i], errs[i] = to.Examine(ctx, one.Name)
			<-slots
		})
	}
	asking.Wait()
	r := &verifyReport{Checked: len(records), Wrong: []difference{}}
	for i, one := range records {
		if err := errs[i]; err != nil && !errors.Is(err, backends.ErrNotExist) {
			return nil, err
		}
		if one.HasCRC && found[i].HasCRC {
			r.Sums++
		}
		if why := compare(one, found[i], errs[i]); why != "" {
			r.Wrong = append(r.Wrong, difference{Name: one.Name, Why: why})
		}
	}
	if len(records) == verifyBatch {
		r.After = records[verifyBatch-1].Name
	}
	return r, nil
}

// compare says what is wrong with the stored object, "" if nothing is.
func compare(r stage.Record, found backends.Stored, err error) string {
	switch {
	case err != nil:
		return "it is gone"
	case found.Entry.Version != r.Version:
		return "somebody has replaced it since"
	case found.Entry.Size != r.Size:
		return fmt.Sprintf("it has %d bytes; %d were sent", found.Entry.Size, r.Size)
	case r.HasCRC && found.HasCRC && found.CRC64NVME != r.CRC64NVME:
		return fmt.Sprintf("its checksum is %016x; what was sent has %016x", found.CRC64NVME, r.CRC64NVME)
	}
	return ""
}

// verifyUploads is "uploads verify".
func (a *app) verifyUploads(args []string, asJSON bool) error {
	return a.withStages(args, uploadsRequest{Limit: -1}, func(ctx context.Context, l *loaded, all []stageRef) error {
		sum := verifyReport{Schema: statusSchema, Wrong: []difference{}}
		for _, r := range all {
			for q := (uploadsRequest{Do: doVerify, Limit: -1}); ; {
				report, err := r.ask(ctx, a, l, q)
				if err != nil {
					return err
				}
				v := report.Verify
				if v == nil {
					break
				}
				if err := a.addVerified(&sum, v, asJSON); err != nil {
					return err
				}
				if q.After = v.After; q.After == "" || ctx.Err() != nil {
					break
				}
			}
		}
		if ctx.Err() != nil {
			return statusError(exitInterrupted)
		}
		if asJSON {
			if err := printJSON(a.out, sum); err != nil {
				return err
			}
		}
		a.say(fmt.Sprintf("%s looked at, %d of them by checksum: %s", countFiles(sum.Checked), sum.Sums, sum.verdict()))
		if len(sum.Wrong) > 0 {
			return statusError(exitError)
		}
		return nil
	})
}

// addVerified adds what was found to sum, and shows what is wrong as it is found.
func (a *app) addVerified(sum, v *verifyReport, quiet bool) error {
	sum.Checked, sum.Sums = sum.Checked+v.Checked, sum.Sums+v.Sums
	sum.Wrong = append(sum.Wrong, v.Wrong...)
	for _, d := range v.Wrong {
		if quiet {
			return nil
		}
		if _, err := fmt.Fprintf(a.out, "%s: %s\n", harmless(d.Name), d.Why); err != nil {
			return err
		}
	}
	return nil
}

func (v verifyReport) verdict() string {
	if n := len(v.Wrong); n > 0 {
		return count(n, "differs", "differ") + " from what was uploaded"
	}
	return "all are what was uploaded"
}
