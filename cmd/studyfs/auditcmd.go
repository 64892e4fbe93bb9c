package main

import (
	"encoding/json"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"studyfs/cmd/studyfs/audit"
)

func (a *app) auditCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "who opened, uploaded and deleted which file", Args: atMost(0),
		Long: "Mounts of people's data (empatica, beiwe, azure, encrypted) and all that can be written to note who opens a file for\n" +
			"reading, what is uploaded, deleted and asked for from an archive: user, process, program and file (--audit off|on|strict).\n" +
			"The log lies in audit/ below the state directory. Names stand in it encrypted, with a key that lies beside it; each line\n" +
			"carries the hash of the one before.",
		Example: "  studyfs audit show --names --since 24h\n  studyfs audit verify",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.auditShowCommand(), a.auditVerifyCommand())
	return c
}

// auditFilter is what of the log is shown.
type auditFilter struct {
	since, until, op, source, user string
	names, asJSON, verify          bool

	from, to time.Time
	uid      int64 // below 0: all
}

func (a *app) auditShowCommand() *cobra.Command {
	var f auditFilter
	c := &cobra.Command{
		Use: "show", Short: "show the log, oldest first", Args: atMost(0),
		Long: "Shows a line for each event: time, operation, user, process, program, source and file. The file is a pseudonym, the\n" +
			"same for the same file in every line, unless --names opens the names.",
		Example: "  studyfs audit show --names --since 24h --op open-read\n  studyfs audit show --json --user me | jq -r .op | sort | uniq -c",
		RunE: func(*cobra.Command, []string) error {
			if f.verify {
				if err := a.verifyAudit("", false); err != nil {
					return err
				}
			}
			return a.showAudit(f)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.since, "since", "", "from this time on: 2026-10-31, 2026-10-31T12:00:00Z, or 24h ago")
	flags.StringVar(&f.until, "until", "", "up to this time")
	flags.StringVar(&f.op, "op", "", "only this operation: open-read, upload, delete, refuse, restore, key-change, export, cache-wipe, mount, umount")
	flags.StringVar(&f.source, "source", "", "only this source")
	flags.StringVar(&f.user, "user", "", "only this user, by name or number")
	flags.BoolVar(&f.names, "names", false, "show the names of files")
	flags.BoolVar(&f.asJSON, "json", false, "print the lines as JSON, one each; with --names they have a \"name\"")
	flags.BoolVar(&f.verify, "verify", false, "verify the chain first")
	return c
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var seen string
	var asJSON bool
	c := &cobra.Command{
		Use: "verify", Short: "tell whether lines were altered, removed or added", Args: atMost(0),
		Long: "Follows the chain of hashes through all files of the log and tells where it breaks (exit code 1). A line that a crash\n" +
			"has cut off is told from that. Whoever can write to the directory can write all of it anew: keep the number and hash that\n" +
			"this prints somewhere else, and give them to --seen later.",
		Example: "  studyfs audit verify\n  studyfs audit verify --seen $(cat ~/last-seen)",
		RunE:    func(*cobra.Command, []string) error { return a.verifyAudit(seen, asJSON) },
	}
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&seen, "seen", "", "NUMBER:HASH of a line, as an earlier verify printed it")
	return c
}

func (a *app) auditReader() (*audit.Reader, error) {
	p, err := a.places()
	if err != nil {
		return nil, err
	}
	r, err := audit.NewReader(p.audit())
	if err != nil {
		return nil, &failure{What: "audit log in " + p.audit(), Why: lastCause(err), Code: exitIO}
	}
	return r, nil
}

