package treehash

import "golang.org/x/sys/unix"

// cloneNoatime returns a descriptor of a detached clone of the mount at root, on which reading changes no access
// time. It takes CAP_SYS_ADMIN. Only this keeps readlink(2) from changing a link's access time.
func cloneNoatime(root string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, root, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOATIME | unix.MOUNT_ATTR_RDONLY, Attr_clr: unix.MOUNT_ATTR__ATIME}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
