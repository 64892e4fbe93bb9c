package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"studyfs/backends"
)

const (
	envKeyringPass = "NRG_KEYRING_PASS" // as mano has it
	envEncryptPass = "ENCRYPT_PASS"     // as the crypt.py that comes with mano has it
)

// passphraseFor returns the passphrase of what exists: from NRG_KEYRING_PASS, or else from whoever sits at the terminal.
// There is no flag for it, since every process can see the flags of all others. An interrupted question is
// context.Canceled, anything else a failure.
func passphraseFor(env environment, what string) (backends.Secret, error) {
	return passphrases{env, openTerminal}.existing(what)
}

// newPassphraseFor returns a passphrase for what will exist. A mistyped one would lose it, so it is asked for twice.
func newPassphraseFor(env environment, what string) (backends.Secret, error) {
	return passphrases{env, openTerminal}.fresh(what)
}

// passphrases is where they come from.
type passphrases struct {
	env      environment
	terminal func() (*os.File, error) // a new one for each question
}

func (p passphrases) existing(what string) (backends.Secret, error) {
	if text := p.env.get(envKeyringPass); text != "" {
		return backends.NewSecret(text), nil
	}
	return p.ask(what, "passphrase of "+what)
}

func (p passphrases) fresh(what string) (backends.Secret, error) {
	for _, name := range []string{envKeyringPass, envEncryptPass} {
		if text := p.env.get(name); text != "" {
			return backends.NewSecret(text), nil
		}
	}
	first, err := p.ask(what, "new passphrase for "+what)
	if err != nil {
		return first, err
	}
	if first.Empty() {
		return first, &failure{What: what, Why: "an empty passphrase protects nothing", Do: "choose another, and keep it: nobody can recover it", Code: exitUsage}
	}
	second, err := p.ask(what, "the same again")
	if err != nil {
		return second, err
	}
	if first.Reveal() != second.Reveal() {
		return first, &failure{What: what, Why: "the two passphrases differ", Do: "try again; nothing was written", Code: exitUsage}
	}
	return first, nil
}

// openTerminal opens what the user types at, whatever standard input is.
func openTerminal() (*os.File, error) { return os.OpenFile("/dev/tty", os.O_RDWR, 0) }

// ask asks a question whose answer is not shown. Ctrl-C would leave the terminal without echo, so that is caught.
func (p passphrases) ask(what, question string) (backends.Secret, error) {
	tty, err := p.terminal()
	if err != nil {
		return backends.Secret{}, &failure{
			What: what, Why: "its passphrase is needed, and there is no terminal to ask for it",
			Do: "put it into the variable " + envKeyringPass, Code: exitPermission,
		}
	}
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		tty.Close() //nolint:errcheck // nothing was written
		return backends.Secret{}, fmt.Errorf("terminal: %w", err)
	}
	ctx, release := interruptible()
	defer release()
	fmt.Fprint(tty, "studyfs: "+strings.Map(printableOnly, question)+": ") //nolint:errcheck // as good as the terminal is
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the line, or with the process
		text, err := term.ReadPassword(fd)
		fmt.Fprintln(tty) //nolint:errcheck // as above
		tty.Close()       //nolint:errcheck // as above
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return backends.Secret{}, fmt.Errorf("read passphrase: %w", a.err)
		}
		return backends.NewSecret(string(a.text)), nil
	case <-ctx.Done():
		term.Restore(fd, before) //nolint:errcheck // nothing more can be done
		fmt.Fprintln(tty)        //nolint:errcheck // as above
		return backends.Secret{}, context.Canceled
	}
}

// printableOnly keeps a file's name from moving the cursor.
func printableOnly(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}
