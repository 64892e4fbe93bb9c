package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	watchRest   = 100 * time.Millisecond // the least time between two pictures
	watchRows   = 20                     // files shown of each source
	barWidth    = 24
	defaultCols = 100
)

// watchUploads is "uploads watch". It asks again each time, so that it sees mounts come and go.
func (a *app) watchUploads(args []string) error {
	p, err := a.places()
	if err != nil {
		return err
	}
	ctx, release := interruptible()
	defer release()
	terminal, isTerminal := a.out.(*os.File)
	isTerminal = isTerminal && term.IsTerminal(int(terminal.Fd()))
	if len(servedStages(ctx, p, uploadsRequest{Limit: -1})) == 0 {
		return &failure{What: "watch", Why: "no mount uploads anything now", Do: "studyfs uploads ls shows what waits; studyfs uploads run uploads it", Code: exitError}
	}
	said := ""
	for {
		q := uploadsRequest{Do: doWatch, Limit: watchRows, Patience: watchEvery}
		refs := slices.DeleteFunc(servedStages(ctx, p, q), func(r stageRef) bool { return len(args) > 0 && !r.is(args[0]) })
		if isTerminal {
			fmt.Fprint(a.out, picture(refs, columns(terminal))) //nolint:errcheck // a terminal
		} else if text := figures(refs); text != said {
			said = text
			if _, err := io.WriteString(a.out, text); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is how one leaves it
		case <-time.After(watchRest):
		}
	}
}

func columns(f *os.File) int {
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		return n
	}
	return defaultCols
}

// figures is a line per source.
func figures(refs []stageRef) string {
	var b strings.Builder
	for _, r := range refs {
		fmt.Fprintf(&b, "%s: %s\n", r.where(), r.report.Uploads.summary())
	}
	return b.String()
}

// picture is a screen full: each source with bars for what is on its way.
func picture(refs []stageRef, width int) string {
	var b strings.Builder
	b.WriteString("\x1b[H")
	line := func(text string) {
		if runes := []rune(text); len(runes) > width {
			text = string(runes[:max(width-1, 0)]) + "…"
		}
		b.WriteString(text + "\x1b[K\n")
	}
	for _, r := range refs {
		line(r.where() + ": " + r.report.Uploads.summary())
		if r.report.Error != "" {
			line("  " + r.report.Error)
		}
		for _, i := range r.report.Items {
			line("  " + i.bar() + "  " + i.shown())
		}
		if r.report.More > 0 {
			line(fmt.Sprintf("  and %d more", r.report.More))
		}
	}
	b.WriteString("\x1b[J")
	return b.String()
}

// bar shows how far an upload is, or the state of what is not on its way.
func (i uploadItem) bar() string {
	if i.State != "uploading" {
		return fmt.Sprintf("%-*s %10s", barWidth+7, i.State, humanBytes(i.Size))
	}
	done := int(int64(barWidth) * min(i.Sent, i.Size) / max(i.Size, 1))
	return fmt.Sprintf("[%s%s] %4s %10s", strings.Repeat("#", done), strings.Repeat(".", barWidth-done), i.progress(), humanBytes(i.Size))
}
