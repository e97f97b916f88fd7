package unionfs

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// stored turns the name a user gives into the one on disk.
func (fs *FS) stored(n *node, attr string) (string, error) {
	if !fs.acl && strings.HasPrefix(attr, "system.posix_acl_") {
		return "", sys.ENOTSUP
	}
	if n.tree.stack.Plain {
		return attr, nil
	}
	name, ok := layers.Store(attr)
	if !ok {
		return "", sys.EPERM
	}
	return name, nil
}

// GetXAttr reads an attribute; with an empty dest, its size.
func (c *conn) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	n := c.node(in.NodeId)
	attr, err := c.fs.stored(n, attr)
	if err == sys.EPERM {
		err = sys.ENODATA
	}
	if err != nil {
		return 0, c.fs.status(err)
	}
	var v []byte
	err = c.fs.withAttributes(n, func(a sys.Attributed) (err error) { v, err = a.Get(attr); return err })
	if err == sys.ENOENT && onlyForRoute(n) {
		err = sys.ENODATA
	}
	if err != nil {
		return 0, c.fs.status(err)
	}
	return answer(v, dest)
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
	var names []string
	err := c.fs.withAttributes(n, func(a sys.Attributed) (err error) { names, err = a.List(); return err })
	if err == sys.ENOENT && onlyForRoute(n) {
		return 0, fuse.OK
	}
	if err != nil {
		return 0, c.fs.status(err)
	}
	var out []byte
	for _, stored := range names {
		shown, ok := stored, true
		if !n.tree.stack.Plain {
			shown, ok = layers.Shown(stored)
		}
		if !ok || !c.fs.acl && strings.HasPrefix(shown, "system.posix_acl_") {
			continue
		}
		out = append(append(out, shown...), 0)
	}
	return answer(out, dest)
}

// SetXAttr sets an attribute.
func (c *conn) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	return c.fs.status(c.changeXattr(in.NodeId, attr, func(a sys.Attributed, stored string) error {
		return a.Set(stored, data, int(in.Flags))
	}))
}

// RemoveXAttr removes an attribute.
func (c *conn) RemoveXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string) fuse.Status {
	return c.fs.status(c.changeXattr(in.NodeId, attr, sys.Attributed.Remove))
}

func (c *conn) changeXattr(id uint64, attr string, change func(a sys.Attributed, stored string) error) error {
	n := c.node(id)
	stored, err := c.fs.stored(n, attr)
	if err != nil {
		return err
	}
	if err := c.fs.change(n, cow.Whole); err != nil {
		return err
	}
	return c.fs.withAttributes(n, func(a sys.Attributed) error { return change(a, stored) })
}

// onlyForRoute tells whether n is a directory that no layer has.
func onlyForRoute(n *node) bool {
	e := n.entry.Load()
	return !e.Upper && len(e.Lowers) == 0
}
