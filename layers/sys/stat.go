package sys

import "golang.org/x/sys/unix"

// StatAt stats one name in dir, not following it; "" means dir itself.
func StatAt(dir int, name string) (st Stat, err error) {
	err = retry(func() error { return unix.Fstatat(dir, name, &st, itself(name)) })
	return st, err
}

// Immutable tells whether name in dir ("" means dir itself, O_PATH included) has the
// flag of chattr +i; not so where the file system doesn't say.
func Immutable(dir int, name string) bool {
	var st unix.Statx_t
	err := unix.Statx(dir, name, itself(name), 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_IMMUTABLE != 0
}

// StatImmutable is StatAt and Immutable in one call.
func StatImmutable(dir int, name string) (st Stat, immutable bool, err error) {
	st, attributes, err := statx(dir, name, unix.STATX_BASIC_STATS)
	return st, attributes&unix.STATX_ATTR_IMMUTABLE != 0, err
}

// StatUntimed is StatFd without mtime and ctime. Whoever asks for those has the next write be stamped finer than by
// a tick of the clock, and so dirty the inode (fill_mg_cmtime, Linux 6.13).
func StatUntimed(fd int) (Stat, error) {
	st, _, err := statx(fd, "", unix.STATX_BASIC_STATS&^(unix.STATX_MTIME|unix.STATX_CTIME))
	st.Mtim, st.Ctim = Timespec{}, Timespec{} // a file system may say them all the same
	return st, err
}

func statx(dir int, name string, mask int) (st Stat, attributes uint64, err error) {
	var x unix.Statx_t
	err = retry(func() error { return unix.Statx(dir, name, itself(name), mask, &x) })
	st = Stat{
		Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino, Nlink: uint64(x.Nlink), Mode: uint32(x.Mode), Uid: x.Uid, Gid: x.Gid,
		Rdev: unix.Mkdev(x.Rdev_major, x.Rdev_minor), Size: int64(x.Size), Blksize: int64(x.Blksize), Blocks: int64(x.Blocks),
		Atim: timespec(x.Atime), Mtim: timespec(x.Mtime), Ctim: timespec(x.Ctime),
	}
	return st, x.Attributes, err
}

func timespec(t unix.StatxTimestamp) Timespec { return Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)} }

// MountRoot tells whether name in dir is the root of a mount, not of a btrfs subvolume, say.
func MountRoot(dir int, name string) bool {
	var st unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// StatFd stats an open descriptor.
func StatFd(fd int) (st Stat, err error) {
	err = retry(func() error { return unix.Fstat(fd, &st) })
	return st, err
}

// StatfsFd describes the file system behind fd.
func StatfsFd(fd int) (st Statfs, err error) {
	err = retry(func() error { return unix.Fstatfs(fd, &st) })
	return st, err
}

// ReadlinkAt reads the symbolic link name in dir ("" for an O_PATH descriptor of the link).
func ReadlinkAt(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// ChmodAt sets the permission bits of name in dir, "" of dir itself. A symbolic link is refused.
func ChmodAt(dir int, name string, mode uint32) error {
	if name == "" {
		return ChmodFd(dir, mode)
	}
	err := retry(func() error { return unix.Fchmodat(dir, name, mode, unix.AT_SYMLINK_NOFOLLOW) })
	if err != unix.EOPNOTSUPP {
		return err
	}
	fd, err := PathAt(dir, name) // Linux before 6.6 has no fchmodat2
	if err != nil {
		return err
	}
	defer Close(fd)
	return ChmodFd(fd, mode)
}

// ChmodFd sets the permission bits of the object behind fd, O_PATH included.
func ChmodFd(fd int, mode uint32) error {
	return retry(func() error {
		err := unix.Fchmod(fd, mode)
		if err == unix.EBADF { // opened with O_PATH
			err = unix.Chmod(ProcPath(fd), mode)
		}
		return err
	})
}

// ChownFd sets the owner of the object behind fd (-1 leaves one as it is), a symbolic link's own included.
func ChownFd(fd, uid, gid int) error { return ChownAt(fd, "", uid, gid) }

// ChownAt is ChownFd of name in dir; "" is dir itself.
func ChownAt(dir int, name string, uid, gid int) error {
	return retry(func() error { return unix.Fchownat(dir, name, uid, gid, itself(name)) })
}

// UtimesFd sets access and modification time of the object behind fd, O_PATH included.
func UtimesFd(fd int, atime, mtime Timespec) error { return UtimesAt(fd, "", atime, mtime) }

// UtimesAt is UtimesFd of name in dir, a symbolic link's own; "" is dir itself.
func UtimesAt(dir int, name string, atime, mtime Timespec) error {
	ts := []unix.Timespec{atime, mtime}
	err := retry(func() error { return unix.UtimesNanoAt(dir, name, ts, itself(name)) })
	if err == unix.EINVAL && name == "" { // kernels before 5.8 refuse AT_EMPTY_PATH here
		return retry(func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, ProcPath(dir), ts, 0) })
	}
	return err
}

// Tick is the time of the clock's last tick, which file systems stamp with.
func Tick() (t Timespec) {
	_ = unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &t) // every kernel has it
	return t
}

// itself are the flags that name an object itself: a link that is not followed, or with an empty name the descriptor.
func itself(name string) int {
	if name == "" {
		return unix.AT_EMPTY_PATH
	}
	return unix.AT_SYMLINK_NOFOLLOW
}

// Mkdev joins a device number; Major and Minor split it.
func Mkdev(major, minor uint32) uint64 { return unix.Mkdev(major, minor) }
func Major(dev uint64) uint32          { return unix.Major(dev) }
func Minor(dev uint64) uint32          { return unix.Minor(dev) }

// Umask sets the process's file mode creation mask.
func Umask(mask int) int { return unix.Umask(mask) }

// Geteuid is the effective user of the process.
func Geteuid() int { return unix.Geteuid() }

// HasCap tells whether the process has the capability numbered c in effect.
func HasCap(c uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[c/32].Effective&(1<<(c%32)) != 0
}

// Capability numbers (linux/capability.h).
const (
	CAP_CHOWN           = unix.CAP_CHOWN
	CAP_DAC_OVERRIDE    = unix.CAP_DAC_OVERRIDE
	CAP_FSETID          = unix.CAP_FSETID
	CAP_DAC_READ_SEARCH = unix.CAP_DAC_READ_SEARCH
	CAP_MKNOD           = unix.CAP_MKNOD
	CAP_SYS_ADMIN       = unix.CAP_SYS_ADMIN
)

// Getegid is the effective group of the process.
func Getegid() int { return unix.Getegid() }
