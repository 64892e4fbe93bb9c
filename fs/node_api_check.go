package fs

import fusefs "github.com/hanwen/go-fuse/v2/fs"

// What the nodes and handles answer. go-fuse finds methods by type assertion, so a wrong signature would silently
// take one away.

type changing interface {
	fusefs.NodeCreater
	fusefs.NodeMkdirer
	fusefs.NodeMknoder
	fusefs.NodeLinker
}

type changing2 interface {
	fusefs.NodeSymlinker
	fusefs.NodeUnlinker
	fusefs.NodeRmdirer
	fusefs.NodeRenamer
}

type changing3 interface {
	fusefs.NodeTmpfiler
	fusefs.NodeSetattrer
	fusefs.NodeSetxattrer
	fusefs.NodeRemovexattrer
}

type changing4 interface {
	fusefs.NodeWriter
	fusefs.NodeAllocater
}

type listing interface {
	fusefs.NodeLookuper
	fusefs.NodeGetattrer
	fusefs.NodeOpendirHandler
	fusefs.NodeStatfser
}

var (
	_ changing  = readOnly{}
	_ changing2 = readOnly{}
	_ changing3 = readOnly{}
	_ changing4 = readOnly{}

	_ listing                = (*dir)(nil)
	_ listing                = (*shelf)(nil)
	_ fusefs.NodeGetxattrer  = (*dir)(nil)
	_ fusefs.NodeListxattrer = (*dir)(nil)

	_ fusefs.NodeOpener      = (*file)(nil)
	_ fusefs.NodeGetattrer   = (*file)(nil)
	_ fusefs.NodeGetxattrer  = (*file)(nil)
	_ fusefs.NodeListxattrer = (*file)(nil)

	_ fusefs.FileReader          = (*handle)(nil)
	_ fusefs.FileReleaser        = (*handle)(nil)
	_ fusefs.FilePassthroughFder = (*passed)(nil)
	_ fusefs.FileReader          = (*passed)(nil)
	_ fusefs.FileReleaser        = (*passed)(nil)

	_ fusefs.FileReaddirenter = (*dirHandle)(nil)
	_ fusefs.FileLookuper     = (*dirHandle)(nil)
	_ fusefs.FileSeekdirer    = (*dirHandle)(nil)
)
