package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// demoDir is where the demo is mounted if nothing else is said.
const demoDir = "studyfs-demo"

func (a *app) demoCommand() *cobra.Command {
	var servers bool
	c := &cobra.Command{
		Use: "demo [DIR] [-- CMD ARGS...]", Short: "try it without keys, on made-up data",
		Long: "Starts an S3 and a Beiwe server with made-up data inside this program and mounts them at DIR (default\n" +
			"./" + demoDir + "): an Empatica organisation, an HCP-like and a BIDS-like bucket, a Beiwe study whose phones go on\n" +
			"uploading, and an empty bucket of a lab to copy files into. Ctrl-C unmounts and cleans up.\n" +
			"With a command: runs it inside the mount, cleans up and exits with its code.\n" +
			"With --servers: mounts nothing, prints one line of JSON with the addresses and the keys of the servers, and serves\n" +
			"until interrupted, for any other client to try.",
		Example:           "  studyfs demo\n  studyfs demo ~/try -- sh -c 'ls -lR empatica | head'\n  studyfs demo --servers",
		ValidArgsFunction: completeDirs,
		RunE: func(c *cobra.Command, args []string) error {
			dash := c.ArgsLenAtDash()
			if dash < 0 {
				dash = len(args)
			}
			dir, command := demoDir, args[dash:]
			switch {
			case dash > 1:
				return &failure{What: "demo", Why: fmt.Sprintf("%q is too much", args[1]), Do: "studyfs " + c.Use, Code: exitUsage}
			case servers && len(args) > 0:
				return &failure{What: "demo", Why: "--servers mounts nothing: it takes no DIR and no CMD", Do: "studyfs demo --servers", Code: exitUsage}
			case dash == 1:
				dir = args[0]
			}
			return a.demo(dir, command, servers)
		},
	}
	c.Flags().BoolVar(&servers, "servers", false, "mount nothing; serve for other clients until interrupted")
	return c
}

func (a *app) demo(dir string, command []string, servers bool) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	d, err := startDemo()
	if err != nil {
		return err
	}
	defer d.close()
	if servers {
		return a.demoServers(d)
	}
	private, err := os.MkdirTemp("", "studyfs-demo-") // its cache: the next demo has another port, nothing would be reused
	if err != nil {
		return &failure{What: "cannot create a temporary directory", Why: lastCause(err), Do: "set TMPDIR", Code: exitCannotCreate}
	}
	defer os.RemoveAll(private) //nolint:errcheck // the system's to clean
	p, err := findPlaces(l.env, l.Cache.Dir, l.State.Dir)
	if err != nil {
		return err
	}
	if err := p.make(); err != nil {
		return err
	}
	l.Cache.Dir, l.State.Dir = filepath.Join(private, "cache"), filepath.Join(private, "state")
	m, err := a.prepare(l, dir, d.sources())
	if err != nil {
		return err
	}
	m.Folders, m.Leash, m.Log = true, true, p.log("demo")
	m.RuntimeDir = p.runtime // so that "studyfs status" sees it
	if len(command) > 0 {
		return a.runInside(m, command)
	}
	return a.showDemo(m, dir)
}

// showDemo keeps the mount until Ctrl-C, which is its ordinary end.
func (a *app) showDemo(m *mountSpec, dir string) error {
	ctx, release := interruptible()
	defer release()
	s, _, err := a.bringUp(ctx, m)
	if err != nil {
		return err
	}
	defer s.stop()
	where := quote(dir)
	a.sayPlain("An Empatica organisation, a Beiwe study, an HCP-like, a BIDS-like and a lab's bucket are folders now. In another terminal, try:",
		"  ls -lR "+where+"/empatica | head -40",
		"  head -n 3 "+where+"/empatica/*/*/participant_data/*/*/digital_biomarkers/*/*_eda.csv",
		"  ls -l "+where+"/beiwe/*/*/gps | tail -3        # and again half a minute later: phones upload",
		"  find "+where+"/bids -name '*.nii*' -ls; "+self()+" status",
		"  cp -r "+where+"/bids/* "+where+"/lab; "+self()+" uploads watch        # it is uploaded; Ctrl-C",
		"Ctrl-C here unmounts it and removes everything again.")
	select {
	case <-ctx.Done():
	case <-s.ended:
		a.say(dir + " was unmounted")
	}
	return nil
}

// demoServers prints what other clients need, in one line, and serves until interrupted.
func (a *app) demoServers(d *demo) error {
	ctx, release := interruptible()
	defer release()
	dir, err := os.MkdirTemp("", "studyfs-demo-") // 0700
	if err != nil {
		return &failure{What: "cannot create a temporary directory", Why: lastCause(err), Do: "set TMPDIR", Code: exitCannotCreate}
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system's to clean
	keys := filepath.Join(dir, "keys.csv")
	if err := os.WriteFile(keys, d.empatica.csv("s3://"+empaticaBucket+"/"+empaticaPrefix), 0o600); err != nil {
		return &failure{What: keys, Why: lastCause(err), Code: exitCannotCreate}
	}
	beiwe, err := d.beiwe.addresses(dir)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(a.out).Encode(demoAddresses{
		Beiwe:    beiwe,
		S3:       demoS3{Endpoint: d.endpoint, Region: demoRegion, AccessKey: d.admin.id, SecretKey: d.admin.secret, Buckets: d.buckets},
		Empatica: demoEmpatica{KeysCSV: keys},
	}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// demoAddresses is what demo --servers prints. The keys in it open made-up data in this process only.
type demoAddresses struct {
	S3       demoS3       `json:"s3"`
	Beiwe    demoAccount  `json:"beiwe"`
	Empatica demoEmpatica `json:"empatica"`
}

type demoS3 struct {
	Endpoint  string   `json:"endpoint"`
	Region    string   `json:"region"`
	AccessKey string   `json:"access_key"`
	SecretKey string   `json:"secret_key"`
	Buckets   []string `json:"buckets"`
}

type demoEmpatica struct {
	KeysCSV string `json:"keys_csv"` // path of a keys file
}
