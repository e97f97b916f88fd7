package op

import (
	"hash/crc32"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// sigbus answers an access to mapped memory that the filesystem could not serve.
const sigbus = "SIGBUS"

// doMapping reads and writes open files through memory.
func (s *Side) doMapping(o Op) (Result, bool) {
	var run func(*file, Op) Result
	switch o.Kind {
	case MapRead:
		run = mapRead
	case MapWrite:
		run = s.mapWrite
	case MapHold:
		run = mapHold
	case MapHeldRead:
		run = mapHeldRead
	default:
		return Result{}, false
	}
	f := &s.files[o.Slot]
	if !f.open {
		return noFile(), true
	}
	if f.kind != unix.S_IFREG {
		return Result{Out: "not a file"}, true
	}
	return guarded(func() Result { return run(f, o) }), true
}

// guarded turns SIGBUS into an answer.
func guarded(run func() Result) (r Result) {
	if suite.Faults(func() { r = run() }) {
		return Result{Out: sigbus}
	}
	return r
}

// window is the part of [off, off+len) that lies in the file, from the page that holds off.
func (f *file) window(o Op) (start int64, skip, length int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, 0, 0, err
	}
	const page = 4096
	start = o.Off &^ (page - 1)
	skip = int(o.Off - start)
	length = int(min(o.Off+o.Len, st.Size) - start)
	return start, skip, length, nil
}

func mapRead(f *file, o Op) Result {
	start, skip, length, err := f.window(o)
	if err != nil {
		return failed(err)
	}
	if length <= skip {
		return Result{Out: "beyond the end"}
	}
	m, err := unix.Mmap(f.fd, start, length, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return failed(err)
	}
	defer unix.Munmap(m)
	return answered(nil, "n=%d crc=%08x", length-skip, crc32.Checksum(m[skip:], castagnoli()))
}

// mapWrite writes through a mapping and waits until the filesystem has it; the plain side need not. A file capability
// is taken off first: stores to memory leave it, but what serves a filesystem from userspace passes them on by
// write(2), which clears it.
func (s *Side) mapWrite(f *file, o Op) Result {
	start, skip, length, err := f.window(o)
	if err != nil {
		return failed(err)
	}
	if length <= skip {
		return Result{Out: "beyond the end"}
	}
	const capability = "security.capability"
	if _, err := unix.Fgetxattr(f.fd, capability, nil); err == nil {
		if err := unix.Fremovexattr(f.fd, capability); err != nil {
			return answered(nil, "not written: %v", err)
		}
	}
	m, err := unix.Mmap(f.fd, start, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return failed(err)
	}
	copy(m[skip:], Fill(o.Seed, int64(length-skip)))
	sync := unix.MS_SYNC
	if s.plain {
		sync = unix.MS_ASYNC
	}
	err = unix.Msync(m, sync)
	if err != nil { // what was stored is nowhere but in memory: let it not be read as if it were written
		_ = unix.Munmap(m)
		_ = unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED)
		return failed(err)
	}
	return answered(unix.Munmap(m), "n=%d", length-skip)
}

// mapHold maps the whole file, to be read by later operations: what others write must show there.
func mapHold(f *file, _ Op) Result {
	if f.mapping != nil {
		return Result{Out: "mapped already"}
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return failed(err)
	}
	if st.Size == 0 {
		return Result{Out: "empty"}
	}
	m, err := unix.Mmap(f.fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return failed(err)
	}
	f.mapping = m
	return answered(nil, "mapped=%d", len(m))
}

func mapHeldRead(f *file, _ Op) Result {
	if f.mapping == nil {
		return Result{Out: "not mapped"}
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return failed(err)
	}
	n := min(len(f.mapping), int(st.Size))
	return answered(nil, "n=%d crc=%08x", n, crc32.Checksum(f.mapping[:n], castagnoli()))
}
