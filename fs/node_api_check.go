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

	_ fusefs.NodeLookuper       = (*viewed)(nil)
	_ fusefs.NodeGetattrer      = (*viewed)(nil)
	_ fusefs.NodeOpendirHandler = (*viewed)(nil)
	_ fusefs.NodeStatfser       = (*viewed)(nil)
	_ fusefs.NodeGetxattrer     = (*viewed)(nil)

	_ fusefs.NodeLookuper       = (*viewDir)(nil)
	_ fusefs.NodeGetattrer      = (*viewDir)(nil)
	_ fusefs.NodeOpendirHandler = (*viewDir)(nil)
	_ fusefs.NodeStatfser       = (*viewDir)(nil)
	_ fusefs.NodeGetxattrer     = (*viewDir)(nil)

	_ fusefs.NodeGetattrer  = (*made)(nil)
	_ fusefs.NodeOpener     = (*made)(nil)
	_ fusefs.NodeReader     = (*made)(nil)
	_ fusefs.NodeGetxattrer = (*made)(nil)

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

	_ fusefs.NodeOpener      = (*openless)(nil)
	_ fusefs.NodeReader      = (*openless)(nil)
	_ fusefs.NodeFlusher     = (*openless)(nil)
	_ fusefs.NodeOnForgetter = (*openless)(nil)
	_ fusefs.NodeGetattrer   = (*openless)(nil)
	_ fusefs.NodeGetxattrer  = (*openless)(nil)

	_ fusefs.NodeLookuper       = (*rwDir)(nil)
	_ fusefs.NodeGetattrer      = (*rwDir)(nil)
	_ fusefs.NodeSetattrer      = (*rwDir)(nil)
	_ fusefs.NodeOpendirHandler = (*rwDir)(nil)
	_ fusefs.NodeStatfser       = (*rwDir)(nil)
	_ fusefs.NodeCreater        = (*rwDir)(nil)
	_ fusefs.NodeTmpfiler       = (*rwDir)(nil)
	_ fusefs.NodeMkdirer        = (*rwDir)(nil)
	_ fusefs.NodeMknoder        = (*rwDir)(nil)
	_ fusefs.NodeLinker         = (*rwDir)(nil)
	_ fusefs.NodeSymlinker      = (*rwDir)(nil)
	_ fusefs.NodeRenamer        = (*rwDir)(nil)
	_ fusefs.NodeUnlinker       = (*rwDir)(nil)
	_ fusefs.NodeRmdirer        = (*rwDir)(nil)
	_ fusefs.NodeGetxattrer     = (*rwDir)(nil)
	_ fusefs.NodeListxattrer    = (*rwDir)(nil)
	_ fusefs.NodeSetxattrer     = (*rwDir)(nil)
	_ fusefs.NodeRemovexattrer  = (*rwDir)(nil)

	_ fusefs.NodeOpener        = (*rwFile)(nil)
	_ fusefs.NodeGetattrer     = (*rwFile)(nil)
	_ fusefs.NodeSetattrer     = (*rwFile)(nil)
	_ fusefs.NodeGetxattrer    = (*rwFile)(nil)
	_ fusefs.NodeListxattrer   = (*rwFile)(nil)
	_ fusefs.NodeSetxattrer    = (*rwFile)(nil)
	_ fusefs.NodeRemovexattrer = (*rwFile)(nil)

	_ fusefs.NodeReadlinker    = (*rwLink)(nil)
	_ fusefs.NodeGetattrer     = (*rwLink)(nil)
	_ fusefs.NodeSetattrer     = (*rwLink)(nil)
	_ fusefs.NodeGetxattrer    = (*rwLink)(nil)
	_ fusefs.NodeListxattrer   = (*rwLink)(nil)
	_ fusefs.NodeSetxattrer    = (*rwLink)(nil)
	_ fusefs.NodeRemovexattrer = (*rwLink)(nil)

	_ fusefs.NodeOpener        = (*staged)(nil)
	_ fusefs.NodeGetattrer     = (*staged)(nil)
	_ fusefs.NodeSetattrer     = (*staged)(nil)
	_ fusefs.NodeGetxattrer    = (*staged)(nil)
	_ fusefs.NodeListxattrer   = (*staged)(nil)
	_ fusefs.NodeSetxattrer    = (*staged)(nil)
	_ fusefs.NodeRemovexattrer = (*staged)(nil)

	_ fusefs.FileReader          = (*stagedHandle)(nil)
	_ fusefs.FileWriter          = (*stagedHandle)(nil)
	_ fusefs.FileFlusher         = (*stagedHandle)(nil)
	_ fusefs.FileFsyncer         = (*stagedHandle)(nil)
	_ fusefs.FileAllocater       = (*stagedHandle)(nil)
	_ fusefs.FileLseeker         = (*stagedHandle)(nil)
	_ fusefs.FileReleaser        = (*stagedHandle)(nil)
	_ fusefs.FilePassthroughFder = (*stagedPassed)(nil)
	_ fusefs.FileReader          = (*stagedPassed)(nil)
	_ fusefs.FileWriter          = (*stagedPassed)(nil)
	_ fusefs.FileFlusher         = (*stagedPassed)(nil)
	_ fusefs.FileReleaser        = (*stagedPassed)(nil)

	_ placed = (*rwDir)(nil)
	_ placed = (*rwFile)(nil)
	_ placed = (*rwLink)(nil)
	_ placed = (*staged)(nil)

	_ fusefs.FileReader          = (*handle)(nil)
	_ fusefs.FileReleaser        = (*handle)(nil)
	_ fusefs.FilePassthroughFder = (*passed)(nil)
	_ fusefs.FileReader          = (*passed)(nil)
	_ fusefs.FileReleaser        = (*passed)(nil)

	_ fusefs.FileReaddirenter = (*dirHandle)(nil)
	_ fusefs.FileLookuper     = (*dirHandle)(nil)
	_ fusefs.FileSeekdirer    = (*dirHandle)(nil)
	_ fusefs.FileFsyncdirer   = (*dirHandle)(nil)
	_ fusefs.FileReleasedirer = (*dirHandle)(nil)

	_ fusefs.NodeOnForgetter = (*file)(nil)
	_ fusefs.NodeOnForgetter = (*link)(nil)
)
