package survey

import (
	"errors"
	"fmt"
	"testing"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// organisation is two sites of an organisation: each participant sends two files a day.
func organisation(pageSize, days, people int) *mem.Source {
	src := mem.New(pageSize)
	for site := range 2 {
		for d := range days {
			for p := range people {
				for f := range 2 {
					src.PutBytes(fmt.Sprintf("1/%d/participant_data/2026-10-%02d/P%03d-3YK%d/raw/%d.avro", site+1, d+1, site*people+p, p, f), make([]byte, 100))
				}
			}
		}
	}
	return src
}

func lists(src *mem.Source) int64 { return src.Counts().List }

// A coordinator sees how many participants there are, the newest day and how much it is, all exact where little is stored.
func TestSmallOrganisation(t *testing.T) {
	src := organisation(1000, 5, 3)
	got, err := Run(t.Context(), src, Options{Layout: Empatica})
	want := Result{Participants: Count{N: 6}, Folders: Count{N: 1}, Files: Count{N: 60}, Bytes: Count{N: 6000}, Newest: "2026-10-05"}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if n := lists(src); n > 2 {
		t.Errorf("%d listings", n)
	}
}

// Where there is too much to list, what was not seen to its end is the least there is; the newest day is right all the same, though
// its keys come last.
func TestLargeOrganisationKeepsToItsBudget(t *testing.T) {
	src := organisation(50, 28, 40)
	const budget = 40
	got, err := Run(t.Context(), src, Options{Layout: Empatica, Requests: budget})
	if err != nil || got.Newest != "2026-10-28" || !got.Bytes.AtLeast || !got.Files.AtLeast || got.Bytes.N >= 2*28*40*2*100 {
		t.Errorf("%+v, %v", got, err)
	}
	if got.Participants.N < 40 || !got.Participants.AtLeast {
		t.Errorf("participants: %+v", got.Participants)
	}
	if n := lists(src); n > budget {
		t.Errorf("%d listings; want %d at most", n, budget)
	}
}

// Folders of participants are counted as such; other folders are folders.
func TestFoldersOfParticipants(t *testing.T) {
	src := mem.New(1000)
	for _, name := range []string{"sub-01/anat/a", "sub-02/b", "derivatives/c", "README"} {
		src.PutBytes(name, []byte("12345"))
	}
	got, err := Run(t.Context(), src, Options{})
	if err != nil || got.Participants != (Count{N: 2}) || got.Folders != (Count{N: 3}) || got.Files != (Count{N: 4}) || got.Bytes != (Count{N: 20}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = Run(t.Context(), src, Options{Layout: FolderEach}); err != nil || got.Participants.N != 3 || got.Newest != "" {
		t.Errorf("%+v, %v", got, err)
	}
	// A disk has no pages.
	if got, err = Run(t.Context(), pageless{src}, Options{}); err != nil || got.Files != (Count{N: 4}) || got.Bytes != (Count{N: 20}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = Run(t.Context(), pageless{src}, Options{Requests: 2}); err != nil || !got.Files.AtLeast {
		t.Errorf("%+v, %v", got, err)
	}
}

// pageless hides that a source has pages.
type pageless struct{ backends.Source }

// What keeps the root from being listed is told; what comes later only makes the numbers the least there is.
func TestRefusals(t *testing.T) {
	src := organisation(50, 20, 20)
	asked := 0
	src.Before(func(mem.Op) error {
		if asked++; asked > 3 {
			return backends.ErrPermission
		}
		return nil
	})
	if got, err := Run(t.Context(), src, Options{Layout: Empatica}); err != nil || !got.Bytes.AtLeast || got.Bytes.N == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Run(t.Context(), src, Options{Layout: Empatica}); !errors.Is(err, backends.ErrPermission) {
		t.Errorf("%v", err)
	}
}
