package sys

import "golang.org/x/sys/unix"

// Flags of mount(2), for MountFS and Bind.
const (
	MS_RDONLY      = unix.MS_RDONLY
	MS_NOSUID      = unix.MS_NOSUID
	MS_NODEV       = unix.MS_NODEV
	MS_NOEXEC      = unix.MS_NOEXEC
	MS_SYNCHRONOUS = unix.MS_SYNCHRONOUS
	MS_DIRSYNC     = unix.MS_DIRSYNC
	MS_MANDLOCK    = unix.MS_MANDLOCK
	MS_NOATIME     = unix.MS_NOATIME
	MS_NODIRATIME  = unix.MS_NODIRATIME
	MS_RELATIME    = unix.MS_RELATIME
	MS_STRICTATIME = unix.MS_STRICTATIME
	MS_LAZYTIME    = unix.MS_LAZYTIME
	MS_SILENT      = unix.MS_SILENT
	MS_REC         = unix.MS_REC
	MS_PRIVATE     = unix.MS_PRIVATE
	MS_SHARED      = unix.MS_SHARED
	MS_SLAVE       = unix.MS_SLAVE
)

// MountFS is mount(2) of a file system; data is what it alone understands.
func MountFS(source, target, kind string, flags int, data string) error {
	return unix.Mount(source, target, kind, uintptr(flags), data)
}

// Propagate changes how mounts at target pass to other namespaces: MS_PRIVATE,
// MS_SHARED or MS_SLAVE, with MS_REC also below it (mount_namespaces(7)).
func Propagate(target string, flags int) error { return unix.Mount("", target, "", uintptr(flags), "") }

// Bind binds the directory source over target with the flags of a mount point
// (MS_RDONLY to MS_STRICTATIME), which it has from its first moment on. It is
// private unless propagation says otherwise; MS_REC takes the mounts below source along.
func Bind(source, target string, flags, propagation int) error {
	how, rec := uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC), uint(0)
	if flags&MS_REC != 0 {
		how, rec = how|unix.AT_RECURSIVE, unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, how)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if propagation == 0 {
		propagation = MS_PRIVATE
	}
	attr := unix.MountAttr{Propagation: uint64(propagation &^ MS_REC)}
	for _, f := range []struct {
		flag       int
		set, clear uint64
	}{
		{MS_RDONLY, unix.MOUNT_ATTR_RDONLY, 0},
		{MS_NOSUID, unix.MOUNT_ATTR_NOSUID, 0},
		{MS_NODEV, unix.MOUNT_ATTR_NODEV, 0},
		{MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC, 0},
		{MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME, 0},
		{MS_NOATIME, unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
		{MS_RELATIME, unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
		{MS_STRICTATIME, unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
	} {
		if flags&f.flag != 0 {
			attr.Attr_set, attr.Attr_clr = attr.Attr_set|f.set, attr.Attr_clr|f.clear
		}
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|rec, &attr); err != nil {
		return err
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
