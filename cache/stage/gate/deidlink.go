package gate

import "strings"

// JudgeName judges a file by its name alone, relative to the root: for one that has no bytes, or whose bytes were judged before. Its
// verdict is never Scrubbed.
func (r Rules) JudgeName(name string) Judgement {
	t := &trial{rules: r, find: r.Words.finder()}
	t.path(name, false)
	return t.judgement()
}

// JudgeLink judges a symbolic link: its name, relative to the root, and where it leads, which is what its object holds. Its verdict is
// never Scrubbed.
func (r Rules) JudgeLink(name, target string) Judgement {
	t := &trial{rules: r, find: r.Words.finder()}
	t.either(name)
	own := len(t.findings)
	var parts []string
	for part := range strings.SplitSeq(target, "/") {
		if part != "" && part != "." && part != ".." {
			parts = append(parts, part)
		}
	}
	if strings.HasPrefix(target, "/") {
		t.wrong("link", "The link leads out of the study, to a place of one computer. Have it lead to a place relative to its own")
	}
	t.code = "" // a link may lead to another subject
	if len(parts) > 0 {
		t.either(strings.Join(parts, "/"))
	}
	for i := range t.findings[own:] {
		f := &t.findings[own+i]
		f.Text = "Of where the link leads: " + f.Text
	}
	return t.judgement()
}

// either judges a path that may be a folder's or a file's.
func (t *trial) either(name string) {
	_, ext := cutLast(name[strings.LastIndexByte(name, '/')+1:])
	t.path(name, ext == "")
}
