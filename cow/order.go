package cow

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// A copied-up file must be whole on the disk before its name can be: that is an
// order, not a point in time. fsync(2) gives it by committing the journal for each
// file. A file system that writes its metadata in the order in which it was changed gives
// it for less: once the data has been written and its blocks are recorded (which is
// when ext4 and xfs end a page's writeback: ext4_end_io_end, xfs_end_ioend), a rename
// that comes later reaches the journal later, and a commit flushes the disk's cache
// before it counts. btrfs ends a page's writeback before it records the blocks,
// so it, and all that are not known to keep the order, get an fsync.

const (
	magicExt = 0xef53 // ext2, ext3, ext4
	magicXFS = 0x58465342
)

// keepsOrder tells whether names on upper's file system reach the disk after data that was written back before them.
func (w *Writer) keepsOrder() bool {
	fs, err := sys.StatfsFd(w.base)
	if err != nil {
		return false
	}
	switch fs.Type {
	case magicXFS:
		return true
	case magicExt:
		return hasJournal(w.Upper.Dev)
	}
	return false
}

// hasJournal tells whether the ext4 on a device has one: sysfs then names the task
// that commits it, else "<none>" (journal_task_show).
func hasJournal(dev uint64) bool {
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", sys.Major(dev), sys.Minor(dev)))
	if err != nil {
		return false
	}
	task, err := os.ReadFile(filepath.Join("/sys/fs/ext4", filepath.Base(device), "journal_task"))
	_, notNumber := strconv.Atoi(strings.TrimSpace(string(task)))
	return err == nil && notNumber == nil
}

// beginWriting has the disk begin with a staged file's data: it writes while owner, marks and
// times are set, and settle waits for less.
func (w *Writer) beginWriting(fd int) {
	if !w.volatile {
		_ = sys.StartWriting(fd) // settle's error counts
	}
}

// settle makes the data of a staged file reach the disk before any name that it is published under.
func (w *Writer) settle(fd int) error {
	if w.volatile {
		return nil
	}
	if err := w.step("sync"); err != nil {
		return err
	}
	if w.ordered {
		return sys.WriteBack(fd)
	}
	return sys.SyncFd(fd, false)
}
