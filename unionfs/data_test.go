package unionfs

import (
	"log/slog"
	"os"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// TestLargeFilesOnce: a file that takes much of the memory was in it twice once it was read, as the union's pages and as
// those of the file below; 8 GiB of 24 had to be fetched from the disk again and again. A small one stays below too.
func TestLargeFilesOnce(t *testing.T) {
	const size, piece = 4 << 20, 128 << 10
	d := t.TempDir()
	if err := os.WriteFile(d+"/file", make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(d+"/file", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !sys.ReadsOnce(int(f.Fd())) {
		suite.Absent(t, "the file system has no RWF_DONTCACHE")
	}
	for _, c := range []struct {
		name string
		from int64
		once bool
	}{{"large", size, true}, {"small", size + 1, false}} {
		t.Run(c.name, func(t *testing.T) {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
				t.Fatal(err)
			}
			fs, err := Open(Config{Lowers: []string{d}, IO: IOCached, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer fs.Close()
			fs.onceFrom = c.from
			n, _, err := fs.lookup(fs.union.root, "file", true)
			if err != nil {
				t.Fatal(err)
			}
			conn := &conn{fs: fs}
			buf := make([]byte, piece)
			for off := uint64(0); off < size; off += piece {
				in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: n.id}, Offset: off, Size: piece}
				got, s := conn.read(in, buf, true)
				if s == fuse.EAGAIN {
					got, s = conn.read(in, buf, false)
				}
				if got != piece || !s.Ok() {
					t.Fatal(got, s)
				}
			}
			if kept := resident(t, f, size); c.once == (kept > size/2) {
				t.Errorf("%d of %d bytes are in memory below", kept, size)
			}
		})
	}
}

// resident is how much of a file the kernel has in memory, in bytes (mincore(2)).
func resident(t *testing.T, f *os.File, size int) (bytes int) {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	page := os.Getpagesize()
	in := make([]byte, size/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(size), uintptr(unsafe.Pointer(&in[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range in {
		bytes += int(p&1) * page
	}
	return bytes
}
