package fs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"studyfs/backends"
	"studyfs/cache/stage"
)

const (
	userPrefix = "user."
	// maxValue is the largest value of one attribute, maxValues what all of one file may take, names included.
	maxValue  = 64 << 10
	maxValues = 64 << 10
)

// xattrs are the user.studyfs.* of an item, without the prefix.
func (o *overlay) xattrs(it item) map[string]string {
	if it.kind == stage.Dir {
		return nil
	}
	if !it.staged {
		all := o.t.xattrs(it.e)
		if m, ok := o.stage.Remember(it.e); ok && m.ID != 0 {
			all["state"] = stage.Stored.String()
			all["error"] = cmp.Or(all["error"], strings.Join(m.Warnings, "\n"))
		}
		maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
		return all
	}
	all := map[string]string{"state": shownState(it.info.State), "etag": it.info.Base.Version, "version": it.info.Base.Version, "error": reasons(it.info)}
	if it.info.State == stage.Uploading && it.info.Size > 0 {
		all["progress"] = strconv.FormatInt(min(100, 100*it.info.Sent/it.info.Size), 10) + "%"
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	return all
}

// reasons is what people are told of a staged file, one a line.
func reasons(info stage.Info) string {
	if all := strings.Join(info.Warnings, "\n"); info.Err == "" || slices.Contains(info.Warnings, info.Err) {
		return all
	}
	return info.Err
}

// shownState is a state in the words that scripts are promised.
func shownState(s stage.State) string {
	switch s {
	case stage.Writing, stage.Staged:
		return stage.Staged.String()
	case stage.Failed, stage.Quarantined, stage.Orphan:
		return stage.Parked.String()
	default:
		return s.String()
	}
}

// getxattr answers user.*; everything else is not there.
func (o *overlay) getxattr(it item, attr string, dest []byte) (uint32, syscall.Errno) {
	value, ok := "", false
	if name, ours := strings.CutPrefix(attr, xattrPrefix); ours {
		value, ok = o.xattrs(it)[name]
	} else if strings.HasPrefix(attr, userPrefix) {
		a, _ := o.attrOf(it)
		value, ok = a.XAttrs[attr]
	}
	if !ok {
		return 0, errNoAttr
	}
	return fill(dest, value)
}

// listxattr tells only what programs have set: mv and cp -a would carry user.studyfs.* elsewhere, where it means nothing.
func (o *overlay) listxattr(it item, dest []byte) (uint32, syscall.Errno) {
	a, _ := o.attrOf(it)
	names := slices.Sorted(maps.Keys(a.XAttrs))
	var list strings.Builder
	for _, name := range names {
		list.WriteString(name + "\x00")
	}
	return fill(dest, list.String())
}

// setxattr keeps an attribute on this machine; nothing of it goes to the source.
func (o *overlay) setxattr(it item, attr string, value []byte, flags uint32) error {
	if !strings.HasPrefix(attr, userPrefix) || len(attr) == len(userPrefix) {
		return refuse("setxattr", syscall.EOPNOTSUPP)
	}
	if strings.HasPrefix(attr, xattrPrefix) {
		return nil // cp -a and mv bring along what was shown of another file: that is not kept, and no failure
	}
	a, _ := o.attrOf(it)
	if err := mayKeep(a.XAttrs, attr, value, flags); err != nil {
		return err
	}
	_, err := o.alter(it, func(a *stage.Attr) {
		a.XAttrs = maps.Clone(a.XAttrs)
		if a.XAttrs == nil {
			a.XAttrs = map[string]string{}
		}
		a.XAttrs[attr] = string(value)
	})
	return err
}

// mayKeep says whether an attribute can be added to others, or take the place of one.
func mayKeep(all map[string]string, attr string, value []byte, flags uint32) error {
	_, there := all[attr]
	total := len(value) - len(all[attr])
	if !there {
		total += len(attr)
	}
	for name, v := range all {
		total += len(name) + len(v)
	}
	switch {
	case there && flags&unix.XATTR_CREATE != 0:
		return refuse("setxattr", syscall.EEXIST)
	case !there && flags&unix.XATTR_REPLACE != 0:
		return refuse("setxattr", errNoAttr)
	case len(value) > maxValue:
		return refuse("setxattr", syscall.E2BIG)
	case total > maxValues:
		return refuse("setxattr", syscall.ENOSPC)
	}
	return nil
}

func (o *overlay) removexattr(it item, attr string) error {
	a, _ := o.attrOf(it)
	if strings.HasPrefix(attr, xattrPrefix) {
		return refuse("removexattr", syscall.EPERM)
	}
	if _, there := a.XAttrs[attr]; !there {
		return refuse("removexattr", errNoAttr)
	}
	_, err := o.alter(it, func(a *stage.Attr) {
		a.XAttrs = maps.Clone(a.XAttrs)
		delete(a.XAttrs, attr)
	})
	return err
}

// Getxattr answers user.*.
func (d *rwDir) Getxattr(ctx context.Context, attr string, dest []byte) (uint32, syscall.Errno) {
	if !strings.HasPrefix(attr, userPrefix) {
		return 0, errNoAttr // ls -l asks for two others per file: no work for those
	}
	it, err := d.item(ctx)
	if err != nil {
		return 0, d.o.fail(ctx, "getxattr", d.path(), err)
	}
	return d.o.getxattr(it, attr, dest)
}

// Listxattr names what programs have set.
func (d *rwDir) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	it, err := d.item(ctx)
	if err != nil {
		return 0, d.o.fail(ctx, "listxattr", d.path(), err)
	}
	return d.o.listxattr(it, dest)
}

