package main

import (
	"fmt"
	"strings"

	"studyfs/cmd/studyfs/manual"
)

// settingsGroup is a part of the table of settings as its documentation shows it.
type settingsGroup struct {
	title, text string
	settings    []setting
}

// settingsGroups is the whole table. What a reader sees of it, here and on the manual page, has no other origin.
func settingsGroups() []settingsGroup {
	return []settingsGroup{
		{"Of the program", "At the top of the configuration; keys with a dot are in the table of that name.", settingsOf(newConfig())},
		{"Of a source", "In [source.NAME]. As a flag or a variable they are meant for every source of the command.", settingsOf(&sourceConfig{})},
		{"Of a target", "A source of kind ecog has the tables video, edf, archive and nas in [source.NAME]. What they do not give is as in [source.NAME].", settingsOf(&targetConfig{})},
	}
}

// hasFlag tells whether a setting of a group can be given on the command line.
func (g settingsGroup) hasFlag(s setting) bool { return !s.noFlag && g.title != "Of a target" }

const settingsIntro = `Each setting can stand in the configuration file, in the environment and on the command line; the later wins. The
configuration file is studyfs/config.toml in the XDG config directory (~/.config), or what --config or STUDYFS_CONFIG names. A key
that does not exist is an error. studyfs config check tells whether the file is right.`

// settingsPage is docs/settings.md.
func settingsPage() string {
	var b strings.Builder
	b.WriteString("# Settings\n\nMade from the table in `cmd/studyfs/config.go` by `go generate ./cmd/studyfs`; a test compares them.\n\n" + settingsIntro +
		" `studyfs config show --origin` shows where each comes from.\n")
	for _, g := range settingsGroups() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", g.title, strings.ReplaceAll(g.text, "[source.NAME]", "`[source.NAME]`"))
		b.WriteString("| key | flag | variable | value | default | meaning |\n|---|---|---|---|---|---|\n")
		for _, s := range g.settings {
			flag, variable := "", ""
			if g.hasFlag(s) {
				flag, variable = "`--"+s.flag()+"`", "`"+s.variable()+"`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", s.path, flag, variable, s.kinds(), s.preset(), cell(s.help))
		}
	}
	b.WriteString("\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, e := range exitCodes() {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.means)
	}
	return b.String()
}

// settingsManual is the page studyfs.toml(5).
func settingsManual() manual.Document {
	d := manual.Document{Name: "studyfs.toml", Number: 5, Short: "configuration of studyfs", Sections: []manual.Section{{Title: "Description", Text: settingsIntro}}}
	for _, g := range settingsGroups() {
		s := manual.Section{Title: g.title, Text: g.text}
		for _, one := range g.settings {
			text := one.help
			if d := one.preset(); d != "" {
				text += " (default " + d + ")"
			}
			if g.hasFlag(one) {
				text += ". --" + one.flag() + ", " + one.variable()
			}
			s.Entries = append(s.Entries, manual.Entry{Term: one.path + " = " + one.kinds(), Text: text})
		}
		d.Sections = append(d.Sections, s)
	}
	example := "  [source.reading]\n  kind = \"s3\"\n  url = \"s3://smithlab-reading/\"\n  profile = \"lab\"\n  write = true\n\n  [source.sleep]\n  kind = \"empatica\"\n  keys = \"file:~/keys/sleep.csv\""
	d.Sections = append(d.Sections, manual.Section{Title: "Examples", Text: example}, manual.Section{Title: "See also", Text: "studyfs(1), studyfs-config(1)"})
	return d
}

// kinds is what a value looks like: the words that it may be, or its kind.
func (s setting) kinds() string {
	if len(s.values) > 0 {
		return strings.Join(s.values, ", ")
	}
	return s.kind()
}

// preset is the default as the table has it; the help tells of others.
func (s setting) preset() string {
	if s.value.IsZero() || strings.Contains(s.help, "default") {
		return ""
	}
	return s.String()
}

// cell is text in a column of a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("\n", " ", "|", `\|`, "<", "&lt;").Replace(text)
}

// fstabManual is the page mount.studyfs(8).
func fstabManual() manual.Document {
	return manual.Document{Name: "mount.studyfs", Number: 8, Short: "mount studyfs by mount(8) and fstab(5)", Sections: []manual.Section{
		{Title: "Synopsis", Text: "mount -t studyfs SOURCE DIR [-o OPTIONS]\n\numount DIR"},
		{Title: "Description", Text: "mount(8) calls this program by the name mount.studyfs for lines of fstab(5) of the type studyfs. SOURCE is what studyfs-mount(1) takes, " +
			"or none for all of the configuration.\n\nOptions are the flags of studyfs-mount(1) without the hyphens before them, such as profile=lab,cache-size=20GiB,allow_other; commas in a value " +
			"stand between double quotes. ro means read-only, noexec no-exec. rw lets nobody write: that takes the option write. What is meant for mount(8), systemd and file managers " +
			"(x-*, noauto, nofail, _netdev, user and so on) is passed over. Any other option is an error, unless -s is given."},
		{Title: "Exit status", Entries: []manual.Entry{
			{Term: "0", Text: "mounted; perhaps not all sources answered"},
			{Term: "1", Text: "wrong options or configuration, keys refused"},
			{Term: "8", Text: "interrupted"},
			{Term: "32", Text: "not mounted"},
		}},
		{Title: "Examples", Text: "  # fstab\n  reading  /srv/reading  studyfs  noauto,x-systemd.automount,_netdev,nofail,allow_other,config=/etc/studyfs/config.toml  0  0"},
		{Title: "See also", Text: "studyfs-mount(1), studyfs.toml(5), mount(8)"},
	}}
}
