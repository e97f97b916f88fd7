package unionfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers/sys"
)

// Mount mounts the union at mountpoint and starts serving it in background
// goroutines. It returns once the mount answers. A privileged process mounts by
// mount(2), in whatever user namespace; another through fusermount3.
func (fs *FS) Mount(mountpoint string) error {
	o := fs.settings()
	o.Logger = log.New(io.Discard, "", 0)
	if fs.cfg.Log.Enabled(context.Background(), -8) { // below debug: every request
		o.Debug, o.Logger = true, nil
	}
	c := &conn{RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs}
	words := fs.words()
	fd, err := sys.MountFUSE(mountpoint, fs.source(), "unionmount", words, maxWrite)
	switch {
	case err == nil:
		fs.server, err = fuse.NewServer(c, fmt.Sprintf("/dev/fd/%d", fd), o)
		if err != nil {
			err = errors.Join(err, sys.DetachMount(mountpoint))
		}
	case errors.Is(err, sys.EPERM) || errors.Is(err, sys.EACCES):
		o.Options = append([]string{"default_permissions"}, words...)
		fs.server, err = fuse.NewServer(c, mountpoint, o)
	}
	if err != nil {
		return fmt.Errorf("mount at %s: %w", mountpoint, err)
	}
	fs.mounted.Store(true)
	go fs.server.Serve()
	if err := fs.server.WaitMount(); err != nil {
		return fmt.Errorf("mount at %s: %w", mountpoint, err)
	}
	return nil
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
