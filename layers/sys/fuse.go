package sys

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// MountFUSE mounts a FUSE file system of type fuse.<subtype> at target by
// mount(2) and returns the connection's descriptor. words are mount(8)'s;
// unknown ones are ignored (the caller has refused what must be refused).
func MountFUSE(target, source, subtype string, words []string, maxRead int) (int, error) {
	fd, err := Open("/dev/fuse", O_RDWR)
	if err != nil {
		return -1, fmt.Errorf("open /dev/fuse: %w", err)
	}
	var flags uintptr
	for _, w := range words {
		set, clear := mountBit(w)
		flags = flags&^clear | set
	}
	data := []string{
		fmt.Sprintf("fd=%d", fd), "rootmode=40000",
		fmt.Sprintf("user_id=%d", unix.Geteuid()), fmt.Sprintf("group_id=%d", unix.Getegid()),
		"default_permissions", "allow_other",
	}
	if maxRead > 0 {
		data = append(data, fmt.Sprintf("max_read=%d", maxRead))
	}
	err = unix.Mount(source, target, "fuse."+subtype, flags, strings.Join(data, ","))
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("mount(2): %w", err)
	}
	return fd, nil
}

// mountBit tells which bits of mount(2) a word of mount(8) sets and clears.
func mountBit(word string) (set, clear uintptr) {
	switch word {
	case "ro":
		return unix.MS_RDONLY, 0
	case "rw":
		return 0, unix.MS_RDONLY
	case "nosuid":
		return unix.MS_NOSUID, 0
	case "suid":
		return 0, unix.MS_NOSUID
	case "nodev":
		return unix.MS_NODEV, 0
	case "dev":
		return 0, unix.MS_NODEV
	case "noexec":
		return unix.MS_NOEXEC, 0
	case "exec":
		return 0, unix.MS_NOEXEC
	case "noatime":
		return unix.MS_NOATIME, 0
	case "atime":
		return 0, unix.MS_NOATIME
	case "nodiratime":
		return unix.MS_NODIRATIME, 0
	case "diratime":
		return 0, unix.MS_NODIRATIME
	case "relatime":
		return unix.MS_RELATIME, 0
	case "strictatime":
		return unix.MS_STRICTATIME, 0
	case "sync":
		return unix.MS_SYNCHRONOUS, 0
	case "async":
		return 0, unix.MS_SYNCHRONOUS
	case "dirsync":
		return unix.MS_DIRSYNC, 0
	}
	return 0, 0
}

// DetachMount takes away a mount whose server failed to start.
func DetachMount(target string) error { return unix.Unmount(target, unix.MNT_DETACH) }
