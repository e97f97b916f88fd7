package op

import (
	"encoding/binary"
	"hash/crc32"

	"golang.org/x/sys/unix"
)

// doData reads and writes open files.
func (s *Side) doData(o Op) (Result, bool) {
	var run func(*file, Op) Result
	switch o.Kind {
	case Read, Pread:
		run = readData
	case Write, Pwrite:
		run = writeData
	case Ftruncate:
		run = func(f *file, o Op) Result { return failed(unix.Ftruncate(f.fd, o.Len)) }
	case Fallocate:
		run = func(f *file, o Op) Result { return failed(unix.Fallocate(f.fd, uint32(o.Flags), o.Off, o.Len)) }
	case Fsync:
		run = func(f *file, _ Op) Result { return failed(unix.Fsync(f.fd)) }
	case Lseek:
		run = func(f *file, o Op) Result {
			pos, err := unix.Seek(f.fd, o.Off, o.Flags)
			return answered(err, "pos=%d", pos)
		}
	case SeekHole:
		run = seekHole
	case CopyRange:
		run = s.copyRange
	default:
		return Result{}, false
	}
	f := &s.files[o.Slot]
	if !f.open {
		return noFile(), true
	}
	if f.kind == unix.S_IFDIR {
		// Positions of directories are the filesystem's own, and so large that read(2) may find them invalid.
		if o.Kind == Lseek {
			return Result{Out: "positions of directories are not compared"}, true
		}
		if _, err := unix.Seek(f.fd, 0, unix.SEEK_SET); err != nil {
			return failed(err), true
		}
	}
	return run(f, o), true
}

func readData(f *file, o Op) Result {
	buf := make([]byte, o.Len)
	var n int
	var err error
	if o.Kind == Pread {
		n, err = unix.Pread(f.fd, buf, o.Off)
	} else {
		n, err = unix.Read(f.fd, buf)
	}
	return answered(err, "n=%d crc=%08x", n, crc32.Checksum(buf[:max(n, 0)], castagnoli()))
}

func writeData(f *file, o Op) Result {
	buf := Fill(o.Seed, o.Len)
	var n int
	var err error
	if o.Kind == Pwrite {
		n, err = unix.Pwrite(f.fd, buf, o.Off)
	} else {
		n, err = unix.Write(f.fd, buf)
	}
	return answered(err, "n=%d", n)
}

// copyRange copies until all is copied or nothing more comes: how much one call copies is the filesystem's choice.
func (s *Side) copyRange(from *file, o Op) Result {
	to := &s.files[o.Slot2]
	if !to.open {
		return noFile()
	}
	in, out, left := o.Off, o.Off2, o.Len
	for left > 0 {
		n, err := unix.CopyFileRange(from.fd, &in, to.fd, &out, int(left), 0)
		if err != nil {
			return answered(err, "after %d", o.Len-left)
		}
		if n == 0 {
			break
		}
		left -= int64(n)
	}
	return answered(nil, "copied=%d", o.Len-left)
}

// Fill makes n bytes that depend on the seed and the position only.
func Fill(seed uint64, n int64) []byte {
	buf := make([]byte, n+8)
	x := seed*0x9e3779b97f4a7c15 | 1
	for i := int64(0); i < n; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(buf[i:], x)
	}
	return buf[:n]
}
