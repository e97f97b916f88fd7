package cow

import (
	"fmt"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// New describes an object to make.
type New struct {
	Mode     uint32 // type and permissions as the caller asked, before umask
	Umask    uint32 // applied unless a default ACL is inherited
	Uid, Gid uint32
	Rdev     uint64
	Target   string // of a symbolic link
	Hides    bool   // a lower has the name, or upper a whiteout: replace it, hide it
	Tmpfile  bool   // no name: the descriptor is all there is
}

func (n *New) kind() uint32 { return n.Mode & sys.S_IFMT }

// parent is what a new object takes from its directory.
type parent struct {
	fd  int
	st  sys.Stat
	acl []byte // default ACL; nil without
}

// Create makes the object name in the upper directory at and returns a
// descriptor: read-write for a regular file, O_PATH else. EEXIST: upper has it.
func (w *Writer) Create(at, name string, n New) (fd int, err error) {
	d, err := w.Upper.Dir(at)
	if err != nil {
		return -1, err
	}
	defer d.Release()
	p := parent{fd: d.Fd}
	if p.st, err = sys.StatAt(d.Fd, ""); err != nil {
		return -1, err
	}
	if p.acl, err = w.defaultACL(d.Fd); err != nil {
		return -1, err
	}
	if p.st.Mode&sys.S_ISGID != 0 {
		n.Gid = p.st.Gid
		if n.kind() == sys.S_IFDIR {
			n.Mode |= sys.S_ISGID
		}
	}
	switch {
	case n.Tmpfile:
		fd, err = w.tmpfile(p, n)
	case n.kind() == sys.S_IFREG && (!n.Hides || w.plain):
		fd, err = w.createFile(p, name, n)
	case w.plain || !n.Hides && w.owns(p, n) && (n.kind() != sys.S_IFDIR || n.Mode&0o7000 == 0):
		fd, err = w.createInPlace(p, name, n)
	default:
		fd, err = w.createStaged(p, name, n)
	}
	if err != nil {
		return -1, fmt.Errorf("create %q: %w", layers.Join(at, name), err)
	}
	return fd, nil
}

// owns tells whether the kernel would give the new object its owner by itself.
func (w *Writer) owns(p parent, n New) bool {
	return int(n.Uid) == w.euid && (p.st.Mode&sys.S_ISGID != 0 || int(n.Gid) == w.egid)
}

// perm is the mode to pass to a call made in the parent itself, whose default ACL the kernel applies.
func (p *parent) perm(n New) uint32 {
	if p.acl != nil || n.kind() == sys.S_IFLNK {
		return n.Mode & 0o7777
	}
	return n.Mode & 0o7777 &^ n.Umask
}

// createFile makes a regular file where nothing is hidden: a nameless file in
// the parent, finished, then linked. The parent gives it group, ACL and project.
func (w *Writer) createFile(p parent, name string, n New) (int, error) {
	if w.owns(p, n) {
		if err := w.step("create"); err != nil {
			return -1, err
		}
		fd, err := sys.OpenAt(p.fd, name, sys.O_RDWR|sys.O_CREAT|sys.O_EXCL, p.perm(n))
		if err != nil || n.Mode&0o7000 == 0 {
			return fd, err
		}
		return fd, closeOn(fd, w.own(fd, p.perm(n), n))
	}
	fd, err := w.tmpfile(p, n)
	if err == sys.ENOTSUP || err == sys.EISDIR || err == sys.EINVAL {
		if w.plain {
			return w.createInPlace(p, name, n)
		}
		return w.createStaged(p, name, n)
	}
	if err != nil {
		return -1, err
	}
	if err := w.step("link"); err != nil {
		return -1, closeOn(fd, err)
	}
	return fd, closeOn(fd, sys.LinkFd(fd, p.fd, name))
}

func (w *Writer) tmpfile(p parent, n New) (int, error) {
	if err := w.step("tmpfile"); err != nil {
		return -1, err
	}
	fd, err := sys.OpenAt(p.fd, ".", sys.O_RDWR|sys.O_TMPFILE, p.perm(n))
	if err != nil {
		return -1, err
	}
	return fd, closeOn(fd, w.own(fd, p.perm(n), n))
}

// own gives the object behind fd its owner; a change of owner takes setuid and setgid away, so they come after.
func (w *Writer) own(fd int, perm uint32, n New) error {
	if err := w.step("owner"); err != nil {
		return err
	}
	if err := w.chown(fd, n.Uid, n.Gid); err != nil || n.Mode&0o7000 == 0 || n.kind() == sys.S_IFLNK {
		return err
	}
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return err
	}
	return sys.ChmodFd(fd, st.Mode&0o777|perm&0o7000)
}

