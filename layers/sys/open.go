package sys

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Open opens an absolute host path: a root of a layer, nothing below one.
func Open(path string, flags int) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// OpenBeneath opens path, of any number of components, below dir. It never
// leaves dir, follows no symbolic link, not even the last one, and no magic link.
func OpenBeneath(dir int, path string, flags int, mode uint32) (fd int, err error) {
	if path == "" {
		path = "."
	}
	if len(path) >= unix.PathMax {
		return openDeep(dir, path, flags, mode)
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err = unix.Openat2(dir, path, &how)
		// EAGAIN: a rename elsewhere raced with RESOLVE_BENEATH's check.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// openDeep opens a path that is longer than the kernel takes at once, in two goes.
func openDeep(dir int, path string, flags int, mode uint32) (int, error) {
	cut := strings.LastIndexByte(path[:unix.PathMax-1], '/')
	if cut < 0 {
		return -1, unix.ENAMETOOLONG
	}
	half, err := OpenBeneath(dir, path[:cut], unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer Close(half)
	return OpenBeneath(half, path[cut+1:], flags, mode)
}

// OpenAt opens one name in dir without following it.
func OpenAt(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
		return err
	})
	return fd, err
}

// PathAt returns an O_PATH descriptor of name in dir, a symbolic link included.
func PathAt(dir int, name string) (int, error) {
	return OpenAt(dir, name, unix.O_PATH, 0)
}

// Reopen opens the object behind fd, which may be an O_PATH descriptor, anew.
func Reopen(fd, flags int) (int, error) {
	var n int
	err := retry(func() (err error) {
		n, err = unix.Open(ProcPath(fd), flags|unix.O_CLOEXEC, 0)
		return err
	})
	return n, err
}

// Close closes fd. Its error is the file system's, late (close(2)).
func Close(fd int) error { return unix.Close(fd) }

// ProcPath names the object behind fd; the link resolves to the object itself,
// never to a path that somebody may have replaced meanwhile.
func ProcPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// procChild names one entry of the directory behind dir.
func procChild(dir int, name string) string { return ProcPath(dir) + "/" + name }

// Dup duplicates a descriptor.
func Dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

// AccessMode tells how fd was opened: O_RDONLY, O_WRONLY or O_RDWR.
func AccessMode(fd int) int {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_PATH != 0 {
		return unix.O_RDONLY
	}
	return flags & unix.O_ACCMODE
}

// Nameless makes a file in memory that vanishes with its last descriptor; what is for messages only.
func Nameless(what string) (int, error) {
	fd, err := unix.MemfdCreate(what, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // Linux before 6.3
		fd, err = unix.MemfdCreate(what, unix.MFD_CLOEXEC)
	}
	return fd, err
}
