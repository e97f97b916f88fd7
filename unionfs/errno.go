package unionfs

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// status turns an error into what the kernel is told: the only place where that
// happens. An error that the user's own doing doesn't explain is logged with its operation and path.
func (fs *FS) status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	if errno, ok := err.(syscall.Errno); ok && !grave(errno) {
		return fuse.Status(errno)
	}
	errno := syscall.EIO
	known := errors.As(err, &errno)
	if !known || grave(errno) || errors.Is(err, errLost) {
		fs.cfg.Log.Error("request failed", "error", err)
	}
	return fuse.Status(errno)
}

// grave errnos are about the disk or about us, not about what was asked.
func grave(e syscall.Errno) bool {
	switch e {
	case syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EUCLEAN, syscall.ESTALE, syscall.EMFILE,
		syscall.ENFILE, syscall.ENOMEM, syscall.EBADF, syscall.EFAULT,
		syscall.ENOTCONN, syscall.ECONNABORTED, syscall.ETIMEDOUT, syscall.EHOSTDOWN: // a layer's server is gone
		return true
	}
	return false
}

// errLost explains the ENOENT of an object that its layer showed before: somebody changes the layer while it is mounted.
var errLost = errors.New("gone from its layer while mounted")

// explained adds errLost to the ENOENT of n's object if its layer no longer has it. A volume is others' too.
func (n *node) explained(err error) error {
	if errors.Is(err, syscall.ENOENT) && !errors.Is(err, errLost) && !n.tree.shared && n.tree.stack.Lost(n.entry.Load()) {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

// failed is status for an operation on n.
func (fs *FS) failed(n *node, op string, err error) fuse.Status {
	return fs.status(fs.named(n, op, err))
}

// named adds operation and path to an error that a log line may be made of.
func (fs *FS) named(n *node, op string, err error) error {
	errno, ok := err.(syscall.Errno)
	err = n.explained(err)
	if !errors.Is(err, errLost) && (!ok || !grave(errno)) {
		return err
	}
	p, known := fs.table.path(n)
	if !known {
		p = "(no name)"
	}
	return fmt.Errorf("%s %q: %w", op, p, err)
}
