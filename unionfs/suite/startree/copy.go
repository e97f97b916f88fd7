package startree

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// copyObject makes a copy of a non-directory, without its attributes.
func copyObject(src, dst string, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return copyData(src, dst, st.Size)
	case unix.S_IFLNK:
		target, err := os.Readlink(src)
		if err != nil {
			return err
		}
		return os.Symlink(target, dst)
	default:
		return unix.Mknod(dst, st.Mode, int(st.Rdev))
	}
}

// copyData copies data and leaves holes.
func copyData(src, dst string, size int64) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(size); err != nil {
		return err
	}
	for end := int64(0); end < size; {
		start, err := unix.Seek(int(in.Fd()), end, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: SEEK_DATA: %w", src, err)
		}
		if end, err = unix.Seek(int(in.Fd()), start, unix.SEEK_HOLE); err != nil {
			return fmt.Errorf("%s: SEEK_HOLE: %w", src, err)
		}
		part := io.NewSectionReader(in, start, end-start)
		if _, err := io.Copy(io.NewOffsetWriter(out, start), part); err != nil {
			return err
		}
	}
	return nil
}

// copyAttributes copies owner, extended attributes, mode and times: in this order, for a chown clears bits of the
// mode and the file capability, a mode may forbid to set attributes, and all but the last changes times.
func copyAttributes(src, dst string, st *unix.Stat_t) error {
	if os.Geteuid() == 0 {
		if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := copyXattrs(src, dst); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(dst, st.Mode&0o7777); err != nil {
			return &os.PathError{Op: "chmod", Path: dst, Err: err}
		}
	}
	return setTimes(dst, st)
}

func setTimes(path string, st *unix.Stat_t) error {
	ts := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}

// copyXattrs copies all extended attributes but the marks.
func copyXattrs(src, dst string) error {
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(src, buf)
	if err != nil || n == 0 {
		return nil // no support: nothing to copy
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(src, name, value)
		if err != nil {
			return &os.PathError{Op: "getxattr " + name, Path: src, Err: err}
		}
		if err := unix.Lsetxattr(dst, name, value[:n], 0); err != nil {
			return &os.PathError{Op: "setxattr " + name, Path: dst, Err: err}
		}
	}
	return nil
}
