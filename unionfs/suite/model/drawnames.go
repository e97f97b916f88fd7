package model

import (
	"os"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"golang.org/x/sys/unix"
)

// drawNames lists the operations that make, move and remove names.
func (g *generator) drawNames() []weighted {
	return []weighted{
		{4, func(o *op.Op) { o.Kind, o.Path = op.Unlink, g.names.victim() }},
		{5, func(o *op.Op) { o.Kind, o.Path, o.Mode = op.Mkdir, g.names.fresh(), g.dirMode() }},
		{3, func(o *op.Op) { o.Kind, o.Path = op.Rmdir, g.names.victim(os.ModeDir) }},
		{2, g.drawMknod},
		{3, func(o *op.Op) { o.Kind, o.Path, o.Data = op.Symlink, g.names.fresh(), g.target() }},
		{4, func(o *op.Op) {
			o.Kind, o.Path, o.Path2 = op.Link, g.names.victim(0), g.names.fresh()
			o.Flags = g.maybe(3, unix.AT_SYMLINK_FOLLOW)
		}},
		{10, g.drawRename},
		{2, func(o *op.Op) { o.Kind, o.Path, o.Len = op.Truncate, g.names.some(0), g.offset() }},
	}
}

// dirMode keeps directories usable by their owner, mostly.
func (g *generator) dirMode() uint32 {
	modes := []uint32{0o755, 0o755, 0o777, 0o777, 0o775, 0o700, 0o1777, 0o2775, 0o2777, 0o1777, 0o555, 0o711}
	return modes[g.rng.Intn(len(modes))]
}

// target is what a symlink may point to: never upwards, for the two sides lie in different places, and nothing
// outside of them may ever be reached.
func (g *generator) target() string {
	targets := []string{"a", "b", "c/d", "e", "f/g/h", "nowhere", "/absolute/nowhere", "a/", "./i"}
	return targets[g.rng.Intn(len(targets))]
}

func (g *generator) drawMknod(o *op.Op) {
	kinds := []uint32{unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFREG}
	if g.cfg.Root {
		kinds = append(kinds, unix.S_IFCHR, unix.S_IFBLK)
	}
	kind := kinds[g.rng.Intn(len(kinds))]
	o.Kind, o.Path, o.Mode = op.Mknod, g.names.fresh(), kind|g.permissions()
	switch kind {
	case unix.S_IFCHR: // null or zero: harmless to open. 0/0 would be a whiteout.
		o.Dev = unix.Mkdev(1, uint32(3+2*g.rng.Intn(2)))
	case unix.S_IFBLK:
		o.Dev = unix.Mkdev(250, uint32(g.rng.Intn(200)))
	}
}

func (g *generator) drawRename(o *op.Op) {
	o.Kind = op.Rename
	if g.rng.Intn(2) == 0 {
		o.Path = g.names.victim(os.ModeDir)
	} else {
		o.Path = g.names.victim()
	}
	if g.rng.Intn(2) == 0 {
		o.Path2 = g.names.fresh()
	} else {
		o.Path2 = g.names.victim(g.names.kind[o.Path])
	}
	o.Flags = g.maybe(6, unix.RENAME_NOREPLACE)
	if o.Flags == 0 {
		o.Flags = g.maybe(5, unix.RENAME_EXCHANGE)
	}
}

// drawRemoval makes room.
func (g *generator) drawRemoval(o *op.Op) {
	o.Path = g.names.victim()
	o.Kind = op.Unlink
	if g.names.kind[o.Path] == os.ModeDir {
		o.Kind = op.Rmdir
	}
}
