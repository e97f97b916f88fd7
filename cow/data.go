package cow

import (
	"github.com/unionmount/unionmount/layers/sys"
)

const copyChunk = 1 << 20

// copyData makes dst (empty) hold the first size bytes of src, holes kept: a
// reflink where there is one, else copy_file_range(2), else read and write.
func (w *Writer) copyData(dst, src int, size int64) error {
	if size == 0 {
		return nil
	}
	if err := w.step("data"); err != nil {
		return err
	}
	st, err := sys.StatFd(src)
	if err != nil {
		return err
	}
	if sys.Clone(dst, src) == nil {
		if size < st.Size {
			return sys.Truncate(dst, size)
		}
		return nil
	}
	if err := sys.Truncate(dst, min(size, st.Size)); err != nil {
		return err
	}
	return eachSegment(src, min(size, st.Size), func(from, to int64) error {
		return copySegment(dst, src, from, to)
	})
}

// eachSegment calls visit for every stretch of data before end; a file system without SEEK_DATA has one.
func eachSegment(fd int, end int64, visit func(from, to int64) error) error {
	for at := int64(0); at < end; {
		from, err := sys.Seek(fd, at, sys.SEEK_DATA)
		if err == sys.ENXIO {
			return nil
		}
		if err != nil {
			return visit(at, end)
		}
		if from >= end {
			return nil
		}
		to, err := sys.Seek(fd, from, sys.SEEK_HOLE)
		if err != nil {
			to = end
		}
		to = min(to, end)
		if err := visit(from, to); err != nil {
			return err
		}
		at = to
	}
	return nil
}

func copySegment(dst, src int, from, to int64) error {
	for from < to {
		n, err := sys.CopyRange(src, from, dst, from, int(min(to-from, 1<<30)))
		if err != nil || n == 0 {
			return copyBytes(dst, src, from, to)
		}
		from += int64(n)
	}
	return nil
}

func copyBytes(dst, src int, from, to int64) error {
	buf := make([]byte, min(to-from, copyChunk))
	for from < to {
		n, err := sys.Pread(src, buf[:min(to-from, int64(len(buf)))], from)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil // the lower ends early: what is there is what it has
		}
		if _, err := sys.Pwrite(dst, buf[:n], from, 0); err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}
