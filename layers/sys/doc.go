// Package sys wraps the system calls of the project. A wrapper carries policy
// and nothing else: every descriptor is close-on-exec, no wrapper follows a
// symbolic link, EINTR is retried, and paths of more than one component are
// resolved beneath a directory descriptor with openat2(2). No wrapper decides.
//
// All functions are safe for concurrent use; descriptors are plain ints owned
// by the caller. Errors are bare errnos: the caller knows operation and path.
package sys

import "golang.org/x/sys/unix"

// Flags and constants that callers combine, under their own names.
const (
	O_RDONLY    = unix.O_RDONLY
	O_WRONLY    = unix.O_WRONLY
	O_RDWR      = unix.O_RDWR
	O_ACCMODE   = unix.O_ACCMODE
	O_CREAT     = unix.O_CREAT
	O_EXCL      = unix.O_EXCL
	O_APPEND    = unix.O_APPEND
	O_DSYNC     = unix.O_DSYNC
	O_PATH      = unix.O_PATH
	O_DIRECTORY = unix.O_DIRECTORY
	O_TMPFILE   = unix.O_TMPFILE
	O_NOATIME   = unix.O_NOATIME
	O_NONBLOCK  = unix.O_NONBLOCK

	RENAME_NOREPLACE = unix.RENAME_NOREPLACE
	RENAME_EXCHANGE  = unix.RENAME_EXCHANGE
	RENAME_WHITEOUT  = unix.RENAME_WHITEOUT

	FALLOC_KEEP_SIZE  = unix.FALLOC_FL_KEEP_SIZE                             // the length stays
	FALLOC_PUNCH_HOLE = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE // the length stays

	SEEK_DATA = unix.SEEK_DATA
	SEEK_HOLE = unix.SEEK_HOLE

	UTIME_OMIT = unix.UTIME_OMIT
	UTIME_NOW  = unix.UTIME_NOW

	RWF_APPEND    = unix.RWF_APPEND
	RWF_DSYNC     = unix.RWF_DSYNC
	RWF_DONTCACHE = unix.RWF_DONTCACHE
)

// File types in st_mode.
const (
	S_IFMT   = unix.S_IFMT
	S_IFREG  = unix.S_IFREG
	S_IFDIR  = unix.S_IFDIR
	S_IFLNK  = unix.S_IFLNK
	S_IFCHR  = unix.S_IFCHR
	S_IFIFO  = unix.S_IFIFO
	S_IFBLK  = unix.S_IFBLK
	S_IFSOCK = unix.S_IFSOCK
	S_ISUID  = unix.S_ISUID
	S_ISGID  = unix.S_ISGID
)

// Errnos that callers compare with.
const (
	EACCES     = unix.EACCES
	EAGAIN     = unix.EAGAIN
	EBUSY      = unix.EBUSY
	EDQUOT     = unix.EDQUOT
	EEXIST     = unix.EEXIST
	EINVAL     = unix.EINVAL
	EIO        = unix.EIO
	EISDIR     = unix.EISDIR
	ELOOP      = unix.ELOOP
	EMFILE     = unix.EMFILE
	EMLINK     = unix.EMLINK
	ENODATA    = unix.ENODATA
	ENODEV     = unix.ENODEV
	ENOENT     = unix.ENOENT
	ENOSPC     = unix.ENOSPC
	ENOSYS     = unix.ENOSYS
	ENOTDIR    = unix.ENOTDIR
	ENOTEMPTY  = unix.ENOTEMPTY
	ENOTSUP    = unix.ENOTSUP
	ENXIO      = unix.ENXIO
	EPERM      = unix.EPERM
	EROFS      = unix.EROFS
	ESTALE     = unix.ESTALE
	EXDEV      = unix.EXDEV
	EWOULDBLOK = unix.EWOULDBLOCK
	EOVERFLOW  = unix.EOVERFLOW
	ENAMETOOL  = unix.ENAMETOOLONG
)

// Stat is the result of fstatat(2).
type Stat = unix.Stat_t

// Statfs is the result of fstatfs(2).
type Statfs = unix.Statfs_t

// Timespec is a time in seconds and nanoseconds, or UTIME_NOW / UTIME_OMIT in Nsec.
type Timespec = unix.Timespec

// Errno is the kernel's error number.
type Errno = unix.Errno

// retry repeats call while it is interrupted by a signal.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
