package sys

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/unionfs/suite"
)

// TestPreadNow: what is in memory is read, to the end of the file and no further;
// what isn't gives EAGAIN, not a part of it.
func TestPreadNow(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := bytes.Repeat([]byte("0123456789"), 10_000)
	if _, err := f.Write(text); err != nil {
		t.Fatal(err)
	}
	fd, buf := int(f.Fd()), make([]byte, 8192)
	for off, want := range map[int64][]byte{0: text[:8192], 50_001: text[50_001 : 50_001+8192], 99_990: text[99_990:], 100_000: nil, 200_000: nil} {
		n, err := PreadNow(fd, buf, off, 0)
		if err == unix.EOPNOTSUPP {
			suite.Absent(t, "the file system can't tell what is in memory")
		}
		if err != nil || !bytes.Equal(buf[:n], want) {
			t.Errorf("at %d: %d bytes, %v; want %d", off, n, err, len(want))
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	// A file system without a disk keeps it, and readahead may be quick.
	if n, err := PreadNow(fd, buf, 40_000, 0); err != unix.EAGAIN && (err != nil || !bytes.Equal(buf[:n], text[40_000:40_000+8192])) {
		t.Errorf("not in memory: %d bytes, %v", n, err)
	}
}
