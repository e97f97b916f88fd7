package model

import (
	"os"
	"strings"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/startree"
	"golang.org/x/sys/unix"
)

// drawAttrs lists the operations that change attributes.
func (g *generator) drawAttrs() []weighted {
	return []weighted{
		{4, func(o *op.Op) { o.Kind, o.Path = op.Chmod, g.names.some(); o.Mode = g.modeOf(o.Path) }},
		{2, func(o *op.Op) { g.onFile(o, op.Fchmod); o.Mode = g.permissions() }},
		{2, func(o *op.Op) { o.Kind, o.Path = op.Chown, g.names.some(); g.owner(o) }},
		{2, func(o *op.Op) { o.Kind, o.Path = op.Lchown, g.names.some(os.ModeSymlink); g.owner(o) }},
		{1, func(o *op.Op) { g.onFile(o, op.Fchown); g.owner(o) }},
		{4, func(o *op.Op) {
			o.Kind, o.Path, o.Times = op.Utimens, g.names.some(), [2]op.Time{g.time(), g.time()}
			o.Flags = g.maybe(2, unix.AT_SYMLINK_NOFOLLOW)
		}},
		{2, func(o *op.Op) { g.onFile(o, op.Futimens); o.Times = [2]op.Time{g.time(), g.time()} }},
		{5, func(o *op.Op) { o.Kind, o.Path = op.Setxattr, g.xattrHolder(); g.xattr(o) }},
		{1, func(o *op.Op) { g.onFile(o, op.Fsetxattr); g.xattr(o) }},
		{3, func(o *op.Op) { o.Kind, o.Path, o.Name = op.Removexattr, g.xattrHolder(), g.xattrName() }},
		{1, func(o *op.Op) { o.Kind, o.Mode = op.Umask, []uint32{0o022, 0, 0o027, 0o077}[g.rng.Intn(4)] }},
	}
}

func (g *generator) modeOf(path string) uint32 {
	if g.names.kind[path] == os.ModeDir || path == g.names.top {
		return g.dirMode()
	}
	return g.permissions()
}

// owner draws one; -1 leaves what is. A plain user may name only his own.
func (g *generator) owner(o *op.Op) {
	ids := []int{-1, os.Getuid()}
	if c := g.cfg.Credentials; len(c) > 0 && c[0] != nil {
		ids = append(ids, int(c[0].Uid))
	}
	if g.cfg.Root {
		ids = []int{-1, 0, 1000, 1001}
	}
	o.UID, o.GID = ids[g.rng.Intn(len(ids))], ids[g.rng.Intn(len(ids))]
}

// time draws one that no kernel sets during the run, or one of utimensat(2)'s special values.
func (g *generator) time() op.Time {
	switch g.rng.Intn(6) {
	case 0:
		return op.Time{Nsec: unix.UTIME_NOW}
	case 1:
		return op.Time{Nsec: unix.UTIME_OMIT}
	case 2:
		return op.Time{Sec: 4_000_000_000 + g.rng.Int63n(1000), Nsec: g.rng.Int63n(1_000_000_000)}
	}
	return op.Time{Sec: g.rng.Int63n(1_500_000_000), Nsec: g.rng.Int63n(1_000_000_000)}
}

// xattrHolder is mostly what may have user.* attributes.
func (g *generator) xattrHolder() string { return g.names.some(0, 0, os.ModeDir) }

func (g *generator) xattrName() string {
	all := []string{"user.a", "user.a", "user.b", "user.c", "user.overlay.x", "user.overlay.opaque", "user.fuseoverlayfs.x"}
	if g.cfg.Root {
		all = append(all, "trusted.a", "trusted.overlay.x", "trusted.overlay.opaque", "security.capability")
	}
	if g.cfg.ACL {
		all = append(all, "system.posix_acl_access", "system.posix_acl_access", "system.posix_acl_default")
	}
	return all[g.rng.Intn(len(all))]
}

// xattr draws name, value and flags.
func (g *generator) xattr(o *op.Op) {
	o.Name = g.xattrName()
	o.Flags = g.maybe(5, unix.XATTR_CREATE)
	if o.Flags == 0 {
		o.Flags = g.maybe(5, unix.XATTR_REPLACE)
	}
	switch {
	case o.Name == "security.capability":
		o.Data = startree.Capability()
	case strings.HasPrefix(o.Name, "system.posix_acl"):
		o.Data = startree.ACL(g.rng.Uint32()&0o777|0o700, g.rng.Uint32(), 1000, 1001)
	case strings.HasSuffix(o.Name, "overlay.opaque"):
		o.Data = "y"
	default:
		o.Data = string(op.Fill(g.rng.Uint64(), g.rng.Int63n(200)))
	}
}