// createInPlace makes anything in the parent itself: in a volume, where no
// other place exists, or where the kernel finishes it in the one call.
func (w *Writer) createInPlace(p parent, name string, n New) (int, error) {
	if err := w.step("create"); err != nil {
		return -1, err
	}
	if err := w.make(p.fd, name, p.perm(n), n); err != nil {
		return -1, err
	}
	fd, err := w.openNew(p.fd, name, n)
	if err != nil {
		return -1, err
	}
	return fd, closeOn(fd, w.own(fd, p.perm(n), n))
}

// createStaged makes the object in work, gives it by hand what its parent would
// have given, and publishes it, over a whiteout if one is there.
func (w *Writer) createStaged(p parent, name string, n New) (int, error) {
	temp := w.temp()
	if err := w.step("make"); err != nil {
		return -1, err
	}
	if err := w.make(w.work, temp, 0o600, n); err != nil {
		return -1, err
	}
	fd, err := w.openNew(w.work, temp, n)
	if err == nil {
		err = closeOn(fd, w.finish(fd, p, n))
	}
	if err == nil {
		if err = w.step("publish"); err == nil {
			err = w.opened(fd, func() error { return w.moveOver(temp, p.fd, name, n.kind() == sys.S_IFDIR, n.Hides) })
		}
		err = closeOn(fd, err)
	}
	if err != nil {
		_ = w.destroy(w.work, temp) // swept at the next mount else
		return -1, err
	}
	return fd, nil
}

// finish gives a staged object owner, inherited ACLs, mode and, where a directory hides one below, the opaque mark.
func (w *Writer) finish(fd int, p parent, n New) error {
	if err := w.step("owner"); err != nil {
		return err
	}
	if err := w.chown(fd, n.Uid, n.Gid); err != nil {
		return err
	}
	if n.kind() == sys.S_IFDIR && n.Hides {
		if err := w.setMark(fd, layers.SuffixOpaque, layers.Opaque()); err != nil {
			return err
		}
	}
	if n.kind() == sys.S_IFLNK {
		return nil
	}
	perm := p.perm(n)
	if p.acl != nil {
		var access []byte
		access, perm = inherit(p.acl, perm)
		if access != nil {
			if err := sys.SetXattrFd(fd, aclAccess, access, 0); err != nil {
				return err
			}
		}
		if n.kind() == sys.S_IFDIR {
			if err := sys.SetXattrFd(fd, aclDefault, p.acl, 0); err != nil {
				return err
			}
		}
	}
	if err := w.step("mode"); err != nil {
		return err
	}
	return sys.ChmodFd(fd, perm)
}

func (w *Writer) make(dir int, name string, perm uint32, n New) error {
	switch n.kind() {
	case sys.S_IFDIR:
		return sys.MkdirAt(dir, name, perm&0o777|perm&0o1000)
	case sys.S_IFLNK:
		return sys.SymlinkAt(n.Target, dir, name)
	default:
		return sys.MknodAt(dir, name, n.kind()|perm, n.Rdev)
	}
}

func (w *Writer) openNew(dir int, name string, n New) (int, error) {
	if n.kind() == sys.S_IFREG {
		fd, err := sys.OpenAt(dir, name, sys.O_RDWR, 0)
		if err != sys.EACCES {
			return fd, err
		}
		// A plain user's file without the owner's bits: only the descriptor of its making could write.
	}
	return sys.PathAt(dir, name)
}

// closeOn closes fd when err says that its owner won't get it.
func closeOn(fd int, err error) error {
	if err != nil {
		_ = sys.Close(fd)
	}
	return err
}
