// Package systemd tells a service manager how a mount gets on: that it can be used, that it still answers, what it does, that it ends.
// Where no service manager listens, nothing is told.
package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// statusEvery is how often the line of systemctl status is looked at where there is no watchdog.
const statusEvery = 30 * time.Second

// Options are what a Unit is made of.
type Options struct {
	// Alive asks something of the mount that only its process can answer, and returns when it has, or with the context.
	Alive func(context.Context) error
	// Status is one line about the mount. It must name no files.
	Status func(context.Context) string
	// Send gives a message to the service manager; nil stands for the one that has started this process (NOTIFY_SOCKET).
	Send func(message string)
	// Every is how often Alive is asked; 0 stands for half of what the service manager's watchdog allows (WATCHDOG_USEC).
	Every time.Duration
	// Tick ticks that often; nil stands for a ticker.
	Tick <-chan time.Time
}

// Unit is a mount as its service manager sees it.
type Unit struct {
	o    Options
	told string
}

// New reads what the service manager expects.
func New(o Options) *Unit {
	if o.Send == nil {
		o.Send = func(message string) { daemon.SdNotify(false, message) } //nolint:errcheck // nobody listens
	}
	if o.Every == 0 {
		o.Every = statusEvery
		if limit, err := daemon.SdWatchdogEnabled(false); err == nil && limit > 0 {
			o.Every = limit / 2
		}
	}
	return &Unit{o: o}
}

// Ready tells that the mount can be used.
func (u *Unit) Ready(ctx context.Context) {
	u.told = u.line(ctx)
	u.o.Send(daemon.SdNotifyReady + "\nSTATUS=" + u.told)
}

// Watch tells that the mount answers, each time that it does, until ctx ends. When it does not, nothing is told, and the watchdog ends
// this process; the reason stands in the status by then.
func (u *Unit) Watch(ctx context.Context) {
	tick := u.o.Tick
	if tick == nil {
		t := time.NewTicker(u.o.Every)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			u.look(ctx)
		}
	}
}

func (u *Unit) look(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, u.o.Every)
	defer cancel()
	err := u.o.Alive(limited)
	if ctx.Err() != nil {
		return
	}
	var message []string
	line := ""
	if err == nil {
		message, line = append(message, daemon.SdNotifyWatchdog), u.line(limited)
	} else {
		line = fmt.Sprintf("the mount does not answer (%v)", err)
	}
	if line != u.told {
		u.told = line
		message = append(message, "STATUS="+line)
	}
	if len(message) > 0 {
		u.o.Send(strings.Join(message, "\n"))
	}
}

// Stopping tells that the end was asked for: from now on the service manager waits.
func (u *Unit) Stopping() { u.o.Send(daemon.SdNotifyStopping + "\nSTATUS=unmounting") }

// line is the status as one line.
func (u *Unit) line(ctx context.Context) string {
	return strings.Join(strings.Fields(u.o.Status(ctx)), " ")
}
