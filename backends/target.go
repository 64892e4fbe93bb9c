package backends

// TargetError is an error of one of the places that a source keeps its files at.
type TargetError struct {
	Target string // what people call it; it is no secret and names no participant
	Err    error
}

func (e *TargetError) Error() string { return "target " + e.Target + ": " + e.Err.Error() }

// Unwrap returns what went wrong there.
func (e *TargetError) Unwrap() error { return e.Err }
