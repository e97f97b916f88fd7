package sys

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xattrArgs is struct xattr_args (include/uapi/linux/xattr.h), which has 64 bits for the pointer.
type xattrArgs struct {
	value       unsafe.Pointer
	_           [8 - unsafe.Sizeof(uintptr(0))]byte
	size, flags uint32
}

// hasXattrAt tells whether the kernel has getxattrat(2) and its kin (Linux 6.13). They take no descriptor opened with
// O_PATH by itself, but names below one. Without them the way is by /proc.
var hasXattrAt = sync.OnceValue(func() bool {
	_, _, e := unix.Syscall6(unix.SYS_LISTXATTRAT, ^uintptr(0), 0, 0, 0, 0, 0)
	return e != unix.ENOSYS && e != unix.EPERM // a seccomp filter says EPERM of what it doesn't know
})

func getXattrAt(dir int, name, attr string, buf []byte) (int, error) {
	if !hasXattrAt() {
		return unix.Lgetxattr(procChild(dir, name), attr, buf)
	}
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	at, err := unix.BytePtrFromString(attr)
	if err != nil {
		return 0, err
	}
	args := &xattrArgs{value: unsafe.Pointer(unsafe.SliceData(buf)), size: uint32(len(buf))}
	n, _, e := unix.Syscall6(unix.SYS_GETXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(path)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(at)), uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	return result(n, e)
}

func listXattrAt(dir int, name string, buf []byte) (int, error) {
	if !hasXattrAt() {
		return unix.Llistxattr(procChild(dir, name), buf)
	}
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	n, _, e := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(path)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	return result(n, e)
}

func result(n uintptr, e unix.Errno) (int, error) {
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