// auditVerdict is what verify --json prints.
type auditVerdict struct {
	Schema int    `json:"schema"`
	Whole  bool   `json:"whole"`
	Broken string `json:"broken,omitempty"` // where the chain breaks
	Lines  int64  `json:"lines"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Torn   int    `json:"torn"` // lines that a crash has cut off
	Head   string `json:"head"` // hash of the last line
}

// auditSeen reads what an earlier verify printed.
func auditSeen(text string) (audit.Seen, error) {
	if text == "" {
		return audit.Seen{}, nil
	}
	number, hash, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n == 0 || len(hash) != 64 {
		return audit.Seen{}, usagef("audit: --seen is NUMBER:HASH, as verify prints it")
	}
	return audit.Seen{Seq: n, Hash: hash}, nil
}

func (a *app) verifyAudit(text string, asJSON bool) error {
	seen, err := auditSeen(text)
	if err != nil {
		return err
	}
	r, err := a.auditReader()
	if err != nil {
		return err
	}
	v, err := r.Verify(seen)
	if err != nil {
		return &failure{What: "audit log", Why: lastCause(err), Code: exitIO}
	}
	torn := v.Torn + btoi(v.TornEnd)
	if asJSON {
		if err := printJSON(a.out, auditVerdict{statusSchema, v.Broken == "", v.Broken, v.Lines, v.First, v.Last, torn, v.Head}); err != nil {
			return err
		}
	}
	if v.Broken != "" {
		return &failure{What: "audit log", Why: "the chain is broken: " + v.Broken, Do: "what stands before that place is as it was written", Code: exitError}
	}
	if asJSON {
		return nil
	}
	note := ""
	if torn > 0 {
		note = ", " + count(torn, "line", "lines") + " cut off by a crash"
	}
	_, err = fmt.Fprintf(a.out, "the chain is whole: %d lines, numbers %d to %d%s\n%d:%s\n", v.Lines, v.First, v.Last, note, v.Last, v.Head)
	return err
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// resolve reads the filter's times and user.
func (f *auditFilter) resolve(now time.Time) (err error) {
	f.uid = -1
	if f.from, err = auditTime(f.since, now); err != nil {
		return usagef("audit: --since: %v", err)
	}
	if f.to, err = auditTime(f.until, now); err != nil {
		return usagef("audit: --until: %v", err)
	}
	if f.user == "" {
		return nil
	}
	if f.uid, err = strconv.ParseInt(f.user, 10, 33); err == nil {
		return nil
	}
	u, err := user.Lookup(f.user)
	if err != nil {
		return &failure{What: f.user, Why: "no such user here", Do: "give the user's number", Code: exitUsage}
	}
	f.uid, err = strconv.ParseInt(u.Uid, 10, 33)
	return err
}

func auditTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil { //nolint:gosmopolitan // what the user's clock shows
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2026-10-31, 2026-10-31T12:00:00Z or 24h", text)
}

func (f *auditFilter) wants(r audit.Record) bool {
	return (f.from.IsZero() || !r.Time.Before(f.from)) && (f.to.IsZero() || r.Time.Before(f.to)) &&
		(f.op == "" || f.op == r.Op) && (f.source == "" || f.source == r.Source) && (f.uid < 0 || f.uid == int64(r.UID))
}

// auditLine is a line as show --json prints it.
type auditLine struct {
	audit.Record
	Name string `json:"name,omitempty"`
}

func (a *app) showAudit(f auditFilter) error {
	if err := f.resolve(time.Now()); err != nil {
		return err
	}
	r, err := a.auditReader()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	asJSON := json.NewEncoder(a.out)
	users := map[uint32]string{}
	bad := 0
	for line, err := range r.Lines() {
		if err != nil {
			return &failure{What: "audit log", Why: lastCause(err), Code: exitIO}
		}
		if line.Err != nil {
			bad++
			continue
		}
		if !f.wants(line.Record) {
			continue
		}
		out := auditLine{Record: line.Record}
		if f.names {
			if out.Name, err = r.Name(line.Record); err != nil {
				out.Name = ""
				bad++
			}
		}
		if f.asJSON {
			out.Sealed = nil
			if err := asJSON.Encode(out); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(t, out.row(users)) //nolint:errcheck // Flush tells
	}
	if bad > 0 {
		a.say(count(bad, "line", "lines") + " that cannot be read: studyfs audit verify tells more")
	}
	return t.Flush()
}

// row is a line for people.
func (l auditLine) row(users map[uint32]string) string {
	object := l.Name
	if object == "" {
		object = l.Object
	}
	return strings.Join([]string{
		l.Time.Local().Format(time.DateTime), l.Op, userName(l.UID, users), strconv.Itoa(l.PID), dash(l.Exe), dash(l.Source), dash(object), l.Detail, //nolint:gosmopolitan // as above
	}, "\t")
}

func userName(uid uint32, known map[uint32]string) string {
	if name, ok := known[uid]; ok {
		return name
	}
	name := strconv.Itoa(int(uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	known[uid] = name
	return name
}

// dash is a text for a terminal, which must not be given what others have put into names.
func dash(s string) string {
	switch {
	case s == "":
		return "-"
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return strconv.Quote(s)
	}
	return s
}
