package unionfs

import (
	"fmt"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// conn is the FUSE face of an FS: every method of fuse.RawFileSystem. A method
// resolves the node, asks the FS, and turns the answer into a reply.
type conn struct {
	fuse.RawFileSystem // ENOSYS for what is not offered: ioctl, writev, statx
	fs                 *FS
}

func (c *conn) String() string { return "unionmount" }

// node finds the node of a request. The kernel names only what it was given and has not forgotten.
func (c *conn) node(id uint64) *node {
	n := c.fs.table.get(id)
	if n == nil {
		panic(fmt.Sprintf("request for the forgotten node %d", id))
	}
	return n
}

const maxWrite = 1 << 20

// settings are what this connection agrees on with the kernel.
func (fs *FS) settings() *fuse.MountOptions {
	extra := uint64(fuse.CAP_DONT_MASK | fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_SETXATTR_EXT)
	o := &fuse.MountOptions{
		FsName: fs.source(), Name: "unionmount",
		AllowOther:               fs.cfg.AllowOther,
		MaxWrite:                 maxWrite,
		MaxBackground:            64,
		EnableAcl:                fs.acl,
		EnableSymlinkCaching:     !fs.cfg.Coherent,
		ExplicitDataCacheControl: true,
		EnableLocks:              fs.forwardsLocks(),
		DisableSplice:            true,
		PanicHandler:             fs.panicked,
	}
	if !fs.acl {
		extra &^= fuse.CAP_DONT_MASK
	}
	o.ExtraCapabilities = extra
	// Without OPEN a truncation by O_TRUNC would never arrive if it were left to OPEN.
	o.DisabledCapabilities = fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_AUTO_INVAL_DATA
	if !fs.passthrough {
		o.DisabledCapabilities |= fuse.CAP_PASSTHROUGH
	}
	return o
}

func (fs *FS) source() string {
	if fs.cfg.FSName != "" {
		return fs.cfg.FSName
	}
	return "unionmount"
}

// routed tells whether a volume's data goes through this connection.
func (fs *FS) routed() bool { return fs.cfg.IO == IOOpen && len(fs.trees) > 1 }

// forwardsLocks: locks on a volume must meet those of other mounts and of the host.
func (fs *FS) forwardsLocks() bool { return fs.routed() }

// panicked answers a request whose handler failed on us: EIO, a log line, and the mount goes on.
func (fs *FS) panicked(what any) fuse.Status {
	fs.cfg.Log.Error("request failed by a fault of ours", "panic", what)
	return fuse.EIO
}

// Init has nothing to add to what NewServer agreed on.
func (c *conn) Init(s *fuse.Server) {}

// OnUnmount has nothing to do: Wait returns.
func (c *conn) OnUnmount() {}
