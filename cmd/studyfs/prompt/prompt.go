// Package prompt asks whoever sits at the terminal, and nobody else: where there is none, it says so.
package prompt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// ErrNoTerminal says that there is nobody to ask.
var ErrNoTerminal = errors.New("there is no terminal to ask at")

// Terminal is where questions are asked. It is not safe for concurrent use.
type Terminal struct {
	open  func() (*os.File, error)
	tty   *os.File
	in    *bufio.Reader
	asked int
}

// New returns a Terminal that open opens with the first question.
func New(open func() (*os.File, error)) *Terminal { return &Terminal{open: open} }

// Close closes the terminal.
func (t *Terminal) Close() error {
	if t.tty == nil {
		return nil
	}
	return t.tty.Close()
}

// Asked is how many questions have been asked.
func (t *Terminal) Asked() int { return t.asked }

// Ready reports whether there is a terminal: ErrNoTerminal where there is none.
func (t *Terminal) Ready() error {
	if t.tty != nil {
		return nil
	}
	tty, err := t.open()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoTerminal, err)
	}
	t.tty, t.in = tty, bufio.NewReader(tty)
	return nil
}

// Say shows lines that are no question.
func (t *Terminal) Say(lines ...string) error {
	if err := t.Ready(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(t.tty, strings.Join(lines, "\n"))
	return err
}

// Line asks a question. Enter alone answers with fallback, which is shown where it is not empty. The end of ctx, and of the input, are
// context.Canceled.
func (t *Terminal) Line(ctx context.Context, question, fallback string) (string, error) {
	if err := t.Ready(); err != nil {
		return "", err
	}
	t.asked++
	if fallback != "" {
		question += " [" + fallback + "]"
	}
	t.show(question)
	text, err := t.wait(ctx, func() (string, error) { return t.in.ReadString('\n') })
	text = strings.TrimSpace(text)
	switch {
	case errors.Is(err, io.EOF) && text == "":
		return "", context.Canceled
	case err != nil && !errors.Is(err, io.EOF):
		return "", err
	case text == "":
		return fallback, nil
	}
	return text, nil
}

// Hidden asks a question whose answer is not shown.
func (t *Terminal) Hidden(ctx context.Context, question string) (string, error) {
	if err := t.Ready(); err != nil {
		return "", err
	}
	t.asked++
	fd := int(t.tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	t.show(question)
	text, err := t.wait(ctx, func() (string, error) {
		typed, err := term.ReadPassword(fd)
		return string(typed), err
	})
	if ctx.Err() != nil {
		term.Restore(fd, before) //nolint:errcheck // nothing more can be done
	}
	fmt.Fprintln(t.tty) //nolint:errcheck // as good as the terminal is
	if errors.Is(err, io.EOF) && text == "" {
		return "", context.Canceled
	}
	return strings.TrimSpace(text), err
}

// show shows a question. What it names may come from a file: it must not move the cursor.
func (t *Terminal) show(question string) {
	fmt.Fprint(t.tty, strings.Map(func(r rune) rune { //nolint:errcheck // as good as the terminal is
		if r != '\n' && unicode.IsControl(r) {
			return '?'
		}
		return r
	}, question)+": ")
}

// wait reads until ctx ends. A read that nobody waits for any more ends with the line, or with the process.
func (t *Terminal) wait(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
		return "", context.Canceled
	}
}
