package unionfs

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/unionfs/transport"
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

// transport says how this connection is served.
func (fs *FS) transport() transport.Config {
	c := &conn{RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs}
	return transport.Config{
		FS: c, Options: fs.settings(), Read: c.read, Source: c.readFrom, Rename: c.rename, Lengthy: c.lengthy, LongList: c.longList,
		// A lock that is waited for keeps an entry of its processor's queue, and the
		// unlock would need another: enough waiters would wait for ever.
		Ring:  !fs.cfg.NoRing && !fs.forwardsLocks(),
		Fault: func(what string, err error) { fs.cfg.Log.Error(what, "error", err) },
	}
}

// settings are what this connection agrees on with the kernel.
func (fs *FS) settings() fuse.MountOptions {
	extra := uint64(fuse.CAP_DONT_MASK | fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_SETXATTR_EXT)
	o := fuse.MountOptions{
		MaxWrite:                 maxWrite,
		MaxBackground:            64,
		EnableAcl:                fs.acl,
		EnableSymlinkCaching:     !fs.cfg.Coherent,
		ExplicitDataCacheControl: true,
		EnableLocks:              fs.forwardsLocks(),
		DisableSplice:            true,
		PanicHandler:             fs.panicked,
		Logger:                   log.New(io.Discard, "", 0),
	}
	if fs.cfg.Log.Enabled(context.Background(), -8) { // below debug: every request
		o.Debug, o.Logger = true, nil
	}
	if fs.writeback() {
		extra |= fuse.CAP_WRITEBACK_CACHE
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

// Init is never called: package transport asks for nothing more than settings.
func (c *conn) Init(s *fuse.Server) {}

// lengthy tells that a change may mean to copy much data first.
func (c *conn) lengthy(h *fuse.InHeader) bool {
	n := c.fs.table.get(h.NodeId)
	if n == nil {
		return false
	}
	e := n.entry.Load()
	if e.IsDir() { // a rename may copy a whole tree up, or a file that only it names
		return true
	}
	return (!e.Upper || e.Data() != nil) && e.Stat.Size > quickCopy
}

// longList tells that a directory may have so many names that others shall be served while they are listed.
func (c *conn) longList(dir uint64) bool {
	n := c.fs.table.get(dir)
	if n == nil {
		return false
	}
	if n.entry.Load().Lowers() > quickLayers || !c.fs.renameMu.TryRLock() {
		return true
	}
	defer c.fs.renameMu.RUnlock()
	at, ok := c.fs.table.path(n)
	if !ok {
		return false // it is gone and has no names
	}
	size, err := n.tree.stack.LargestPart(n.entry.Load(), at)
	return err != nil || size > quickList
}

// A directory of that size in each of no more layers is listed about as quickly as a request changes threads twice.
const (
	quickList   = 4096
	quickLayers = 3
)

// quickCopy is how many bytes a copy-up copies about as quickly as a request changes threads.
const quickCopy = 64 << 10

// OnUnmount has nothing to do: Wait returns.
func (c *conn) OnUnmount() {}
