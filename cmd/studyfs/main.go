// Command studyfs mounts study data as folders: Empatica organisations, HCP, any S3 prefix.
//
// Called as mount.studyfs it is a helper of mount(8), see fstabhelper.go. One process serves one mount. The commands talk to it over a control socket, see control.go; mount, run and demo
// start it, see daemon.go; serve.go is what it does. Settings come from one table, see settings.go and config.go, and
// every message and exit code from messages.go.
package main

import (
	"os"
)

func processEnvironment() environment { return environment{lookup: os.LookupEnv, uid: os.Geteuid()} }

func main() {
	if len(os.Args) == 2 && os.Args[1] == serveCommand {
		os.Exit(serve())
	}
	a := &app{env: processEnvironment(), out: os.Stdout, err: os.Stderr}
	os.Exit(a.runAs(os.Args[0], os.Args[1:]))
}
