package sys

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// Dirent is one name of a directory as getdents64(2) gives it.
type Dirent struct {
	Name string
	Ino  uint64
	Type uint8 // DT_*; 0 where the file system doesn't say
}

// DT_* of the types that matter here.
const (
	DT_UNKNOWN = unix.DT_UNKNOWN
	DT_DIR     = unix.DT_DIR
	DT_REG     = unix.DT_REG
	DT_LNK     = unix.DT_LNK
	DT_CHR     = unix.DT_CHR
)

// ReadDir calls visit for every name but "." and ".." of the directory behind
// fd, which must be open for reading and is read from its start.
func ReadDir(fd int, visit func(Dirent) error) error {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return err
	}
	pooled := direntBuffers.Get().(*[64 << 10]byte)
	defer direntBuffers.Put(pooled)
	buf := pooled[:]
	for {
		var n int
		err := retry(func() (err error) { n, err = unix.Getdents(fd, buf); return err })
		if err != nil || n == 0 {
			return err
		}
		for b := buf[:n]; len(b) > 0; {
			size := binary.NativeEndian.Uint16(b[16:])
			e := Dirent{Ino: binary.NativeEndian.Uint64(b), Type: b[18], Name: cString(b[19:size])}
			b = b[size:]
			if e.Name == "." || e.Name == ".." {
				continue
			}
			if err := visit(e); err != nil {
				return err
			}
		}
	}
}

// direntBuffers: most directories are small, and clearing 64 KiB costs more than listing one.
var direntBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
