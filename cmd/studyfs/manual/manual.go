// Package manual writes manual pages (man 7) of a tree of commands, and of what else a program has to tell.
//
// It stands in for cobra's own generator, which goes by way of Markdown and needs two modules for that.
package manual

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Document is one page. Texts are plain: paragraphs with empty lines between them; lines that begin with a blank stay as they are.
type Document struct {
	Name     string // "studyfs-mount"
	Number   int    // of the part of the manual: 1 commands, 5 files, 8 administration
	Short    string // one line
	Sections []Section
}

// Section is a heading and what stands below it: first Text, then Entries.
type Section struct {
	Title   string
	Text    string
	Entries []Entry
}

// Entry is a term and its meaning.
type Entry struct{ Term, Text string }

// Edition says of which program pages are. The same edition of the same document is the same bytes.
type Edition struct {
	Program string
	Version string
	Date    time.Time // the zero time: pages show none
}

// File is the name that the page has on disk.
func (d Document) File() string { return fmt.Sprintf("%s.%d", d.Name, d.Number) }

// Commands returns a page for root and for each command below it that is shown in a help, in the order of the tree.
// Each ends with the sections of extra.
func Commands(root *cobra.Command, extra ...Section) []Document {
	docs := []Document{ofCommand(root, extra)}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			docs = append(docs, Commands(c, extra...)...)
		}
	}
	return docs
}

// PageName is the name of a command's page.
func PageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func ofCommand(c *cobra.Command, extra []Section) Document {
	d := Document{Name: PageName(c), Number: 1, Short: c.Short}
	text := c.Long
	if text == "" {
		text = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
	}
	d.add(Section{Title: "Synopsis", Text: synopsis(c)})
	d.add(Section{Title: "Description", Text: text})
	d.add(Section{Title: "Commands", Entries: subcommands(c)})
	d.add(Section{Title: "Options", Entries: options(c.NonInheritedFlags())})
	d.add(Section{Title: "Common options", Entries: options(c.InheritedFlags())})
	d.add(Section{Title: "Examples", Text: c.Example})
	for _, s := range extra {
		d.add(s)
	}
	d.add(Section{Title: "See also", Text: seeAlso(c)})
	return d
}

func (d *Document) add(s Section) {
	if s.Text != "" || len(s.Entries) > 0 {
		d.Sections = append(d.Sections, s)
	}
}

func synopsis(c *cobra.Command) string {
	if c.HasAvailableSubCommands() && !c.HasParent() {
		return c.CommandPath() + " COMMAND [OPTIONS] [ARGS]"
	}
	_, rest, _ := strings.Cut(c.Use, " ")
	text := strings.TrimSpace(c.CommandPath() + " [OPTIONS] " + rest)
	if c.HasAvailableSubCommands() {
		text += "\n\n" + c.CommandPath() + " COMMAND [OPTIONS] [ARGS]"
	}
	return text
}

func subcommands(c *cobra.Command) []Entry {
	var all []Entry
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, Entry{sub.CommandPath(), sub.Short})
		}
	}
	return all
}

// options lists all flags that a help shows.
func options(flags *pflag.FlagSet) []Entry {
	var all []Entry
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, text := pflag.UnquoteUsage(f)
		term := "--" + f.Name
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ", " + term
		}
		switch {
		case f.Value.Type() == "bool":
		case f.NoOptDefVal != "":
			term += "[=" + kind + "]"
		case kind != "":
			term += " " + kind
		}
		if d := f.DefValue; d != "" && d != "false" && d != "0" && d != "0s" && d != "[]" && !strings.Contains(text, "default") {
			text += " (default " + d + ")"
		}
		all = append(all, Entry{term, text})
	})
	return all
}

func seeAlso(c *cobra.Command) string {
	var names []string
	if c.HasParent() {
		names = append(names, PageName(c.Parent())+"(1)")
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, PageName(sub)+"(1)")
		}
	}
	return strings.Join(names, ", ")
}
