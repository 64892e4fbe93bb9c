// Package host tells what operating systems tell each in their own way: what is mounted, who is at the other end of a socket, what a process
// runs, what kind of disk a directory lies on. Nothing in it waits for a network, but for the disks that it is asked about.
package host

// Disk is the file system that a directory lies on.
type Disk struct {
	Name   string // as people call it: ext4, nfs, apfs, …; "unknown"
	Remote bool   // the files lie on another machine
	NoExec bool   // programs cannot be started from there
}
