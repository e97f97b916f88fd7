package layers

import "github.com/unionmount/unionmount/layers/sys"

// An opaque directory hides everything below it. Forms read: overlay.opaque=y in
// trusted.*, user.* and user.fuseoverlayfs.*, and the file .wh..wh..opq (aufs, OCI).

// SuffixOpaque, after a mark prefix, names the attribute; Opaque is its value.
const SuffixOpaque = "opaque"

// Opaque is the value of the mark.
func Opaque() []byte { return []byte("y") }

// hasSentinel tells whether the directory name in dir holds the file form.
func hasSentinel(dir int, name string) (bool, error) {
	d, p := dir, aufsSentinel
	if name != "" {
		fd, err := sys.OpenAt(dir, name, sys.O_PATH|sys.O_DIRECTORY, 0)
		if err != nil {
			return false, err
		}
		defer sys.Close(fd)
		d = fd
	}
	_, err := sys.StatAt(d, p)
	if err == sys.ENOENT {
		return false, nil
	}
	// A directory that may not be searched hides its sentinel from us; the search fails later, with its name.
	if err == sys.EACCES {
		return false, nil
	}
	return err == nil, err
}
