package main

import "context"

func checkDevice(context.Context, *checkup) []finding {
	if err := fuseAvailable(); err != nil {
		return []finding{failed(err)}
	}
	return []finding{warn("macFUSE is installed; studyfs has not been tried with it").do("tell its maintainers how it goes")}
}

func checkHelper(context.Context, *checkup) []finding {
	return []finding{skip("macOS has no fusermount3, and needs none")}
}

func checkPassthrough(context.Context, *checkup) []finding {
	return []finding{fine("off: macOS has none; what is stored on this disk is read a little slower")}
}
