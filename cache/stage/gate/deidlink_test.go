package gate

import "testing"

// A link tells two names, and both go out; a name alone is judged as it is with its bytes.
func TestLinksAndNamesAlone(t *testing.T) {
	r := rulesOf(t, Refuse)
	for _, c := range []struct{ name, target, want string }{
		{"c0ffee12/c0ffee12_2.edf", "c0ffee12_1.edf", ""},
		{"c0ffee12/c0ffee12_2.edf", "../deadbeef/./deadbeef_1.edf", ""},
		{"c0ffee12_edf", "ecog/c0ffee12", ""},
		{"c0ffee12", "..", ""},
		{"c0ffee12.edf", "/home/smith/c0ffee12.edf", "link! name! name!"},
		{"c0ffee12.edf", "../Quillfeather/c0ffee12.edf", "deny-list! name!"},
		{"Quillfeather.edf", "c0ffee12.edf", "deny-list! name!"},
		{"c0ffee12.edf", "c0ffee12.vt2", "names-inside!"},
	} {
		if got := rules(r.JudgeLink(c.name, c.target).Findings); got != c.want {
			t.Errorf("%s, which leads to %s: %q, want %q", c.name, c.target, got, c.want)
		}
	}
	for name, want := range map[string]Verdict{"c0ffee12_1.edf": Passed, "c0ffee12_1.csv": Passed, "c0ffee12.age": Passed, "smith.edf": Refused, "c0ffee12.doc": Refused} {
		if j := r.JudgeName(name); j.Verdict != want {
			t.Errorf("%s alone: %v, want %v: %+v", name, j.Verdict, want, j.Findings)
		}
	}
}
