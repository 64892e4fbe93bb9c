package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"studyfs/backends"
	"studyfs/backends/crypt"
)

// catFlags are those of the source flags that open a file.
type catFlags struct {
	Identity string `toml:"identity" help:"private keys for age files: file:KEYS as age-keygen writes it, or cmd:COMMAND that prints that"`
	Password string `toml:"password" help:"password of other files: file:FILE, cmd:COMMAND, or prompt (it is asked for)"`
}

func (a *app) catCommand() *cobra.Command {
	var decrypt bool
	c := &cobra.Command{
		Use: "cat FILE", Short: "print a file, decrypted",
		Long: "Prints a file of this machine or of a mount. With --decrypt it may be encrypted with age, with \"openssl enc -des\"\n" +
			"(as old .enc files are) or with cryptease (.lock): which, is seen from the file itself. Where a .lock file or an .enc\n" +
			"file was altered, or the password is wrong, what comes out may be garbage: nothing in these formats tells.",
		Example: "  studyfs cat --decrypt --identity file:key.txt video.avi.age > video.avi\n  studyfs cat --decrypt --password prompt old.enc | ffplay -",
		Args:    exactly(1, "a file"), ValidArgsFunction: completeFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.cat(args[0], decrypt)
		},
	}
	c.Flags().SortFlags = false
	c.Flags().BoolVar(&decrypt, "decrypt", false, "decrypt it")
	a.given.register(c.Flags(), &catFlags{})
	return c
}

func (a *app) cat(path string, decrypt bool) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return &failure{What: path, Why: lastCause(err), Code: exitError}
	}
	defer f.Close() //nolint:errcheck // only read
	ctx, release := interruptible()
	defer release()
	var text io.Reader = f
	if decrypt {
		if text, err = l.decryptFile(ctx, f); err != nil {
			return catFailure(path, err)
		}
	}
	if _, err := io.Copy(a.out, text); err != nil {
		return catFailure(path, err)
	}
	return nil
}

// decryptFile opens a file with the keys that are set.
func (l *loaded) decryptFile(ctx context.Context, f *os.File) (io.Reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a file")
	}
	c, err := l.source("")
	if err != nil {
		return nil, err
	}
	spec := sourceSpec{Kind: kindS3, Crypt: &cryptSpec{}}
	if spec.Crypt.IdentityRef, err = secretRef("identity", c.Identity, "file", "cmd", refKeyring); err != nil {
		return nil, err
	}
	if spec.Crypt.PasswordRef, err = secretRef("password", c.Password, "file", "cmd", refKeyring, "prompt"); err != nil {
		return nil, err
	}
	if err := spec.readSecrets(l.env); err != nil { //nolint:contextcheck // a command that prints keys has a limit of its own
		return nil, err
	}
	keys, err := spec.Crypt.keys()
	if err != nil {
		return nil, err
	}
	return crypt.Decrypt(ctx, f, info.Size(), keys)
}

func catFailure(path string, err error) error {
	if known, ok := errors.AsType[*failure](err); ok {
		return known
	}
	f := &failure{What: path, Why: fmt.Sprint(err), Code: exitIO}
	if errors.Is(err, backends.ErrPermission) {
		f.Do, f.Code = "give the right key: --identity file:KEYS for age files, --password file:FILE for others", exitPermission
	}
	return f
}
