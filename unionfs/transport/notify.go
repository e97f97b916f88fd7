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
	type message struct {
		fuse.OutHeader
		fuse.NotifyInvalInodeOut
	}
	m := message{
		fuse.OutHeader{Length: uint32(unsafe.Sizeof(message{})), Status: -fuse.NOTIFY_INVAL_INODE},
		fuse.NotifyInvalInodeOut{Ino: id, Off: off, Length: length},
	}
	_, err := unix.Write(s.fd, unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m)))
	return err
}

// InvalidateEntry makes the kernel forget what name in the directory parent leads
// to, and with the last name and the last open file the node itself. The kernel
// locks the directory: no handler may call it. The errors are the kernel's: ENOENT for a name that it doesn't know.
func (s *Server) InvalidateEntry(parent uint64, name string) error {
	m := struct {
		fuse.OutHeader
		fuse.NotifyInvalEntryOut
	}{
		fuse.OutHeader{Status: -fuse.NOTIFY_INVAL_ENTRY},
		fuse.NotifyInvalEntryOut{Parent: parent, NameLen: uint32(len(name))},
	}
	text := append(append(make([]byte, 0, int(unsafe.Sizeof(m))+len(name)+1), unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m))...), name...)
	text = append(text, 0)
	(*fuse.OutHeader)(unsafe.Pointer(&text[0])).Length = uint32(len(text))
	_, err := unix.Write(s.fd, text)
	return err
}

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
