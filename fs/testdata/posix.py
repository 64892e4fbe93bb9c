# What POSIX says of files, tried in the directory that is given. It prints what does not hold, and last "done" with how many that were.
# What objects cannot do is expected to be refused: second names, pipes, files without a name.
import os, sys, stat, errno, time, ctypes, threading
d = sys.argv[1]; os.chdir(d); os.umask(0o022)
base = "pj%d" % os.getpid(); os.mkdir(base); os.chdir(base)
bad = 0
def check(what, ok, info=""):
    global bad
    if not ok: bad += 1; print("FAIL", what, info)
def err(f, *a):
    try: f(*a); return 0
    except OSError as e: return e.errno
def exp(what, want, f, *a):
    got = err(f, *a); check(what, got == want, errno.errorcode.get(got, got))
def user(uid, gid, f, *a, groups=()):
    pid = os.fork()
    if pid == 0:
        os.setgroups(list(groups)); os.setgid(gid); os.setuid(uid)
        os._exit(min(err(f, *a), 255))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def touch(n, mode=0o644):
    fd = os.open(n, os.O_CREAT | os.O_WRONLY, mode); os.close(fd)
def later(what, f, *paths):
    a = [os.lstat(p) for p in paths]; time.sleep(0.02); f(); b = [os.lstat(p) for p in paths]
    return [(y.st_mtime_ns > x.st_mtime_ns, y.st_ctime_ns > x.st_ctime_ns) for x, y in zip(a, b)]
# names
n255 = "a" * 255
touch(n255); os.unlink(n255); os.mkdir(n255); os.rmdir(n255)
for f in (lambda: touch("a" * 256), lambda: os.mkdir("a" * 256), lambda: os.symlink("x", "a" * 256), lambda: os.unlink("a" * 256), lambda: os.lstat("a" * 256), lambda: os.rename("a" * 256, "b")):
    exp("256", errno.ENAMETOOLONG, f)
