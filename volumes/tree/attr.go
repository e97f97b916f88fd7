package tree

import (
	"fmt"
	"slices"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// Attr is what an object is besides its name and its data.
type Attr struct {
	Mode         uint32 // type and permissions, as st_mode
	UID, GID     uint32
	Rdev         uint64 // of a device
	Target       string // of a symbolic link
	Atime, Mtime sys.Timespec
	Xattrs       []Xattr // by name
}

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Kind is the type in st_mode.
func (a *Attr) Kind() uint32 { return a.Mode & sys.S_IFMT }

// Attr reads what the object is. Attributes that this user may not see are not in it.
func (n *Node) Attr() (a Attr, err error) {
	st := &n.Stat
	a = Attr{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Rdev: st.Rdev, Atime: st.Atim, Mtime: st.Mtim}
	if a.Kind() == sys.S_IFLNK {
		if a.Target, err = sys.ReadlinkAt(n.Fd, ""); err != nil {
			return a, wrap("read link", n.Path, err)
		}
	}
	names, err := sys.ListXattrFd(n.Fd)
	if err != nil && err != sys.ENOTSUP {
		return a, wrap("list attributes of", n.Path, err)
	}
	slices.Sort(names)
	for _, name := range names {
		v, err := sys.GetXattrFd(n.Fd, name)
		if err == sys.ENODATA {
			continue
		}
		if err != nil {
			return a, wrap("read attribute "+name+" of", n.Path, err)
		}
		a.Xattrs = append(a.Xattrs, Xattr{name, v})
	}
	return a, nil
}

// Lost counts what could not be kept, because the user may not set it or the file system has no such thing.
type Lost struct {
	Owners     int64
	Attributes int64
}

func (l Lost) String() string {
	var words []string
	if l.Owners > 0 {
		words = append(words, fmt.Sprintf("%d owners", l.Owners))
	}
	if l.Attributes > 0 {
		words = append(words, fmt.Sprintf("%d extended attributes", l.Attributes))
	}
	return strings.Join(words, ", ")
}

// dress gives the object behind fd what a says. The order matters: changing data or
// owner drops security.capability, so it comes after both; an ACL changes the mode,
// and the mode may forbid to set attributes, so the mode comes after them; times last.
func (a *Attr) dress(fd int, lost *Lost) error {
	mode, err := a.chown(fd, lost)
	if err != nil {
		return fmt.Errorf("give it to %d:%d: %w", a.UID, a.GID, err)
	}
	for _, x := range a.Xattrs {
		err := sys.SetXattrFd(fd, x.Name, x.Value, 0)
		switch {
		case err == nil:
		case mayLose(x.Name, err):
			lost.Attributes++
		default:
			return fmt.Errorf("set attribute %s: %w", x.Name, err)
		}
	}
	if a.Kind() != sys.S_IFLNK {
		if err := sys.ChmodFd(fd, mode); err != nil {
			return fmt.Errorf("set mode %o: %w", mode, err)
		}
	}
	if err := sys.UtimesFd(fd, a.Atime, a.Mtime); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// chown gives the object its owner, if this user may, and returns the permissions
// that are right then: set-id bits go with the owner they are for, as with cp -p.
func (a *Attr) chown(fd int, lost *Lost) (mode uint32, err error) {
	mode = a.Mode & 0o7777
	st, err := sys.StatAt(fd, "")
	if err != nil || st.Uid == a.UID && st.Gid == a.GID {
		return mode, err
	}
	err = sys.ChownFd(fd, int(a.UID), int(a.GID))
	if err != sys.EPERM && err != sys.EINVAL && err != sys.EOVERFLOW { // EINVAL: no number in this user namespace
		return mode, err
	}
	lost.Owners++
	if sys.ChownFd(fd, -1, int(a.GID)) != nil {
		mode &^= sys.S_ISGID
	}
	if st.Uid != a.UID {
		mode &^= sys.S_ISUID
	}
	return mode, nil
}

// mayLose: a file system without such attributes loses them, but never an ACL; a
// plain user can't set security.* and trusted.*: without capabilities is the safe side.
func mayLose(name string, err error) bool {
	switch {
	case strings.HasPrefix(name, "system.posix_acl_"):
		return false
	case strings.HasPrefix(name, "user."):
		return err == sys.ENOTSUP
	}
	return err == sys.ENOTSUP || err == sys.EPERM
}
