package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Handle is the kernel's persistent name of an inode (name_to_handle_at(2)).
type Handle struct {
	Type int32
	ID   []byte
}

// HandleAt encodes the handle of name in dir ("" for dir itself). It needs no
// privilege. ENOTSUP: the file system has none.
func HandleAt(dir int, name string) (Handle, error) {
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	var h unix.FileHandle
	err := retry(func() (err error) {
		h, _, err = unix.NameToHandleAt(dir, name, flags)
		return err
	})
	if err != nil {
		return Handle{}, err
	}
	return Handle{Type: h.Type(), ID: append([]byte(nil), h.Bytes()...)}, nil
}

// fsIocGetFSUUID is FS_IOC_GETFSUUID of linux/fs.h: _IOR(0x15, 0, struct fsuuid2), since Linux 6.9.
const fsIocGetFSUUID = 0x80111500

// UUID returns the file system's uuid, zero where it has none or the kernel doesn't tell.
func UUID(fd int) (uuid [16]byte) {
	var arg struct {
		len  uint8
		uuid [16]byte
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsIocGetFSUUID, uintptr(unsafe.Pointer(&arg)))
	if errno == 0 && arg.len == 16 {
		uuid = arg.uuid
	}
	return uuid
}