exp("symlink 244", 0, lambda: (os.symlink("x", "a" * 244), os.unlink("a" * 244)))
touch("f"); exp("enotdir", errno.ENOTDIR, lambda: touch("f/x")); exp("enotdir mk", errno.ENOTDIR, lambda: os.mkdir("f/x"))
exp("eexist", errno.EEXIST, lambda: os.open("f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)); exp("mkdir eexist", errno.EEXIST, os.mkdir, "f"); exp("symlink eexist", errno.EEXIST, os.symlink, "x", "f")
exp("fifo", errno.EPERM, os.mkfifo, "ff"); exp("rclonelink", errno.EINVAL, touch, "x.rclonelink")
exp("isdir", errno.EISDIR, lambda: os.open(".", os.O_WRONLY)); os.mkdir("d")
exp("unlink dir", errno.EISDIR, os.unlink, "d"); exp("rmdir file", errno.ENOTDIR, os.rmdir, "f")
touch("d/x"); exp("notempty", errno.ENOTEMPTY, os.rmdir, "d")
os.mkdir("e"); exp("rename over nonempty", errno.ENOTEMPTY, os.rename, "e", "d"); exp("file over dir", errno.EISDIR, os.rename, "f", "e"); exp("dir over file", errno.ENOTDIR, os.rename, "e", "f"); exp("into itself", errno.EINVAL, os.rename, "d", "d/y")
i = os.stat("d").st_ino; os.rename("d", "e"); check("rename over empty", os.path.exists("e/x") and os.stat("e").st_ino == i); os.rename("e", "d")
i = os.stat("f").st_ino; os.rename("f", "g"); check("ino", os.stat("g").st_ino == i); touch("f"); check("new ino", os.stat("f").st_ino != i); os.rename("g", "f"); check("ino over", os.stat("f").st_ino == i)
# times
check("create times", later("c", lambda: touch("d/n"), "d") == [(True, True)]); check("unlink", later("u", lambda: os.unlink("d/n"), "d") == [(True, True)])
check("mkdir times", later("m", lambda: os.mkdir("d/n"), "d") == [(True, True)]); check("rmdir times", later("r", lambda: os.rmdir("d/n"), "d") == [(True, True)])
check("symlink times", later("s", lambda: os.symlink("a", "d/l"), "d") == [(True, True)]); check("rename times", later("r", lambda: os.rename("d/l", "d/k"), "d") == [(True, True)])
check("chmod", later("c", lambda: os.chmod("f", 0o600), "f") == [(False, True)]); check("chown", later("c", lambda: os.chown("f", 5, 6), "f") == [(False, True)])
check("truncate", later("t", lambda: os.truncate("f", 5), "f") == [(True, True)]); check("rename ctime", later("x", lambda: (os.rename("f", "f2"), os.rename("f2", "f")), "f") == [(False, True)], )
def wr():
    fd = os.open("f", os.O_WRONLY); os.write(fd, b"x"); os.close(fd)
check("write", later("w", wr, "f") == [(True, True)]); 
def tr(): os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))
check("o_trunc", later("w", tr, "f") == [(True, True)]); check("dir unaffected by write", later("w", wr, ".") == [(False, False)])
os.utime("f", ns=(1234567890123456789, 987654321987654321)); s = os.stat("f"); check("utime", (s.st_atime_ns, s.st_mtime_ns) == (1234567890123456789, 987654321987654321), s)
fd = os.open("f", os.O_RDWR); os.utime(fd, ns=(5 * 10**9, 6 * 10**9)); s = os.fstat(fd); check("futimes", (s.st_atime, s.st_mtime) == (5, 6), s); os.write(fd, b"zz"); check("write after utime", os.fstat(fd).st_mtime > 1e9); os.utime(fd, ns=(5 * 10**9, 6 * 10**9)); os.close(fd); check("kept after close", os.stat("f").st_mtime == 6, os.stat("f").st_mtime)
os.utime("d", ns=(5 * 10**9, 6 * 10**9)); s = os.stat("d"); check("dir utime", (s.st_mtime) == 6, s); touch("d/new"); check("dir mtime after", os.stat("d").st_mtime > 1e9)
# suid
os.chown("f", 0, 0); os.chmod("f", 0o6755); check("suid", stat.S_IMODE(os.stat("f").st_mode) == 0o6755)
os.chmod("f", 0o6777)
def uw():
    fd = os.open("f", os.O_WRONLY); os.write(fd, b"x"); os.close(fd)
