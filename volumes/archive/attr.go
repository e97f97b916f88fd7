package archive

import (
	"archive/tar"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/tree"
)

// kind is the type in st_mode of an entry that can be made; 0 for a hard link, which has none of its own.
func kind(h *tar.Header) (kind uint32, known bool) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return sys.S_IFREG, true
	case tar.TypeDir:
		return sys.S_IFDIR, true
	case tar.TypeSymlink:
		return sys.S_IFLNK, true
	case tar.TypeFifo:
		return sys.S_IFIFO, true
	case tar.TypeChar:
		return sys.S_IFCHR, true
	case tar.TypeBlock:
		return sys.S_IFBLK, true
	}
	return 0, h.Typeflag == tar.TypeLink
}

// attr is what an entry says of its object.
func attr(h *tar.Header) (*tree.Attr, error) {
	kind, known := kind(h)
	if !known {
		return nil, fmt.Errorf("it is of an unknown type, %q", h.Typeflag)
	}
	for _, n := range []int64{int64(h.Uid), int64(h.Gid), h.Devmajor, h.Devminor} {
		if n < 0 || n > math.MaxUint32-1 {
			return nil, fmt.Errorf("its owner or device has the impossible number %d", n)
		}
	}
	if h.Size < 0 || strings.IndexByte(h.Name, 0) >= 0 || strings.IndexByte(h.Linkname, 0) >= 0 {
		return nil, fmt.Errorf("its size or name is impossible")
	}
	if h.Typeflag == tar.TypeSymlink && h.Linkname == "" {
		return nil, fmt.Errorf("it is a symbolic link to nothing")
	}
	a := &tree.Attr{Mode: kind | uint32(h.Mode)&0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid),
		Rdev: sys.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)), Target: h.Linkname, Atime: timespec(h.AccessTime), Mtime: timespec(h.ModTime)}
	if h.AccessTime.IsZero() {
		a.Atime = a.Mtime
	}
	return a, xattrs(h, a)
}

func timespec(t time.Time) sys.Timespec {
	if t.IsZero() {
		return sys.Timespec{}
	}
	return sys.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

func xattrs(h *tar.Header, a *tree.Attr) error {
	for key, value := range h.PAXRecords {
		x := tree.Xattr{Value: []byte(value)}
		var isXattr bool
		x.Name, isXattr = strings.CutPrefix(key, paxXattr)
		switch {
		case key == paxAccess || key == paxDeflt:
			x.Name = xattrAccess
			if key == paxDeflt {
				x.Name = xattrDefault
			}
			var err error
			if x.Value, err = aclValue(value); err != nil {
				return err
			}
			if x.Value == nil {
				continue
			}
			if key == paxAccess {
				a.Mode = a.Mode&^0o777 | aclMode(x.Value) // bsdtar's mode has the group's bits in the place of the mask's
			}
		case !isXattr:
			continue
		case strings.IndexByte(x.Name, 0) >= 0 || !strings.Contains(x.Name, "."):
			return fmt.Errorf("its attribute %q has no possible name", x.Name)
		}
		a.Xattrs = append(a.Xattrs, x)
	}
	slices.SortFunc(a.Xattrs, func(x, y tree.Xattr) int { return strings.Compare(x.Name, y.Name) })
	return nil
}
