// Command bench is the laboratory: it starts stores, shapes the network before them, runs studyfs and its peers on the same work in turn, checks
// every byte, and writes what it measured as JSON, as a Markdown table and as charts.
//
//	go -C tests run ./bench --sizes quick
//	go -C tests run ./bench --sizes full --only '^Listings'
//
// Peers are taken from PATH, from where `go install` puts programs, or from STUDYFS_RCLONE and STUDYFS_S3FS. As root it drops the kernel's caches
// before each run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"studyfs/tests/bench/report"
	"studyfs/tests/bench/store"
	"studyfs/tests/bench/work"
)

type options struct {
	size    work.Size
	only    *regexp.Regexp
	runs    int
	out     string // "" writes nothing
	budget  time.Duration
	program string // studyfs, "" to build it
	noPeers bool
	noDrop  bool
	keep    bool
	add     bool
	command string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv(store.Child) != "" {
		out := os.Stdout
		os.Stdout = os.Stderr // whatever a server prints must not come between answers
		if err := store.Serve(context.Background(), os.Stdin, out); err != nil {
			fmt.Fprintln(os.Stderr, "store:", err)
			os.Exit(1)
		}
		return
	}
	o, err := parse(os.Args[1:], os.Stderr)
	if err == nil {
		err = run(ctx, o, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string, to io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(to)
	size := flags.String("sizes", string(work.Quick), "how much to measure: quick (4 minutes), medium (13), full (two hours)")
	only := flags.String("only", "", "only workloads whose group and name match this regular expression")
	flags.IntVar(&o.runs, "runs", 0, "runs of each workload (default: 1 of quick, else 5)")
	flags.StringVar(&o.out, "out", filepath.Join(root(), "docs"), "where to write benchmarks.json, the table in benchmarks.md and the charts")
	flags.DurationVar(&o.budget, "budget", 0, "no run begins after so long (default: 3m of quick, 12m of medium, 2h of full)")
	flags.StringVar(&o.program, "program", os.Getenv("STUDYFS_TEST_PROGRAM"), "studyfs, built before")
	flags.BoolVar(&o.noPeers, "no-peers", false, "only studyfs and the references")
	flags.BoolVar(&o.noDrop, "keep-caches", false, "do not drop the kernel's caches: what is printed is not cold")
	flags.BoolVar(&o.keep, "keep", false, "leave the homes of all mounts, with their logs, in the folder for temporary files")
	flags.BoolVar(&o.add, "add", false, "keep what is in --out of workloads that are not measured now: for a table that takes several sittings")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.size = work.Size(*size)
	defaults, known := map[work.Size]struct {
		runs   int
		budget time.Duration
	}{work.Quick: {1, 3 * time.Minute}, work.Medium: {5, 12 * time.Minute}, work.Full: {5, 2 * time.Hour}}[o.size]
	if !known || flags.NArg() > 0 {
		return o, fmt.Errorf("--sizes is quick, medium or full, and there are no arguments: %s %v", o.size, flags.Args())
	}
	if o.runs <= 0 {
		o.runs = defaults.runs
	}
	if o.budget <= 0 {
		o.budget = defaults.budget
	}
	o.command = fmt.Sprintf("go -C tests run ./bench --sizes %s --runs %d", o.size, o.runs) // no paths of this machine
	if *only != "" {
		o.command += fmt.Sprintf(" --only '%s'", *only)
	}
	if o.noPeers {
		o.command += " --no-peers"
	}
	o.only, err = regexp.Compile(*only)
	return o, err
}

// root is the folder of the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// run measures and writes.
func run(ctx context.Context, o options, progress io.Writer) error {
	var all []work.Workload
	for _, w := range work.All(o.size) {
		if o.only.MatchString(w.Group + ": " + w.Name) {
			all = append(all, w)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("no workload matches %s", o.only)
	}
	l, err := newLab(ctx, o, all, progress)
	if err != nil {
		return err
	}
	defer l.close()
	l.measure(ctx, all)
	if o.runs > 1 {
		l.result.Notes = append(l.result.Notes, fmt.Sprintf("Who took longer than %v for a workload, and %d times as long as studyfs, did it once.", slow, times))
	}
	if o.out == "" {
		return nil
	}
	result := l.result
	if o.add {
		if result, err = added(result, o.out); err != nil {
			return err
		}
	}
	if err := write(result, o.out); err != nil {
		return err
	}
	fmt.Fprintf(progress, "written to %s\n", o.out)
	return nil
}

// added returns a result with the rows that a folder has of other workloads.
func added(result report.Run, dir string) (report.Run, error) {
	var before report.Run
	raw, err := os.ReadFile(filepath.Join(dir, "benchmarks.json"))
	if errors.Is(err, os.ErrNotExist) {
		return result, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &before)
	}
	return report.Merge(before, result), err
}

// write puts the three forms of a result into a folder.
func write(result report.Run, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "benchmarks.json"), append(raw, '\n'), 0o644); err != nil { //nolint:gosec // to be read by all
		return err
	}
	text := report.Table(result)
	for _, group := range report.Groups(result) {
		picture, err := report.Chart(result, group)
		if err != nil {
			return err
		}
		if picture == nil {
			continue
		}
		name := "benchmarks-" + strings.ReplaceAll(strings.ToLower(group), " ", "-") + ".png"
		if err := os.WriteFile(filepath.Join(dir, name), picture, 0o644); err != nil { //nolint:gosec // to be read by all
			return err
		}
		heading := "### " + group + "\n"
		text = strings.Replace(text, heading, heading+fmt.Sprintf("\n![%s](%s)\n", group, name), 1)
	}
	page := filepath.Join(dir, "benchmarks.md")
	before, err := os.ReadFile(page)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(page, []byte(report.Insert(string(before), text)), 0o644) //nolint:gosec // to be read by all
}
