package stage

import (
	"errors"
	"fmt"
	"slices"

	"studyfs/cache/stage/gate"
	"studyfs/cache/stage/gate/edf"
)

// ErrRefused says that the rules do not take a name, or what a file holds. What was written stays here, parked, and goes nowhere. The reasons
// are the item's Warnings.
var ErrRefused = errors.New("the rules that keep the names of patients in refuse it")

// What is shown of items that the rules hold back for other reasons than what they found.
const (
	whyHeld    = "its name is one that programs give for a while: it waits for its own name, and is not uploaded before"
	whyNoRules = `it was written under rules that keep the names of patients in, and has to be judged: mount it with --gate, then "studyfs uploads retry"`
)

// ruled is why the rules hold an item back, as it is journaled; "" where they do not.
type ruled string

const (
	ruledRefused ruled = "refused"
	ruledParked  ruled = "parked"
	ruledHeld    ruled = "held"  // its name is a temporary one
	ruledLater   ruled = "later" // there are no rules to judge it by
)

// ruling is what the rules say of an item for as long as it has this name and these bytes. It is never changed.
type ruling struct {
	name    string
	mark    mark // of the file; zero for what has none
	holds   ruled
	why     string   // where it holds
	texts   []string // all findings; they hold no part of names and files
	patches []edf.Patch
}

// newRuling is what follows from a judgement.
func newRuling(name string, m mark, j gate.Judgement) *ruling {
	r := &ruling{name: name, mark: m, patches: j.Patches}
	for _, f := range j.Findings {
		r.texts = append(r.texts, f.Text)
		if f.Parks && r.why == "" {
			r.why = f.Text
		}
	}
	switch j.Verdict {
	case gate.Refused:
		r.holds = ruledRefused
	case gate.Parked:
		r.holds = ruledParked
	case gate.Passed, gate.Scrubbed:
	}
	return r
}

// err is what a program is told.
func (r *ruling) err() error {
	if r != nil && r.holds == ruledRefused {
		return ErrRefused
	}
	return nil
}

// maxRulings is how many of an item are kept: of its name, and of one that it is about to get.
const maxRulings = 2

// rulingOf returns what was said of an item under a name, nil if nothing was. The caller holds mu.
func (it *item) rulingOf(name string, m mark) *ruling {
	for _, r := range it.rulings {
		if r.name == name && r.mark == m {
			return r
		}
	}
	return nil
}

// keepRuling is for rulingOf. The caller holds mu.
func (it *item) keepRuling(r *ruling) {
	it.rulings = append(slices.Clone(it.rulings), r)
	it.rulings = it.rulings[max(0, len(it.rulings)-maxRulings):]
}

// ruleName judges what has no bytes of its own, or not yet.
func (s *Stage) ruleName(it *item, name string) *ruling {
	switch {
	case isTemporary(name):
		return &ruling{name: name, holds: ruledHeld, why: whyHeld}
	case it.kind == Dir:
		return newRuling(name, mark{}, s.o.Rules.JudgeFolder(name))
	case it.kind == Link:
		return newRuling(name, mark{}, s.o.Rules.JudgeLink(name, it.target))
	}
	return newRuling(name, mark{}, s.o.Rules.JudgeName(name))
}