// Setxattr keeps user.*.
func (d *rwDir) Setxattr(ctx context.Context, attr string, value []byte, flags uint32) syscall.Errno {
	it, err := d.item(ctx)
	if err == nil {
		err = d.o.setxattr(it, attr, value, flags)
	}
	return d.o.fail(ctx, "setxattr", d.path(), err)
}

// Removexattr forgets what Setxattr kept.
func (d *rwDir) Removexattr(ctx context.Context, attr string) syscall.Errno {
	it, err := d.item(ctx)
	if err == nil {
		err = d.o.removexattr(it, attr)
	}
	return d.o.fail(ctx, "removexattr", d.path(), err)
}

// Getxattr answers user.*.
func (s *staged) Getxattr(ctx context.Context, attr string, dest []byte) (uint32, syscall.Errno) {
	if !strings.HasPrefix(attr, userPrefix) {
		return 0, errNoAttr
	}
	it, err := s.item(ctx)
	if err != nil {
		return 0, s.o.fail(ctx, "getxattr", s.path(), err)
	}
	return s.o.getxattr(it, attr, dest)
}

// Listxattr names what programs have set.
func (s *staged) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	it, err := s.item(ctx)
	if err != nil {
		return 0, s.o.fail(ctx, "listxattr", s.path(), err)
	}
	return s.o.listxattr(it, dest)
}

// Setxattr keeps user.*.
func (s *staged) Setxattr(ctx context.Context, attr string, value []byte, flags uint32) syscall.Errno {
	it, err := s.item(ctx)
	if err == nil {
		err = s.o.setxattr(it, attr, value, flags)
	}
	return s.o.fail(ctx, "setxattr", s.path(), err)
}

// Removexattr forgets what Setxattr kept.
func (s *staged) Removexattr(ctx context.Context, attr string) syscall.Errno {
	it, err := s.item(ctx)
	if err == nil {
		err = s.o.removexattr(it, attr)
	}
	return s.o.fail(ctx, "removexattr", s.path(), err)
}

// item is what stands under the name now.
func (s *staged) item(ctx context.Context) (item, error) {
	it, err := s.o.lookup(ctx, s.path())
	if err == nil && it.kind != stage.Regular {
		err = backends.ErrChanged
	}
	return it, gone(err)
}

// Getxattr answers user.*.
func (f *rwFile) Getxattr(_ context.Context, attr string, dest []byte) (uint32, syscall.Errno) {
	if !strings.HasPrefix(attr, userPrefix) {
		return 0, errNoAttr
	}
	return f.o.getxattr(storedItem(f.entry()), attr, dest)
}

// Listxattr names what programs have set.
func (f *rwFile) Listxattr(_ context.Context, dest []byte) (uint32, syscall.Errno) {
	return f.o.listxattr(storedItem(f.entry()), dest)
}

// Setxattr keeps user.*.
func (f *rwFile) Setxattr(ctx context.Context, attr string, value []byte, flags uint32) syscall.Errno {
	it, err := f.item(ctx)
	if err == nil {
		err = f.o.setxattr(it, attr, value, flags)
	}
	return f.o.fail(ctx, "setxattr", f.e.Name, err)
}

// Removexattr forgets what Setxattr kept.
func (f *rwFile) Removexattr(ctx context.Context, attr string) syscall.Errno {
	it, err := f.item(ctx)
	if err == nil {
		err = f.o.removexattr(it, attr)
	}
	return f.o.fail(ctx, "removexattr", f.e.Name, err)
}
