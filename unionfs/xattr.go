package unionfs

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// capability is the attribute with a file's capabilities, which a write removes.
const (
	capability     = "security.capability"
	capabilitySize = 20 // struct vfs_cap_data
)

// stored turns the name a user gives into the one on disk.
func (fs *FS) stored(n *node, attr string) (string, error) {
	if !fs.acl && strings.HasPrefix(attr, "system.posix_acl_") {
		return "", sys.ENOTSUP
	}
	if n.tree.stack.Plain {
		return attr, nil
	}
	return layers.Store(attr), nil
}

// GetXAttr reads an attribute; with an empty dest, its size.
func (c *conn) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	n := c.node(in.NodeId)
	attr, err := c.fs.stored(n, attr)
	if err != nil {
		return 0, c.fs.failed(n, "read attributes of", err)
	}
	v, err := c.fs.xattr(n, attr)
	if err == sys.ENOENT && !n.entry.Load().HasLower() {
		err = sys.ENODATA // a directory that exists only for a route
	}
	if err == sys.ENODATA && attr == capability && len(dest) == 0 && c.fs.doubts(n) {
		n.use().is.set(doubted)
		return capabilitySize, fuse.OK
	}
	if err != nil {
		return 0, c.fs.failed(n, "read attributes of", err)
	}
	return answer(v, dest)
}

// isBare tells that n's object can't have capabilities, for which the kernel asks before it writes to a file.
func (n *node) isBare() bool {
	u := n.used.Load()
	return u != nil && u.is.has(bare)
}

// xattr reads an attribute of n's object by its name on disk.
func (fs *FS) xattr(n *node, attr string) (v []byte, err error) {
	if attr == capability && n.isBare() {
		return nil, sys.ENODATA
	}
	err = fs.reachKept(n, func(dir int, base string) (err error) {
		v, err = sys.GetXattrAt(dir, base, attr)
		return err
	})
	return v, err
}

// answer copies a value into the caller's buffer, or tells its size.
func answer(v, dest []byte) (uint32, fuse.Status) {
	if len(dest) > 0 && len(dest) < len(v) {
		return uint32(len(v)), fuse.ERANGE
	}
	copy(dest, v)
	return uint32(len(v)), fuse.OK
}

// ListXAttr lists the attributes that are a user's.
func (c *conn) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n := c.node(in.NodeId)
	fd, err := c.fs.pathFd(n)
	if err == sys.ENOENT && !n.entry.Load().HasLower() {
		return 0, fuse.OK
	}
	if err != nil {
		return 0, c.fs.failed(n, "read attributes of", err)
	}
	defer sys.Close(fd)
	names, err := sys.ListXattrFd(fd)
	if err != nil {
		return 0, c.fs.failed(n, "read attributes of", err)
	}
	var out []byte
	for _, stored := range names {
		shown, ok := stored, true
		if !n.tree.stack.Plain {
			shown, ok = layers.Shown(stored)
		}
		// What listxattr(2) shows of trusted.* depends on the caller, whom the kernel doesn't tell from us.
		if !ok || in.Uid != 0 && strings.HasPrefix(shown, "trusted.") || !c.fs.acl && strings.HasPrefix(shown, "system.posix_acl_") {
			continue
		}
		out = append(append(out, shown...), 0)
	}
	return answer(out, dest)
}

// SetXAttr sets an attribute. An ACL that a user outside the file's group sets
// takes setgid away (posix_acl_update_mode); who that is the kernel tells.
//
// A file's capabilities would not outlive what was written before and is held back
// yet: for the kernel below, we write it after.
func (c *conn) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	if attr == capability {
		c.node(in.NodeId).use().is.clear(bare)
		if err := c.fs.fetchWritten(c.node(in.NodeId), 0); err != nil {
			return c.fs.failed(c.node(in.NodeId), "set capabilities of", err)
		}
	}
	return c.fs.failed(c.node(in.NodeId), "change attributes of", c.changeXattr(in.NodeId, attr, func(fd int, stored string) error {
		err := sys.SetXattrFd(fd, stored, data, int(in.Flags))
		if err != nil || in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID == 0 {
			return err
		}
		st, err := sys.StatAt(fd, "")
		if err != nil || st.Mode&sys.S_ISGID == 0 {
			return err
		}
		return sys.ChmodFd(fd, st.Mode&0o7777&^sys.S_ISGID)
	}))
}

// RemoveXAttr removes an attribute.
func (c *conn) RemoveXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string) fuse.Status {
	n := c.node(in.NodeId)
	var err error
	if attr != capability || !c.fs.removesNone(n) {
		err = c.changeXattr(in.NodeId, attr, sys.RemoveXattrFd)
	}
	if err == nil && attr == capability {
		n.use().is.set(capsGone)
	}
	return c.fs.failed(n, "change attributes of", err)
}

func (c *conn) changeXattr(id uint64, attr string, change func(fd int, stored string) error) error {
	n := c.node(id)
	stored, err := c.fs.stored(n, attr)
	if err != nil {
		return err
	}
	if err := c.fs.change(n, cow.NoData); err != nil {
		return err
	}
	if n.entry.Load().Data() != nil {
		n.use().copyMu.Lock() // against complete, which puts back what it found
		defer n.use().copyMu.Unlock()
	}
	fd, err := c.fs.pathFd(n)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	return change(fd, stored)
}
