package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// MkdirAt makes a directory; the process's umask applies (the daemon's is 0).
func MkdirAt(dir int, name string, mode uint32) error {
	return retry(func() error { return unix.Mkdirat(dir, name, mode) })
}

// MknodAt makes a special or regular file; mode holds the type.
func MknodAt(dir int, name string, mode uint32, dev uint64) error {
	return retry(func() error { return unix.Mknodat(dir, name, mode, int(dev)) })
}

// SymlinkAt makes the symbolic link name in dir.
func SymlinkAt(target string, dir int, name string) error {
	return retry(func() error { return unix.Symlinkat(target, dir, name) })
}

// LinkAt links oldName in oldDir, not followed, as newName in newDir.
func LinkAt(oldDir int, oldName string, newDir int, newName string) error {
	return retry(func() error { return unix.Linkat(oldDir, oldName, newDir, newName, 0) })
}

// LinkFd gives the object behind fd (O_TMPFILE, O_PATH) a name.
func LinkFd(fd, newDir int, newName string) error {
	return retry(func() error {
		return unix.Linkat(unix.AT_FDCWD, ProcPath(fd), newDir, newName, unix.AT_SYMLINK_FOLLOW)
	})
}

// UnlinkAt removes a name that is no directory.
func UnlinkAt(dir int, name string) error {
	return retry(func() error { return unix.Unlinkat(dir, name, 0) })
}

// RmdirAt removes an empty directory.
func RmdirAt(dir int, name string) error {
	return retry(func() error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) })
}

// RenameAt is renameat2(2).
func RenameAt(oldDir int, oldName string, newDir int, newName string, flags uint) error {
	return retry(func() error { return unix.Renameat2(oldDir, oldName, newDir, newName, flags) })
}

// SyncFd flushes the object behind a readable or writable descriptor to disk; data alone if dataOnly.
func SyncFd(fd int, dataOnly bool) error {
	if dataOnly {
		return retry(func() error { return unix.Fdatasync(fd) })
	}
	return retry(func() error { return unix.Fsync(fd) })
}

// SyncFS writes everything of the file system behind fd to disk.
func SyncFS(fd int) error { return retry(func() error { return unix.Syncfs(fd) }) }

// SyncFSOf is SyncFS of the file system that the directory at path is on.
func SyncFSOf(path string) error {
	fd, err := Open(path, O_RDONLY|O_DIRECTORY)
	if err != nil {
		return err
	}
	return errors.Join(SyncFS(fd), Close(fd))
}
