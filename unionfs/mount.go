package unionfs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/transport"
)

// Mount mounts the union at mountpoint and starts serving it in background
// goroutines. It returns once the kernel has been answered first. A privileged
// process mounts by mount(2), in whatever user namespace; another through fusermount3.
func (fs *FS) Mount(mountpoint string) error {
	words := fs.words()
	fd, err := sys.MountFUSE(mountpoint, fs.source(), "unionmount", words, maxWrite)
	if errors.Is(err, sys.EPERM) || errors.Is(err, sys.EACCES) {
		fd, err = sys.Fusermount(mountpoint, fs.options(words))
	}
	if err != nil {
		return fmt.Errorf("mount at %s: %w", mountpoint, err)
	}
	if fs.server, err = transport.Open(fd, fs.transport()); err == nil {
		err = fs.server.Serve()
	}
	if err != nil {
		// Its end is the mount's: what is left of that answers ENOTCONN.
		return errors.Join(fmt.Errorf("mount at %s: %w", mountpoint, err), sys.DetachMount(mountpoint))
	}
	fs.mounted.Store(true)
	fs.holdBack(mountpoint)
	fs.readAhead(mountpoint)
	return nil
}

// readAhead makes the kernel read ahead as much as one request may ask for: it begins
// with 128 KiB, which makes eight requests of one. Only root may.
func (fs *FS) readAhead(mountpoint string) {
	if sys.Geteuid() != 0 {
		return
	}
	dev, err := mountDev(mountpoint)
	if err == nil {
		err = sys.ReadAhead(dev, maxWrite)
	}
	if err != nil { // as in a user namespace
		fs.cfg.Log.Info("the kernel's own read-ahead stays", "error", err)
	}
}

// Transport tells how requests arrive, once mounted: "device" or "io_uring".
func (fs *FS) Transport() string { return string(fs.server.Kind()) }

// Held counts what the union keeps: nodes the kernel knows, and files and
// directories that are open.
func (fs *FS) Held() (nodes, open int) {
	fs.table.mu.Lock()
	nodes = fs.table.slots.count
	fs.table.mu.Unlock()
	fs.handles.mu.Lock()
	defer fs.handles.mu.Unlock()
	return nodes, len(fs.handles.m)
}

// options are fusermount3's.
func (fs *FS) options(words []string) []string {
	o := append([]string{"default_permissions"}, words...)
	if fs.cfg.AllowOther {
		o = append(o, "allow_other")
	}
	return append(o, "fsname="+fs.source(), "subtype=unionmount", fmt.Sprintf("max_read=%d", maxWrite))
}

// words are mount(8)'s for this mount. A union without an upper is mounted
// read-only, unless volumes below it are written through the same connection.
func (fs *FS) words() []string {
	words := slices.Clone(fs.cfg.MountFlags)
	if fs.cfg.Upper == "" && !fs.routed() && !slices.Contains(words, "ro") {
		words = append(words, "ro")
	}
	return words
}

// Wait blocks until the mount is gone (whoever unmounted it).
func (fs *FS) Wait() {
	if fs.mounted.Load() {
		fs.server.Wait()
	}
}
