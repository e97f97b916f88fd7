package layers

import (
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// A whiteout hides a name of the layers below. Forms read: a character device
// 0/0 (kernel, fuse-overlayfs), a file .wh.NAME (aufs, OCI, fuse-overlayfs
// without mknod), an empty file with overlay.whiteout in a directory whose
// opaque mark is "x" (kernel 6.7, for a union that is itself a layer).

const (
	aufsPrefix   = ".wh."
	aufsSentinel = ".wh..wh..opq"
	suffixWhite  = "whiteout"
)

// IsWhiteout tells whether st is a whiteout device.
func IsWhiteout(st *sys.Stat) bool {
	return st.Mode&sys.S_IFMT == sys.S_IFCHR && st.Rdev == 0
}

// WhiteoutMode and WhiteoutDev make a whiteout with mknod(2).
const (
	WhiteoutMode = sys.S_IFCHR
	WhiteoutDev  = 0
)

// IsReserved tells whether a name means something to readers of aufs marks: it can't be a user's.
func IsReserved(name string) bool { return strings.HasPrefix(name, aufsPrefix) }

// AufsWhiteout is the file that hides name where no device can be made.
func AufsWhiteout(name string) string { return aufsPrefix + name }

// aufsHides tells whether dir holds the file form of a whiteout for name.
func aufsHides(dir int, name string) (bool, error) {
	_, err := sys.StatAt(dir, aufsPrefix+name)
	switch err {
	case nil:
		return true, nil
	case sys.ENOENT, sys.ENAMETOOL:
		return false, nil
	}
	return false, err
}

// isXattrWhiteout tells whether an empty regular file is marked as a whiteout.
func isXattrWhiteout(dir int, name string, st *sys.Stat) bool {
	if st.Mode&sys.S_IFMT != sys.S_IFREG || st.Size != 0 {
		return false
	}
	for _, prefix := range overlayPrefixes {
		if _, err := sys.GetXattrAt(dir, name, prefix+suffixWhite); err == nil {
			return true
		}
	}
	return false
}
