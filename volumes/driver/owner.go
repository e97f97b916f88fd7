package driver

import "os"

// owner is whose the root of a new volume's data is.
type owner struct {
	uid, gid int // -1: the creator's
	mode     os.FileMode
}

func ownerOf(w words) (owner, error) {
	o, mode := owner{-1, -1, 0}, 0o755
	for _, f := range []struct {
		key        string
		base, bits int
		to         *int
	}{{"uid", 10, 31, &o.uid}, {"gid", 10, 31, &o.gid}, {"mode", 8, 12, &mode}} {
		value := w.value(f.key)
		if value == "" {
			if w.has(f.key) || w.has(f.key+"=") {
				return o, fail(ErrBadOption, "missing value for option: %q", f.key)
			}
			continue
		}
		n, err := number(f.key, value, f.base, f.bits)
		if err != nil {
			return o, err
		}
		*f.to = n
	}
	o.mode = fileMode(mode)
	return o, nil
}

func (o owner) apply(dir string) error {
	if o.uid >= 0 || o.gid >= 0 {
		if err := os.Lchown(dir, o.uid, o.gid); err != nil {
			return fail(ErrUnsupported, "o=uid=,gid=: %w: only root gives away", err)
		}
	}
	return os.Chmod(dir, o.mode) // whatever the umask; after chown, which takes set-id bits
}

// fileMode turns the bits of chmod(1) into Go's.
func fileMode(n int) os.FileMode {
	m := os.FileMode(n & 0o777)
	for bit, mode := range map[int]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if n&bit != 0 {
			m |= mode
		}
	}
	return m
}
