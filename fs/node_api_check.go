package fs

import fusefs "github.com/hanwen/go-fuse/v2/fs"

// What the nodes and handles answer. go-fuse finds methods by type assertion, so a wrong signature would silently take
// one away; and a changing call without a method is not always refused.
var (
	_ fusefs.NodeCreater       = readOnly{}
	_ fusefs.NodeTmpfiler      = readOnly{}
	_ fusefs.NodeMkdirer       = readOnly{}
	_ fusefs.NodeMknoder       = readOnly{}
	_ fusefs.NodeLinker        = readOnly{}
	_ fusefs.NodeSymlinker     = readOnly{}
	_ fusefs.NodeRenamer       = readOnly{}
	_ fusefs.NodeUnlinker      = readOnly{}
	_ fusefs.NodeRmdirer       = readOnly{}
	_ fusefs.NodeSetattrer     = readOnly{}
	_ fusefs.NodeSetxattrer    = readOnly{}
	_ fusefs.NodeRemovexattrer = readOnly{}
	_ fusefs.NodeWriter        = readOnly{}
	_ fusefs.NodeAllocater     = readOnly{}

	_ fusefs.NodeLookuper       = (*dir)(nil)
	_ fusefs.NodeGetattrer      = (*dir)(nil)
	_ fusefs.NodeOpendirHandler = (*dir)(nil)
	_ fusefs.NodeStatfser       = (*dir)(nil)
	_ fusefs.NodeGetxattrer     = (*dir)(nil)
	_ fusefs.NodeListxattrer    = (*dir)(nil)

	_ fusefs.NodeLookuper       = (*shelf)(nil)
	_ fusefs.NodeGetattrer      = (*shelf)(nil)
	_ fusefs.NodeOpendirHandler = (*shelf)(nil)
	_ fusefs.NodeStatfser       = (*shelf)(nil)
	_ fusefs.NodeGetxattrer     = (*shelf)(nil)

	_ fusefs.NodeReadlinker  = (*link)(nil)
	_ fusefs.NodeGetattrer   = (*link)(nil)
	_ fusefs.NodeGetxattrer  = (*link)(nil)
	_ fusefs.NodeListxattrer = (*link)(nil)

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
	_ fusefs.FileFsyncdirer   = (*dirHandle)(nil)
)
