package layers

import (
	"testing"
	"unsafe"

	"github.com/unionmount/unionmount/layers/sys"
)

// TestStatLosesNothing: a compact stat gives back what it was made of.
func TestStatLosesNothing(t *testing.T) {
	st := sys.Stat{
		Dev: 0xfff_00fff, Ino: 1<<63 + 5, Nlink: 1<<32 - 1, Mode: sys.S_IFCHR | 0o7777, Uid: 1<<32 - 2, Gid: 77, Rdev: 0xffffffff,
		Size: 1<<63 - 1, Blksize: 1536, Blocks: 1 << 40,
		Atim: sys.Timespec{Sec: -1 << 62, Nsec: 999_999_999}, Mtim: sys.Timespec{Sec: 1 << 34, Nsec: 1}, Ctim: sys.Timespec{Sec: 3, Nsec: 4},
	}
	c := Compact(&st)
	if got := c.Full(); got != st {
		t.Errorf("got %+v, want %+v", got, st)
	}
}

// TestEntrySize: there is one for every file that is known, and 128 is a size
// that the allocator has.
func TestEntrySize(t *testing.T) {
	if size := unsafe.Sizeof(Entry{}); size > 128 {
		t.Errorf("an entry has %d bytes", size)
	}
}

// TestEntryChanges follows the lower object of a file through the index and out of it.
func TestEntryChanges(t *testing.T) {
	low := sys.Stat{Dev: 3, Ino: 9, Mode: sys.S_IFREG}
	up := sys.Stat{Dev: 4, Ino: 1, Mode: sys.S_IFREG}
	known := Entry{path: "d/f", layer: 2, Stat: Compact(&low)}
	want := Ref{Layer: 2, Path: "d/f", Dev: 3, Ino: 9}
	if got := known.Lower(); got != want || known.Lowers() != 1 {
		t.Errorf("lower: %+v", got)
	}
	indexed := known
	indexed.CopyUp(&up, "name")
	if got := indexed.Lower(); got != want || indexed.Index() != "name" || !indexed.Upper {
		t.Errorf("indexed: %+v of %+v", got, indexed)
	}
	free := indexed
	free.DropIndex()
	if free.Index() != "" || indexed.Index() != "name" {
		t.Error("to leave the index must change the copy alone")
	}
	plain := known
	plain.CopyUp(&up, "")
	if plain.HasLower() || plain.Stat.Ino != 1 || !known.HasLower() {
		t.Errorf("copied up: %+v", plain)
	}
}
