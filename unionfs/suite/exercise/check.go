package exercise

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// check compares, after each step, size and a random range as seen by one of the ways to look; now and then all.
func (e *exerciser) check() error {
	if e.step%500 == 0 {
		return e.checkWhole()
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(e.old.Fd()), &st); err != nil {
		return err
	}
	size := int64(len(e.image))
	if st.Size != size {
		return fmt.Errorf("size is %d, should be %d", st.Size, size)
	}
	off := e.rng.Int63n(size + 1)
	n := e.rng.Int63n(min(size-off, 16<<10) + 1)
	switch e.rng.Intn(4) {
	case 0:
		return e.checkRead("descriptor", e.file, off, n)
	case 1:
		return e.checkRead("old read-only descriptor", e.old, off, n)
	case 2:
		return e.checkOldMap(off, n)
	default:
		return e.checkMap(off, n)
	}
}

func (e *exerciser) checkRead(how string, f *os.File, off, n int64) error {
	buf := make([]byte, n+1)
	got, err := unix.Pread(int(f.Fd()), buf, off)
	if err != nil {
		return fmt.Errorf("read by the %s: %w", how, err)
	}
	if want := min(n+1, int64(len(e.image))-off); int64(got) != want {
		return fmt.Errorf("read by the %s at %d: %d bytes, should be %d", how, off, got, want)
	}
	return compare(how, buf[:got], e.image[off:off+int64(got)], off)
}

// checkOldMap looks through the mapping that was made before all changes, as far as it and the file go.
func (e *exerciser) checkOldMap(off, n int64) error {
	end := min(off+n, int64(len(e.oldMap)))
	if off >= end {
		return nil
	}
	return compare("old mapping", e.oldMap[off:end], e.image[off:end], off)
}

func (e *exerciser) checkMap(off, n int64) error {
	if n == 0 {
		return nil
	}
	start := off &^ 4095
	m, err := unix.Mmap(int(e.old.Fd()), start, int(off+n-start), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(m)
	return compare("new mapping", m[off-start:], e.image[off:off+n], off)
}

// checkWhole compares all of the file, by every way to look.
func (e *exerciser) checkWhole() error {
	size := int64(len(e.image))
	fresh, err := os.ReadFile(e.cfg.Path)
	if err != nil {
		return err
	}
	if err := compare("new descriptor", fresh, e.image, 0); err != nil {
		return err
	}
	if err := e.checkRead("descriptor", e.file, 0, size); err != nil {
		return err
	}
	if err := e.checkRead("old read-only descriptor", e.old, 0, size); err != nil {
		return err
	}
	return e.checkOldMap(0, size)
}

func compare(how string, got, want []byte, off int64) error {
	if bytes.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("the %s shows something else: %s", how, firstDifference(got, want, off))
}

func firstDifference(got, want []byte, off int64) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at %d is %#x, should be %#x", off+int64(i), got[i], want[i])
		}
	}
	return fmt.Sprintf("%d bytes, should be %d", len(got), len(want))
}
