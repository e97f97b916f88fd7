package transport

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// InvalidateInode makes the kernel drop what it cached of a node: its attributes,
// a directory's listing, and, unless off is negative, data from off on (length 0:
// all). The caller holds no lock that a handler takes. The errors are the
// kernel's: ENOENT for a node that it doesn't hold. It may be called from a handler.
func (s *Server) InvalidateInode(id uint64, off, length int64) error {
	m := fuse.NotifyInvalInodeOut{Ino: id, Off: off, Length: length}
	return s.notify(fuse.NOTIFY_INVAL_INODE, bytesOf(&m))
}

// InvalidateEntry makes the kernel forget what name in the directory parent leads
// to, and with the last name and the last open file the node itself. The kernel
// locks the directory: no handler may call it. The errors are the kernel's: ENOENT for a name that it doesn't know.
func (s *Server) InvalidateEntry(parent uint64, name string) error {
	m := fuse.NotifyInvalEntryOut{Parent: parent, NameLen: uint32(len(name))}
	return s.notify(fuse.NOTIFY_INVAL_ENTRY, bytesOf(&m), []byte(name), []byte{0})
}

// notify sends a message that answers no request.
func (s *Server) notify(code int32, body ...[]byte) error {
	h := fuse.OutHeader{Length: uint32(outHeaderSize), Status: -code}
	for _, b := range body {
		h.Length += uint32(len(b))
	}
	_, err := unix.Writev(s.fd, append([][]byte{bytesOf(&h)}, body...))
	return err
}

func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// Later calls what may wait for the request that the caller handles to be answered, and lasts until the mount is gone at most.
func (s *Server) Later(do func()) { s.serving.Go(do) }

// ioctl numbers of /dev/fuse (include/uapi/linux/fuse.h).
const (
	iocClone        = 0x8004e500 // FUSE_DEV_IOC_CLONE
	iocBackingOpen  = 0x4010e501 // FUSE_DEV_IOC_BACKING_OPEN
	iocBackingClose = 0x4004e502 // FUSE_DEV_IOC_BACKING_CLOSE
)

// RegisterBacking lets the kernel read and write an open file by itself
// (passthrough); OPEN answers with the id. Needs CAP_SYS_ADMIN in the first user
// namespace (Linux 6.9). Errors are bare errnos.
func (s *Server) RegisterBacking(fd int) (int32, error) {
	m := fuse.BackingMap{Fd: int32(fd)}
	id, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), iocBackingOpen, uintptr(unsafe.Pointer(&m)))
	if errno != 0 {
		return 0, errno
	}
	return int32(id), nil
}

// UnregisterBacking ends what RegisterBacking began; files opened with the id keep it.
func (s *Server) UnregisterBacking(id int32) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), iocBackingClose, uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return errno
	}
	return nil
}
