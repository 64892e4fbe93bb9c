// Package edftest makes small EDF, EDF+, BDF and BDF+ files for tests. All in them is made up.
package edftest

import (
	"bytes"
	"fmt"
	"strings"
)

// File is what a file is made of. Nothing is checked: tests need files that are wrong, too.
type File struct {
	BDF         bool   // 24 bits a sample
	Mark        string // how the reserved field begins, such as "EDF+C"
	Patient     string
	Recording   string
	Date, Time  string // "" for 04.03.19 and 13.37.42
	Records     string // "" for as many as Lists has, at least 1
	Label       string // of the first signal; "" for "LFP 1"
	Transducer  string
	Lists       []string // for each record what its annotations are; the time-keeping list is put before. nil: no annotation signal
	ListSamples int      // samples of the annotations in each record; 0 for 60
	Tail        string   // bytes behind the last record
}

// Bytes makes the file: one signal of 4 samples a record, and one of annotations where there are any.
func (f File) Bytes() []byte {
	wide, family, version, least, most := 2, "EDF", "0", "-32768", "32767"
	if f.BDF {
		wide, family, version, least, most = 3, "BDF", "\xffBIOSEMI", "-8388608", "8388607"
	}
	signals := [][10]string{{or(f.Label, "LFP 1"), f.Transducer, "uV", "-3200", "3200", least, most, "HP:0.1Hz", "4", ""}}
	samples := or(f.ListSamples, 60)
	if f.Lists != nil {
		signals = append(signals, [10]string{family + " Annotations", "", "", "-1", "1", least, most, "", fmt.Sprint(samples), ""})
	}
	var b bytes.Buffer
	put := func(n int, text string) { b.WriteString(fill(text, n, " ")) }
	put(8, version)
	put(80, f.Patient)
	put(80, f.Recording)
	put(8, or(f.Date, "04.03.19"))
	put(8, or(f.Time, "13.37.42"))
	put(8, fmt.Sprint(256*(len(signals)+1)))
	put(44, f.Mark)
	put(8, or(f.Records, fmt.Sprint(max(1, len(f.Lists)))))
	put(8, "1")
	put(4, fmt.Sprint(len(signals)))
	for which, n := range []int{16, 80, 8, 8, 8, 8, 8, 80, 8, 32} {
		for _, s := range signals {
			put(n, s[which])
		}
	}
	for i := range max(1, len(f.Lists)) {
		for sample := range 4 * wide {
			b.WriteByte(byte(17*i + 29*sample + 1))
		}
		if f.Lists != nil {
			b.WriteString(fill(fmt.Sprintf("+%d\x14\x14\x00", i)+f.Lists[i], samples*wide, "\x00"))
		}
	}
	b.WriteString(f.Tail)
	return b.Bytes()
}

// List makes an annotation list: one text at an onset.
func List(onset float64, text string) string { return fmt.Sprintf("+%g\x14%s\x14\x00", onset, text) }

func fill(s string, n int, with string) string {
	return (s + strings.Repeat(with, max(0, n-len(s))))[:n]
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
