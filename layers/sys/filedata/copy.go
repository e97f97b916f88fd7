// Package filedata copies a file's bytes by the cheapest way that the file system
// has: shared blocks (FICLONE), copy_file_range(2), read and write. Holes stay holes.
package filedata

import "github.com/unionmount/unionmount/layers/sys"

const (
	page  = 4096
	chunk = 1 << 20  // of read and write
	span  = 64 << 20 // of one copy_file_range(2): how often the caller hears of a copy
)

// Copy makes dst, empty and open for writing, hold the first size bytes of src;
// fewer if src is shorter. moved, if not nil, is told of each part that was copied,
// and its error ends the copy. shared: dst has src's own blocks and nothing was copied.
func Copy(dst, src int, size int64, moved func(n int64) error) (shared bool, err error) {
	st, err := sys.StatFd(src)
	if err != nil {
		return false, err
	}
	size = min(size, st.Size)
	if size == 0 {
		return false, nil
	}
	if sys.Clone(dst, src) == nil {
		return true, sys.Truncate(dst, size) // src may have grown, too
	}
	c := copier{dst, src, moved}
	if solid(src, &st, size) {
		return false, c.segment(0, size)
	}
	if err := sys.Truncate(dst, size); err != nil {
		return false, err
	}
	return false, Segments(src, size, c.segment)
}

// solid tells whether the first size bytes of src are known to have no hole.
func solid(src int, st *sys.Stat, size int64) bool {
	if st.Blocks == 0 {
		return false
	}
	if size <= page { // no room for a hole beside data
		return true
	}
	hole, err := sys.Seek(src, 0, sys.SEEK_HOLE)
	return err == nil && hole >= size
}

// Segments calls visit for every stretch of data before end; a file system without SEEK_DATA has one.
func Segments(fd int, end int64, visit func(from, to int64) error) error {
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

type copier struct {
	dst, src int
	moved    func(n int64) error
}

func (c *copier) tell(n int) error {
	if c.moved == nil {
		return nil
	}
	return c.moved(int64(n))
}

func (c *copier) segment(from, to int64) error {
	for from < to {
		n, err := sys.CopyRange(c.src, from, c.dst, from, int(min(to-from, span)))
		if err != nil || n == 0 {
			return c.bytes(from, to)
		}
		from += int64(n)
		if err := c.tell(n); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) bytes(from, to int64) error {
	buf := make([]byte, min(to-from, chunk))
	for from < to {
		n, err := sys.Pread(c.src, buf[:min(to-from, int64(len(buf)))], from, 0)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil // it ends early: what is there is what it has
		}
		if _, err := sys.Pwrite(c.dst, buf[:n], from, 0); err != nil {
			return err
		}
		from += int64(n)
		if err := c.tell(n); err != nil {
			return err
		}
	}
	return nil
}
