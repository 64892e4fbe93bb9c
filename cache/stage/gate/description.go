package gate

import (
	"encoding/json"
	"io"
)

// maxDescription is far above any dataset_description.json; more is not read.
const maxDescription = 1 << 20

// CheckDescription judges the content of a dataset_description.json. It reads at most 1 MiB of r. Its findings never hold the file back: a
// dataset is worse off without any description.
func CheckDescription(r io.Reader) []Finding {
	var d struct {
		Name, BIDSVersion, DatasetType string
		GeneratedBy                    []json.RawMessage
	}
	if err := json.NewDecoder(io.LimitReader(r, maxDescription)).Decode(&d); err != nil {
		return []Finding{{Rule: "dataset-description", Text: "dataset_description.json cannot be read as JSON with the fields that BIDS has. Correct it"}}
	}
	var findings []Finding
	missing := func(field string) {
		findings = append(findings, Finding{Rule: "dataset-description", Text: "dataset_description.json does not tell " + field + ". Add it"})
	}
	if d.Name == "" {
		missing("Name")
	}
	if d.BIDSVersion == "" {
		missing("BIDSVersion")
	}
	if d.DatasetType == "derivative" && len(d.GeneratedBy) == 0 {
		missing("GeneratedBy, which derivatives need")
	}
	return findings
}
