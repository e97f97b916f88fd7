package sys

import "golang.org/x/sys/unix"

// PreadNow is Pread, with the RWF_* flags, from memory alone: EAGAIN if the disk would have to be waited
// for, EOPNOTSUPP on a file system that can't tell. What was read till then is lost to the caller.
func PreadNow(fd int, buf []byte, off int64, flags int) (int, error) {
	done, err := Pread(fd, buf, off, flags|unix.RWF_NOWAIT)
	if err != nil {
		return 0, err
	}
	return done, nil
}

// Pread reads at off, with the RWF_* flags, until buf is full or the file ends.
func Pread(fd int, buf []byte, off int64, flags int) (int, error) {
	done := 0
	for done < len(buf) {
		var n int
		var err error
		if flags == 0 {
			n, err = unix.Pread(fd, buf[done:], off+int64(done))
		} else {
			n, err = unix.Preadv2(fd, [][]byte{buf[done:]}, off+int64(done), flags)
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// ReadsOnce tells whether fd can be read with RWF_DONTCACHE: its file system then keeps nothing in memory that it
// had to fetch for that (Linux 6.14).
func ReadsOnce(fd int) bool {
	var b [1]byte
	_, err := unix.Preadv2(fd, [][]byte{b[:]}, 0, RWF_DONTCACHE|unix.RWF_NOWAIT)
	return err == nil || err == unix.EAGAIN
}

// Sequential has the kernel read ahead twice as much (posix_fadvise(2), POSIX_FADV_SEQUENTIAL).
func Sequential(fd int) {
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) // advice: nothing depends on it
}

// Pwrite writes all of buf at off with the RWF_* flags; a short count comes with its error.
func Pwrite(fd int, buf []byte, off int64, flags int) (int, error) {
	done := 0
	for done < len(buf) {
		var n int
		var err error
		if flags == 0 {
			n, err = unix.Pwrite(fd, buf[done:], off+int64(done))
		} else {
			n, err = unix.Pwritev2(fd, [][]byte{buf[done:]}, off+int64(done), flags)
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, unix.EIO
		}
		done += n
	}
	return done, nil
}

// Seek is lseek(2); whence may be SEEK_DATA or SEEK_HOLE.
func Seek(fd int, off int64, whence int) (int64, error) { return unix.Seek(fd, off, whence) }

// Truncate sets the length of the file behind a writable descriptor.
func Truncate(fd int, size int64) error {
	return retry(func() error { return unix.Ftruncate(fd, size) })
}

// StartWriting has the kernel begin to write a file's dirty pages, and waits for none (sync_file_range(2)).
func StartWriting(fd int) error {
	return retry(func() error { return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE) })
}

// WriteBack writes a file's dirty pages and waits for them (sync_file_range(2));
// what the file system must remember of them, and the disk's cache, are not waited for.
func WriteBack(fd int) error {
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return retry(func() error { return unix.SyncFileRange(fd, 0, 0, all) })
}

// Fallocate is fallocate(2).
func Fallocate(fd int, mode uint32, off, length int64) error {
	return retry(func() error { return unix.Fallocate(fd, mode, off, length) })
}

// Clone makes dst share all of src's blocks (FICLONE); an errno where the file system can't.
func Clone(dst, src int) error { return unix.IoctlFileClone(dst, src) }

// CopyRange is copy_file_range(2) at explicit offsets.
func CopyRange(src int, srcOff int64, dst int, dstOff int64, n int) (int, error) {
	var done int
	err := retry(func() (err error) {
		done, err = unix.CopyFileRange(src, &srcOff, dst, &dstOff, n, 0)
		return err
	})
	return done, err
}
