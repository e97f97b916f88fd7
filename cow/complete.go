package cow

import (
	"fmt"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

const capabilities = "security.capability"

// Complete gives the upper metacopy behind fd (O_PATH) the data it lacks, up to
// limit bytes of what the lower file data has, and takes the mark away
// (ovl_copy_up_meta_inode_data). That comes last, with the data on disk: until
// then the data counts as the lower's, whatever is in the file already.
func (w *Writer) Complete(s *layers.Stack, fd int, data layers.Ref, limit int64) error {
	if err := w.complete(s, fd, data, limit); err != nil {
		return fmt.Errorf("complete a metacopy: %w", err)
	}
	return nil
}

func (w *Writer) complete(s *layers.Stack, fd int, data layers.Ref, limit int64) error {
	mark := w.Prefix + layers.SuffixMetacopy
	if _, err := sys.GetXattrFd(fd, mark); err != nil {
		return ignore(err, sys.ENODATA) // somebody was quicker
	}
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return err
	}
	dst, err := sys.Reopen(fd, sys.O_RDWR)
	if err != nil {
		return err
	}
	defer sys.Close(dst)
	err = w.fill(s, dst, data, min(limit, st.Size))
	if err == nil && !w.volatile {
		if err = w.step("sync"); err == nil {
			err = sys.SyncFd(dst, false)
		}
	}
	if err == nil {
		if err = w.step("unmark"); err == nil {
			err = ignore(sys.RemoveXattrFd(dst, mark), sys.ENODATA)
		}
	}
	if err != nil { // the file says metacopy still: only what it takes and shows matters
		_ = sys.Fallocate(dst, sys.FALLOC_PUNCH_HOLE, 0, st.Size)
		_ = sys.Truncate(dst, st.Size)
		_ = sys.UtimesFd(dst, st.Atim, st.Mtim)
	}
	return err
}

// fill makes dst hold the first size bytes of data, and keeps what a write would
// change: capabilities and times.
func (w *Writer) fill(s *layers.Stack, dst int, data layers.Ref, size int64) error {
	caps, err := sys.GetXattrFd(dst, capabilities)
	if err != nil && err != sys.ENODATA && err != sys.ENOTSUP {
		return err
	}
	st, err := sys.StatFd(dst)
	if err != nil {
		return err
	}
	err = w.copyFrom(s, data, dst, size)
	if err == nil {
		if err = w.step("size"); err == nil {
			err = sys.Truncate(dst, size) // a clone is as long as the lower file
		}
	}
	if len(caps) > 0 {
		if e := sys.SetXattrFd(dst, capabilities, caps, 0); err == nil {
			err = e
		}
	}
	if err == nil {
		err = sys.UtimesFd(dst, st.Atim, st.Mtim)
	}
	return err
}
