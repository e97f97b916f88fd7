package treehash

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// describe adds the entry of one object, and returns the sorted names of a directory.
func (w *walk) describe(path, rel string, st *unix.Stat_t) (names []string, err error) {
	e := Entry{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size, Rdev: uint64(st.Rdev),
		Mtime: st.Mtim.Nano(), Ino: st.Ino, Dev: uint64(st.Dev),
	}
	kind := st.Mode & unix.S_IFMT
	if w.opt.Atime && (w.noatime || kind != unix.S_IFLNK) {
		e.Atime = st.Atim.Nano()
	}
	if (kind == unix.S_IFDIR && w.opt.DirNlink) || (kind != unix.S_IFDIR && w.opt.Nlink) {
		e.Nlink = uint64(st.Nlink)
	}
	switch kind {
	case unix.S_IFREG:
		e.Content = content(path)
	case unix.S_IFLNK:
		if e.Target, err = os.Readlink(path); err != nil {
			e.Target = errno(err)
		}
	case unix.S_IFDIR:
		e.Size = 0
		if names, err = list(path); err != nil {
			e.Content = errno(err)
		}
	}
	e.Xattrs = xattrs(path)
	w.tree[rel] = e
	return names, err
}

// errno names an error in place of what it hid.
func errno(err error) string {
	var e unix.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

// openQuietly opens for reading, by O_NOATIME where that is allowed.
func openQuietly(path string, flags int) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Open(path, flags, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// content is the hash of a file's bytes, or the error that hid them.
func content(path string) string {
	f, err := openQuietly(path, 0)
	if err != nil {
		return errno(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return errno(err)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// list returns a directory's names, sorted.
func list(path string) ([]string, error) {
	f, err := openQuietly(path, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	sort.Strings(names)
	return names, err
}

// xattrs renders all extended attributes.
func xattrs(path string) string {
	names, err := listXattrs(path)
	if err != nil {
		return errno(err)
	}
	var b strings.Builder
	for _, name := range names {
		value, err := getXattr(path, name)
		if err != nil {
			value = errno(err)
		}
		fmt.Fprintf(&b, "%s=%q ", name, value)
	}
	return b.String()
}

func listXattrs(path string) ([]string, error) {
	buf := make([]byte, 512)
	n, err := unix.Llistxattr(path, buf)
	if err == unix.ERANGE {
		buf = make([]byte, 1<<16)
		n, err = unix.Llistxattr(path, buf)
	}
	if err == unix.EOPNOTSUPP || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	sort.Strings(names)
	return names, nil
}

func getXattr(path, name string) (string, error) {
	buf := make([]byte, 512)
	n, err := unix.Lgetxattr(path, name, buf)
	if err == unix.ERANGE {
		buf = make([]byte, 1<<16)
		n, err = unix.Lgetxattr(path, name, buf)
	}
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
