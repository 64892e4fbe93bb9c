package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// coloured tells whether what is printed may have colours: on a terminal, unless NO_COLOR is set, or with CLICOLOR_FORCE.
func (a *app) coloured() bool {
	if a.env.get("NO_COLOR") != "" {
		return false
	}
	if force := a.env.get("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	f, ok := a.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colour is how a terminal is told to show a state.
func (s state) colour() string {
	switch s {
	case stateOK:
		return "\x1b[32m"
	case stateWarn:
		return "\x1b[33m"
	case stateFail:
		return "\x1b[1;31m"
	case stateSkip:
	}
	return "\x1b[2m"
}

// printFindings prints aligned lines, and below each that is not well what to do.
func printFindings(w io.Writer, r doctorReport, coloured bool) error {
	width := 0
	for _, f := range r.Checks {
		width = max(width, len(f.heading()))
	}
	var b strings.Builder
	count := map[state]int{}
	for _, f := range r.Checks {
		count[f.State]++
		word := fmt.Sprintf("%-4s", f.State)
		if coloured {
			word = f.State.colour() + word + "\x1b[0m"
		}
		fmt.Fprintf(&b, "%s  %-*s  %s\n", word, width, f.heading(), harmless(f.Found))
		if f.Do != "" {
			for line := range strings.SplitSeq(f.Do, "\n") {
				fmt.Fprintf(&b, "%*s  -> %s\n", 4+2+width, "", harmless(line))
			}
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %d to look at, %d failed, %d skipped\n", count[stateOK], count[stateWarn], count[stateFail], count[stateSkip])
	_, err := io.WriteString(w, b.String())
	return err
}

func (f finding) heading() string {
	if f.Subject == "" {
		return f.Check
	}
	return f.Check + " " + harmless(f.Subject)
}