r = user(65534, 65534, uw); check("suid write by other", r == 0, r); check("suid cleared on write", stat.S_IMODE(os.stat("f").st_mode) == 0o777, oct(os.stat("f").st_mode))
os.chmod("f", 0o6777); os.chown("f", 7, 7); check("suid cleared on chown", stat.S_IMODE(os.stat("f").st_mode) == 0o777, oct(os.stat("f").st_mode))
os.chmod("f", 0o4777); r = user(65534, 65534, lambda: os.truncate("f", 0)); check("suid cleared on truncate", r == 0 and stat.S_IMODE(os.stat("f").st_mode) == 0o777, (r, oct(os.stat("f").st_mode)))
# setgid dirs
os.mkdir("sg"); os.chown("sg", 0, 77); os.chmod("sg", 0o2775); touch("sg/f"); os.mkdir("sg/d"); check("setgid", os.stat("sg/f").st_gid == 77 and os.stat("sg/d").st_gid == 77 and os.stat("sg/d").st_mode & stat.S_ISGID)
# permissions
os.mkdir("p", 0o755); check("eacces", user(65534, 65534, touch, "p/x") == errno.EACCES); os.chmod("p", 0o777); check("owner", user(65534, 65534, touch, "p/x") == 0 and os.stat("p/x").st_uid == 65534)
os.chmod("p", 0o1777); touch("p/root"); check("sticky", user(65534, 65534, os.unlink, "p/root") == errno.EPERM); check("chmod eperm", user(65534, 65534, os.chmod, "p/root", 0o777) == errno.EPERM)
os.chmod("p/root", 0o000); check("read 000", user(65534, 65534, lambda: os.open("p/root", os.O_RDONLY)) == errno.EACCES); check("utime eperm", user(65534, 65534, os.utime, "p/root", (1, 2)) == errno.EPERM)
os.chown("p/x", 65534, 65534); check("sgid strip", user(65534, 65533, os.chmod, "p/x", 0o2755) == 0 and stat.S_IMODE(os.stat("p/x").st_mode) == 0o755, oct(os.stat("p/x").st_mode))
# create mode 0 keep writing
fd = os.open("ro", os.O_CREAT | os.O_RDWR, 0o000); os.write(fd, b"abc"); os.close(fd); check("mode 0", stat.S_IMODE(os.stat("ro").st_mode) == 0 and os.stat("ro").st_size == 3)
# unlinked open
fd = os.open("u", os.O_CREAT | os.O_RDWR); os.unlink("u"); os.write(fd, b"abc"); os.fchmod(fd, 0o600); os.ftruncate(fd, 2); s = os.fstat(fd); check("unlinked", s.st_size == 2 and s.st_nlink == 0 and stat.S_IMODE(s.st_mode) == 0o600, s); os.fsync(fd); os.close(fd)
# xattr
exp("xattr ns", errno.EOPNOTSUPP, os.setxattr, "f", "trusted.x", b"1"); os.setxattr("f", "user.a", b"1"); check("xattr", os.getxattr("f", "user.a") == b"1" and "user.a" in os.listxattr("f")); exp("create", errno.EEXIST, os.setxattr, "f", "user.a", b"2", os.XATTR_CREATE); exp("replace", errno.ENODATA, os.setxattr, "f", "user.b", b"2", os.XATTR_REPLACE); os.removexattr("f", "user.a"); exp("gone", errno.ENODATA, os.getxattr, "f", "user.a"); os.setxattr("d", "user.d", b"1"); check("dir xattr", os.getxattr("d", "user.d") == b"1"); check("empty value", os.setxattr("f", "user.e", b"") is None and os.getxattr("f", "user.e") == b"")
# symlinks
os.symlink("d", "l"); check("readlink", os.readlink("l") == "d"); exp("eloop", errno.ELOOP, lambda: (os.symlink("l2", "l1"), os.symlink("l1", "l2"), os.open("l1", os.O_RDONLY))); os.symlink("x" * 4095, "long"); check("4095", len(os.readlink("long")) == 4095); exp("enoent", errno.ENOENT, os.symlink, "", "em")
# cwd in renamed dir
os.makedirs("w/a/b"); os.chdir("w/a/b"); os.rename("../../../w", "../../../w2"); touch("here"); check("cwd", os.getcwd().endswith("w2/a/b"), os.getcwd()); os.chdir("../../.."); check("there", os.path.exists("w2/a/b/here"))
fd = os.open("w2/a", os.O_RDONLY); os.rename("w2", "w3"); os.close(os.open("viafd", os.O_CREAT | os.O_WRONLY, dir_fd=fd)); check("dirfd", os.path.exists("w3/a/viafd")); os.close(fd)
# holes
fd = os.open("h", os.O_CREAT | os.O_RDWR); os.ftruncate(fd, 1 << 20); os.pwrite(fd, b"x", 512 << 10); check("hole", os.lseek(fd, 0, os.SEEK_DATA) == 512 << 10 and os.lseek(fd, 0, os.SEEK_HOLE) == 0); os.close(fd)
# append by two
a = os.open("ap", os.O_CREAT | os.O_WRONLY | os.O_APPEND); b = os.open("ap", os.O_WRONLY | os.O_APPEND)
for i in range(50): os.write(a, b"a" * 10); os.write(b, b"b" * 10)
check("append", os.fstat(a).st_size == 1000 and os.stat("ap").st_size == 1000); os.close(a); os.close(b)
exp("tmpfile", errno.EOPNOTSUPP, lambda: os.open(".", os.O_TMPFILE | os.O_RDWR)); exp("link", errno.EPERM, os.link, "f", "hl")
long = "/".join(["x" * 200] * 6); exp("path too long", errno.ENAMETOOLONG, lambda: os.makedirs(long))
check("statvfs", os.statvfs(".").f_bavail > 0)
print("done", bad)
