package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Project quotas: linux/fs.h and linux/dqblk_xfs.h, which ext4 takes too.

type fsxattr struct {
	xflags, extsize, nextents, projid, cowextsize uint32
	_                                             [8]byte
}

const (
	fsGetXattr        = 0x801c581f // FS_IOC_FSGETXATTR
	fsSetXattr        = 0x401c5820 // FS_IOC_FSSETXATTR
	flagInherit       = 0x200      // FS_XFLAG_PROJINHERIT
	projectQuota      = 2          // PRJQUOTA
	getQuota          = 0x5803     // Q_XGETQUOTA
	setLimits         = 0x5804     // Q_XSETQLIM
	quotaBlock        = 512
	fieldsBlockLimits = 1<<2 | 1<<3 // FS_DQ_BSOFT, FS_DQ_BHARD
)

type diskQuota struct {
	version, flags                           int8
	fields                                   uint16
	id                                       uint32
	blkHard, blkSoft, inoHard, inoSoft       uint64
	blocks, inodes                           uint64
	inoTimer, blkTimer                       int32
	inoWarns, blkWarns                       uint16
	inoTimerHi, blkTimerHi, rtbTimerHi, pad2 int8
	rtbHard, rtbSoft, rtbCount               uint64
	rtbTimer                                 int32
	rtbWarns                                 uint16
	pad3                                     int16
	pad4                                     [8]byte
}

// Project returns the project id of the file behind fd; 0: none.
func Project(fd int) (uint32, error) {
	var x fsxattr
	err := ioctlPtr(fd, fsGetXattr, unsafe.Pointer(&x))
	return x.projid, err
}

// SetProject gives the directory behind fd, which must be empty, a project id that
// all made in it inherit.
func SetProject(fd int, id uint32) error {
	var x fsxattr
	if err := ioctlPtr(fd, fsGetXattr, unsafe.Pointer(&x)); err != nil {
		return err
	}
	x.projid, x.xflags = id, x.xflags|flagInherit
	return ioctlPtr(fd, fsSetXattr, unsafe.Pointer(&x))
}

// SetProjectLimit bounds what all files of a project on the file system of fd may
// take, in bytes; 0: no bound. ENOSYS, ESRCH or ENOTSUP: no quotas there.
func SetProjectLimit(fd int, id uint32, bytes uint64) error {
	blocks := (bytes + quotaBlock - 1) / quotaBlock
	q := diskQuota{version: 1, flags: projectQuota, fields: fieldsBlockLimits, id: id, blkHard: blocks, blkSoft: blocks}
	return quotactl(fd, setLimits, id, &q)
}

// ProjectInUse tells whether a project has a limit or files.
func ProjectInUse(fd int, id uint32) (bool, error) {
	var q diskQuota
	err := quotactl(fd, getQuota, id, &q)
	if err == unix.ENOENT {
		return false, nil
	}
	return q.blocks > 0 || q.inodes > 0 || q.blkHard > 0, err
}

func quotactl(fd, command int, id uint32, q *diskQuota) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), uintptr(command<<8|projectQuota), uintptr(id), uintptr(unsafe.Pointer(q)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func ioctlPtr(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