// ruleFile judges a sealed file under a name; f is open on it. What is judged is safe on the disk, so that whatever is written meanwhile,
// through a mapping too, moves the mark: then it is errMoved. It may read all of the file, and is called without locks.
func (s *Stage) ruleFile(it *item, name string, f *blob) (*ruling, error) {
	s.mu.Lock()
	m := it.asSealed()
	if m == nil {
		s.mu.Unlock()
		return nil, errMoved
	}
	if r := it.rulingOf(name, *m); r != nil {
		s.mu.Unlock()
		return r, nil
	}
	s.mu.Unlock()
	var r *ruling
	if m.Size == 0 || isTemporary(name) {
		r = s.ruleName(it, name)
		r.mark = *m
	} else {
		r = newRuling(name, *m, s.o.Rules.Judge(name, m.Size, f))
	}
	if l, err := f.look(); err != nil || l.mark != *m {
		return nil, errors.Join(errMoved, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	it.keepRuling(r)
	return r, nil
}

// asSealed is the mark of the file when it was made safe; nil: it never was. The caller holds mu.
func (it *item) asSealed() *mark {
	if it.sealed == nil {
		return it.copied // a copy that is still what the target has
	}
	return it.sealed
}

// weigh judges a file that has been sealed, and notes what follows. ErrRefused is for the program that closes it. A file that is written to
// at the same time is judged at the next close, and in any case before it goes out.
func (s *Stage) weigh(it *item, f *blob) error {
	s.mu.Lock()
	name := it.name
	unjudged := s.o.Rules == nil || it.gone || it.stays() || it.state == Quarantined || it.state == Orphan || it.copied != nil // the target has it as it is
	s.mu.Unlock()
	if unjudged {
		return nil
	}
	r, err := s.ruleFile(it, name, f)
	if errors.Is(err, errMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	seq := s.obey(it, r)
	s.mu.Unlock()
	if seq > 0 {
		err = s.journal.wait(seq, true)
	}
	return errors.Join(err, r.err())
}

// obey has an item wait for people, or go on, as the rules say. It returns the record that tells so, 0 if nothing changes. The caller holds mu.
func (s *Stage) obey(it *item, r *ruling) uint64 {
	if it.name != r.name || !it.named() || it.state == Conflict {
		return 0
	}
	it.warnings = r.texts
	was, wasWhy := it.ruled, it.why
	switch {
	case r.holds != "":
		if it.state == Parked && was == r.holds && wasWhy == r.why {
			return 0
		}
		it.state, it.ruled, it.why = Parked, r.holds, r.why
		s.o.Refused(r.name, r.why)
		s.log.Info("a file is held back by the rules that keep names in", "id", it.id, "verdict", string(r.holds))
	case it.state == Parked && was != "":
		it.state, it.ruled, it.why = Staged, "", ""
		s.enqueue(it)
	default:
		return 0
	}
	s.signal()
	return s.put(it)
}

// forgive has the rules judge an item again. The caller holds mu.
func (it *item) forgive() {
	if it.state == Parked && it.ruled != "" {
		it.state, it.why, it.warnings = Staged, "", nil
	}
	it.ruled = ""
}

// admitNew judges a directory or link that is about to be made. Where it returns nil, it may be.
func (s *Stage) admitNew(it *item) error {
	if s.o.Rules == nil || it.kept || s.names.isJunk(it) {
		return nil
	}
	r := s.ruleName(it, it.name)
	if err := r.err(); err != nil {
		return err
	}
	it.warnings = r.texts
	if r.holds != "" {
		it.state, it.ruled, it.why = Parked, r.holds, r.why
	}
	return nil
}

// lawful judges what is about to be handed out, and makes what goes out in its place if the rules ask for that. false: the item waits for
// people, or for another time, and the job has ended. Nothing leaves this machine without having passed here, whatever way it came.
func (s *Stage) lawful(j *Job) (*ruling, bool) {
	it := j.it
	r, err := s.ruleJob(j)
	if err == nil && r.holds == "" && it.hasFile() {
		err = s.scrubFor(j, r)
	}
	if err != nil {
		j.unready(err)
		return nil, false
	}
	if r.holds == "" {
		return r, true
	}
	s.mu.Lock()
	s.obey(it, r)
	s.mu.Unlock()
	j.finish()
	return nil, false
}

func (s *Stage) ruleJob(j *Job) (*ruling, error) {
	it := j.it
	s.mu.Lock()
	name, kept := it.name, it.kept
	s.mu.Unlock()
	switch {
	case s.o.Rules == nil:
		return &ruling{name: name, holds: ruledLater, why: whyNoRules}, nil
	case kept: // the target has had it all along
		return &ruling{name: name}, nil
	case it.hasFile():
		return s.ruleFile(it, name, j.file)
	}
	return s.ruleName(it, name), nil
}

// MayRename says whether the rules let what lies under a name, staged or not, have another one. It does not look whether the target does.
// ErrRefused where they do not. What is staged is judged with what it holds; of what is not, the name alone.
func (s *Stage) MayRename(from, to string, kind Kind) error {
	if s.o.Rules == nil {
		return nil
	}
	s.mu.Lock()
	it, _ := s.names.find(from)
	s.mu.Unlock()
	if it != nil {
		_, err := s.foresee(it, to)
		return err
	}
	j := s.o.Rules.JudgeName(to)
	switch kind {
	case Dir:
		j = s.o.Rules.JudgeFolder(to)
	case Link:
		j = s.o.Rules.JudgeLink(to, "")
	case Regular:
	}
	if j.Verdict != gate.Passed { // what is at the target already cannot be held back
		return ErrRefused
	}
	return nil
}

// foresee judges a staged item under the name that it is about to get. nil: nothing can be said before it has it.
func (s *Stage) foresee(it *item, to string) (*ruling, error) {
	if s.o.Rules == nil || s.wouldStay(it, to) {
		return nil, nil
	}
	r, err := s.foreseen(it, to)
	if err != nil {
		return nil, err
	}
	return r, r.err()
}

func (s *Stage) foreseen(it *item, to string) (*ruling, error) {
	if !it.hasFile() {
		return s.ruleName(it, to), nil
	}
	f, err := s.openItem(it)
	if err != nil {
		return nil, fmt.Errorf("staged file: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	r, err := s.ruleFile(it, to, f)
	if !errors.Is(err, errMoved) {
		return r, err
	}
	return s.ruleName(it, to), nil // it is still being written: its bytes are judged when it is closed
}

// foreseeMove judges what a rename would bring about. Nil and no error: there is nothing to be judged.
func (s *Stage) foreseeMove(from, to string) (*ruling, error) {
	if s.o.Rules == nil {
		return nil, nil
	}
	s.mu.Lock()
	it, implied := s.names.find(from)
	s.mu.Unlock()
	if it == nil && implied {
		it = &item{kind: Dir}
	}
	if it == nil {
		return nil, nil
	}
	return s.foresee(it, to)
}

// follow has what a rename has moved judged by its new name. The caller holds mu. It returns the newest record that tells so, 0 without one.
func (s *Stage) follow(m *move, r *ruling) (seq uint64) {
	if s.o.Rules == nil {
		return 0
	}
	if !m.dir() {
		if r != nil {
			seq = s.obey(m.it, r)
		}
		return seq
	}
	for _, it := range m.all {
		if it.ruled == "" || it.state != Parked {
			continue
		}
		it.forgive()
		if it == m.it && r != nil {
			s.obey(it, r)
		}
		if it.writers == 0 {
			s.enqueue(it)
		}
		seq = s.put(it)
	}
	return seq
}
