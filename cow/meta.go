package cow

import (
	"fmt"
	"strings"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// source is what is copied: name in dir, or what is behind dir itself ("", O_PATH included).
type source struct {
	dir  int
	name string
}

// copyMeta gives the staged object behind dst what src has. The
// order matters: changing data or owner drops security.capability, so it comes
// after both; an ACL changes the mode, so the mode comes after it; times last.
func (w *Writer) copyMeta(dst int, src source, st *sys.Stat) error {
	if err := w.step("owner"); err != nil {
		return err
	}
	if err := w.chown(dst, st.Uid, st.Gid); err != nil {
		return fmt.Errorf("give it to %d:%d: %w", st.Uid, st.Gid, err)
	}
	if err := w.copyXattrs(dst, src); err != nil {
		return err
	}
	if st.Mode&sys.S_IFMT != sys.S_IFLNK {
		if err := w.step("mode"); err != nil {
			return err
		}
		if err := sys.ChmodFd(dst, st.Mode&0o7777); err != nil {
			return err
		}
	}
	if err := w.step("times"); err != nil {
		return err
	}
	return sys.UtimesFd(dst, st.Atim, st.Mtim)
}

// chown spares the call, and the privilege it needs, where the owner is right already.
func (w *Writer) chown(fd int, uid, gid uint32) error {
	st, err := sys.StatAt(fd, "")
	if err != nil || st.Uid == uid && st.Gid == gid {
		return err
	}
	err = sys.ChownFd(fd, int(uid), int(gid))
	if err == sys.EINVAL {
		return sys.EOVERFLOW // the owner has no number in this user namespace (ovl_copy_up_one)
	}
	return err
}

func (w *Writer) copyXattrs(dst int, src source) error {
	names, err := sys.ListXattrAt(src.dir, src.name)
	if err == sys.ENOTSUP {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if layers.Private(n) || w.noACL && isACL(n) {
			continue
		}
		v, err := sys.GetXattrAt(src.dir, src.name, n)
		if err == sys.ENODATA {
			continue
		}
		if err != nil {
			return fmt.Errorf("read attribute %s: %w", n, err)
		}
		if err := w.step("attribute"); err != nil {
			return err
		}
		err = sys.SetXattrFd(dst, n, v, 0)
		if err != nil && mustKeep(n, err) {
			return fmt.Errorf("set attribute %s: %w", n, err)
		}
	}
	return nil
}

func isACL(name string) bool { return strings.HasPrefix(name, "system.posix_acl_") }

// mustKeep is ovl_must_copy_xattr's rule: an upper that has no such attributes
// loses the others, but never an ACL. A plain user can't set security.*: the
// copy then has no capabilities, which is the safe side.
func mustKeep(name string, err error) bool {
	if strings.HasPrefix(name, "security.") && (err == sys.EPERM || err == sys.ENOTSUP) {
		return false
	}
	return err != sys.ENOTSUP || isACL(name)
}
