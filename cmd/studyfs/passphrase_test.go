package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func waitForSilence(terminal *os.File) {
	for begin := time.Now(); echoes(terminal) && time.Since(begin) < time.Minute; {
		time.Sleep(time.Millisecond)
	}
}

// dialog answers questions as they appear and returns all that the user saw.
func dialog(t *testing.T, user *os.File, questions, answers []string) <-chan string {
	t.Helper()
	seen := make(chan string, 1)
	go func() {
		var all strings.Builder
		buf := make([]byte, 256)
		for i := 0; i < len(questions); {
			n, err := user.Read(buf)
			if err != nil {
				break
			}
			if all.Write(buf[:n]); strings.Count(all.String(), questions[i]) > 0 && strings.HasSuffix(all.String(), ": ") {
				waitForSilence(user)
				user.WriteString(answers[i])
				i++
			}
		}
		seen <- all.String()
	}()
	return seen
}

func onTerminal(t *testing.T, path string, variables ...string) passphrases {
	t.Helper()
	return passphrases{testEnv(t, variables...), func() (*os.File, error) { return os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0) }}
}

func TestPassphraseIsAskedFor(t *testing.T) {
	user, path := terminalPair(t)
	seen := dialog(t, user, []string{"passphrase of the keyring"}, []string{"pässwörd-日本\n"})
	got, err := onTerminal(t, path).existing("the keyring a\x1bb")
	if err != nil || got.Reveal() != "pässwörd-日本" {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
	if text := <-seen; strings.Contains(text, "ssw") || !strings.Contains(text, "a?b") {
		t.Errorf("the user saw %q; want the question, without the control character, and not the answer", text)
	}
}

// A mistyped passphrase would lock its owner out: a new one is asked for twice, and has to be the same.
func TestNewPassphraseIsAskedForTwice(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		want    string
		code    int
	}{
		"same":      {[]string{"one\n", "one\n"}, "", exitOK},
		"different": {[]string{"one\n", "two\n"}, "differ", exitUsage},
		"empty":     {[]string{"\n"}, "empty", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			user, path := terminalPair(t)
			seen := dialog(t, user, []string{"new passphrase for", "the same again"}[:len(c.answers)], c.answers)
			got, err := onTerminal(t, path).fresh("the keyring")
			if codeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.want) || err == nil && got.Reveal() != "one" {
				t.Errorf("got %q, %v; want %q, exit %d", got.Reveal(), err, c.want, c.code)
			}
			<-seen
		})
	}
}

// Ctrl-C at the question ends the command and leaves a terminal that shows again what is typed.
func TestInterruptedQuestion(t *testing.T) {
	user, path := terminalPair(t)
	ended := make(chan error, 1)
	go func() {
		_, err := onTerminal(t, path).existing("the keyring")
		ended <- err
	}()
	waitForSilence(user)
	if echoes(user) {
		t.Fatal("the echo was never turned off")
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) || report(&strings.Builder{}, err) != exitInterrupted {
		t.Errorf("got %v; want exit %d", err, exitInterrupted)
	}
	if !echoes(user) {
		t.Error("the terminal stays without echo")
	}
	user.WriteString("\n") // lets the question end
}

func TestPassphraseFromTheEnvironment(t *testing.T) {
	none := func() (*os.File, error) { return nil, syscall.ENXIO }
	p := passphrases{testEnv(t, "NRG_KEYRING_PASS", "a", "ENCRYPT_PASS", "b"), none}
	if got, err := p.existing("x"); err != nil || got.Reveal() != "a" {
		t.Errorf("%q, %v", got.Reveal(), err)
	}
	if got, err := p.fresh("x"); err != nil || got.Reveal() != "a" {
		t.Errorf("%q, %v; mano will read it with NRG_KEYRING_PASS", got.Reveal(), err)
	}
	p.env = testEnv(t, "ENCRYPT_PASS", "b")
	if got, err := p.fresh("x"); err != nil || got.Reveal() != "b" {
		t.Errorf("%q, %v", got.Reveal(), err)
	}
	if _, err := p.existing("the keyring f"); codeOf(err) != exitPermission || !strings.Contains(err.Error(), "NRG_KEYRING_PASS") {
		t.Errorf("a job without a terminal: %v; want the variable's name and exit %d, and no waiting", err, exitPermission)
	}
}
