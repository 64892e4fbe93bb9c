package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) mountCommand() *cobra.Command {
	var foreground bool
	c := &cobra.Command{
		Use: "mount [-f] SOURCE... DIR", Short: "show the files of a source at DIR", ValidArgsFunction: a.completeSources,
		Long: `Mounts sources at DIR and returns when ls works there. One source: its files at DIR. Several, or none for all of
the configuration: one folder each.

A SOURCE is one of
  empatica:KEYS.csv       an organisation, with the Data Access Keys as the Empatica portal gives them
  beiwe:SECTION           the studies of a Beiwe account in mano's keyring (--keyring, NRG_KEYRING_PASS); "beiwe:" alone takes the
                          account from BEIWE_URL, BEIWE_ACCESS_KEY and BEIWE_SECRET_KEY
  hcp:                    the Human Connectome Project (keys from the AWS profile "hcp", or --profile)
  s3://bucket/prefix/     any S3 prefix (--profile, --anonymous, --requester-pays, --endpoint-url)
  azure://account/container/prefix/
                          an Azure Blob container, with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or --anonymous
  NAME                    a [source.NAME] of the configuration

A DIR that does not exist is created below an existing directory, and removed again by umount. What a process that
has died left mounted at DIR is cleared first. A keys file that others can read, or that git keeps, is refused; one
that git does not ignore is warned of.

With --write, files can be copied into sources of kind s3. Closing a file returns when it is safe on this disk
(--durability); it is uploaded when nobody has touched it for 5 seconds, however long the network is away, also by the
next mount. Nothing that others have stored meanwhile is overwritten. Stored files are deleted or renamed only with
--delete. studyfs uploads shows what is on its way; studyfs umount --flush waits for it. Without --write, nothing is
ever written to a source.

Exit code 3: mounted, but not every source answered. 75: another process writes to this source from this machine.`,
		Example: "  studyfs mount empatica:keys.csv ~/empatica\n  studyfs mount beiwe:beiwe.onnela ~/beiwe --lock gps\n  studyfs mount s3://openneuro.org/ds000001/ ~/ds1 --anonymous\n" +
			"  studyfs mount s3://lab-data/study1/ ~/study1 --profile lab --write",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return nil
			}
			return exactly(1, "a DIR to mount at")(c, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			last := len(args) - 1
			return a.mount(args[:last], args[last], foreground)
		},
	}
	c.Flags().BoolVarP(&foreground, "foreground", "f", false, "stay in front; Ctrl-C unmounts")
	a.sourceFlags(c)
	return c
}

// sourceFlags adds the flags that say how sources are reached.
func (a *app) sourceFlags(c *cobra.Command) {
	c.Flags().SortFlags = false
	a.given.register(c.Flags(), &sourceConfig{})
}

func (a *app) mount(args []string, dir string, foreground bool) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	if looksLikeSource(dir) { // the DIR was forgotten
		return exactly(0, "a DIR to mount at, after the sources")(a.mountCommand(), []string{dir})
	}
	sources, notices, err := l.sourcesOf(args)
	if err != nil {
		return err
	}
	a.sayAll(notices)
	return a.mountSources(l, args, sources, dir, foreground)
}

// mountSources mounts what args named (none: all of the configuration).
func (a *app) mountSources(l *loaded, args []string, sources []sourceSpec, dir string, foreground bool) error {
	m, err := a.prepare(l, dir, sources)
	if err != nil {
		return err
	}
	if m.RemoveDir {
		a.say("created " + m.Dir + " (umount removes it again)")
	}
	m.Folders, m.Origin = len(args) == 0 || len(sources) > 1, l.origin(args)
	if m.Leash = foreground; !foreground {
		m.Log = m.places().log(hashOf(m.Dir))
	}
	hangups := make(chan os.Signal, 1)
	ctx, release := interruptible()
	if foreground && !hasTerminal() { // nothing can hang up: SIGHUP is how systemd asks to reload
		release()
		ctx, release = interruptibleBut(hangups)
	}
	defer release()
	s, r, err := a.bringUp(ctx, m)
	if err != nil {
		return err
	}
	if foreground {
		go s.pass(hangups)
		a.say("mounted at " + m.Dir + "; Ctrl-C unmounts")
		attend(ctx, s, m)
	}
	if r.Partial {
		return statusError(exitPartial)
	}
	return nil
}

func (a *app) sayAll(notices []string) {
	for _, text := range notices {
		a.say(text)
	}
}

// prepare makes the mount point ready and puts the mount together.
func (a *app) prepare(l *loaded, dir string, sources []sourceSpec) (*mountSpec, error) {
	dir, err := absolute(dir)
	if err != nil {
		return nil, err
	}
	m, err := l.newMountSpec(dir, sources)
	if err == nil {
		err = m.fitsNoOpen()
	}
	if err == nil {
		err = newCacheKeys(l.env, m.places()).fill(m.Sources)
	}
	var notices []string
	if err == nil {
		notices, err = l.lockStages(m.places(), m.Sources)
	}
	if err != nil {
		return nil, err
	}
	a.sayAll(notices)
	m.RemoveDir, notices, err = prepareMountPoint(m.places(), dir, a.env)
	if err != nil {
		return nil, err
	}
	a.sayAll(notices)
	return m, nil
}

// bringUp starts the serving process of m and waits until the mount can be used.
func (a *app) bringUp(ctx context.Context, m *mountSpec) (*server, readiness, error) {
	s, err := start(m)
	if err != nil {
		m.undo()
		return nil, readiness{}, err
	}
	stopping := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		s.stop()
		close(stopping)
	})
	r, err := s.wait(m)
	if !cancel() {
		<-stopping
		err = statusError(exitInterrupted)
	}
	if err != nil {
		m.undo()
		return nil, r, err
	}
	a.sayAll(r.Notices)
	a.sayPage(r.Page)
	return s, r, nil
}

// undo removes the directory that was made for a mount that did not come about.
func (m *mountSpec) undo() {
	if m.RemoveDir {
		os.Remove(m.Dir) //nolint:errcheck // the serving process may have removed it
	}
}
