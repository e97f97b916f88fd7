package op

import (
	"encoding/hex"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// line renders the attributes that are equal on both sides.
func (s *Side) line(st *unix.Stat_t) string {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Sprintf("%o %d:%d mtime=%s", st.Mode, st.Uid, st.Gid, Stamp(st.Mtim.Nano(), s.start))
	}
	return fmt.Sprintf("%o %d:%d nlink=%d size=%d rdev=%x mtime=%s",
		st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Rdev, Stamp(st.Mtim.Nano(), s.start))
}

// Stamp renders a time, or Now for one from the days after start: times that operations set are others.
func Stamp(ns, start int64) string {
	const days = 30 * 24 * int64(time.Hour)
	if ns >= start && ns < start+days {
		return Now
	}
	return fmt.Sprintf("%d.%09d", ns/int64(time.Second), ns%int64(time.Second))
}

// seen records the sight of an object, named as name_to_handle_at(2) wants it.
func (s *Side) seen(where string, fd int, path string, st *unix.Stat_t) Seen {
	kind := st.Mode & unix.S_IFMT
	v := Seen{Where: where, Ino: st.Ino, Dev: uint64(st.Dev), Atime: Stamp(st.Atim.Nano(), s.start), Dir: kind == unix.S_IFDIR}
	v.Special = kind != unix.S_IFREG && kind != unix.S_IFDIR
	if s.plain {
		v.Key = Key(fd, path)
	}
	return v
}

// Key identifies an object among all that its filesystem ever holds: inode numbers are used again, file handles
// are not. The path "" is the open file fd itself; a symlink is not followed.
func Key(fd int, path string) string {
	flags := 0
	if path == "" {
		flags = unix.AT_EMPTY_PATH
	}
	h, _, err := unix.NameToHandleAt(fd, path, flags)
	if err == nil {
		return hex.EncodeToString(h.Bytes())
	}
	var stx unix.Statx_t
	err = unix.Statx(fd, path, flags|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &stx)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d@%d.%d", stx.Ino, stx.Btime.Sec, stx.Btime.Nsec)
}
