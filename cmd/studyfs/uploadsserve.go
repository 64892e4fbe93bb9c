package main

import (
	"context"
	"os"
	"path"

	"studyfs/backends"
)

// uploads does what a client asks of the stages of this mount.
func (m *mountServer) uploads(ctx context.Context, q uploadsRequest) ([]stageReport, error) {
	reports := []stageReport{}
	for _, s := range m.sources {
		if s.writing == nil || s.writing.ended() || q.Source != "" && s.spec.id() != q.Source {
			continue
		}
		r, err := m.uploadsOf(ctx, s, q)
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func (m *mountServer) uploadsOf(ctx context.Context, s *liveSource, q uploadsRequest) (stageReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.writing.ctx, cancel)() //nolint:contextcheck // nobody's wait may hold up an unmount
	t := &uploadTarget{spec: s.spec, stage: s.writing.stage, trouble: s.writing.trouble, remote: s.remote, examiner: func(context.Context) (backends.Examiner, error) { return examinerOf(s.remote) }}
	r, err := t.do(ctx, q)
	r.Dir, r.PID = path.Join(m.spec.Dir, m.spec.folder(s.spec)), os.Getpid()
	return r, err
}
