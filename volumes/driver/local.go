package driver

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/docker/go-units"
)

// openLocal chooses among the forms of the local driver by the options that
// Docker's takes, and refuses what Docker's refuses, in its words
// (daemon/volume/local, validateOpts).
func openLocal(v Volume) (Driver, error) {
	o := v.Options
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains([]string{"type", "o", "device", "size"}, key) {
			return nil, fail(ErrBadOption, "invalid option: %q: the local driver takes type, device, o and size", key)
		}
	}
	w := splitWords(o["o"])
	if o["type"] == "" && o["device"] == "" && len(w.without("uid", "gid", "mode", "size")) == 0 {
		return openPlain(v, w)
	}
	switch {
	case o["type"] == "":
		return nil, fail(ErrBadOption, "missing required option: %q", "type")
	case o["device"] == "":
		return nil, fail(ErrBadOption, "missing required option: %q", "device")
	case o["size"] != "":
		return nil, fail(ErrBadOption, "size is for a directory, not for a mounted file system: with type=tmpfs give o=size=%s", o["size"])
	case w.has("bind") || w.has("rbind") || o["type"] == "bind":
		if !filepath.IsAbs(o["device"]) {
			return nil, fail(ErrBadOption, "invalid option: device %q: a bind takes an absolute path", o["device"])
		}
	case w.has("remount"):
		return nil, fail(ErrBadOption, "invalid option: %q: nothing is mounted yet", "o=remount")
	}
	return filesystem{v, o["type"], o["device"], w}, nil
}

// plain is a directory of ours, with podman's o=uid=,gid=,mode=.
type plain struct {
	Volume
	uid, gid int // -1: as it comes
	mode     os.FileMode
}

func openPlain(v Volume, w words) (Driver, error) {
	p := plain{v, -1, -1, 0o755}
	for _, f := range []struct {
		key        string
		base, bits int
		to         *int
	}{{"uid", 10, 31, &p.uid}, {"gid", 10, 31, &p.gid}, {"mode", 8, 12, nil}} {
		value := w.value(f.key)
		if value == "" {
			if w.has(f.key) || w.has(f.key+"=") {
				return nil, fail(ErrBadOption, "missing value for option: %q", f.key)
			}
			continue
		}
		n, err := number(f.key, value, f.base, f.bits)
		if err != nil {
			return nil, err
		}
		if f.to == nil {
			p.mode = fileMode(n)
		} else {
			*f.to = n
		}
	}
	for _, size := range []string{v.Options["size"], w.value("size")} {
		if size == "" {
			continue
		}
		if n, err := units.RAMInBytes(size); err != nil || n < 0 {
			return nil, fail(ErrBadOption, "invalid size: %q: want a number of bytes, or as in 512m, 10g", size)
		} else if n > 0 {
			return nil, fail(ErrUnsupported, "quota size requested but no quota support: use -d btrfs -o size=%s, or -o type=tmpfs -o device=tmpfs -o o=size=%s", size, size)
		}
	}
	return p, nil
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

func (p plain) Create(context.Context) error {
	if err := os.Mkdir(p.data(), 0o700); err != nil {
		return err
	}
	if p.uid >= 0 || p.gid >= 0 {
		if err := os.Lchown(p.data(), p.uid, p.gid); err != nil {
			return fail(ErrUnsupported, "o=uid=,gid=: %w: only root gives away", err)
		}
	}
	return os.Chmod(p.data(), p.mode) // whatever the umask; after chown, which takes set-id bits
}

func (p plain) Remove(context.Context) error { return nil }

func (p plain) Mount(context.Context, string) (string, error) { return p.data(), nil }

func (p plain) Unmount(context.Context, string) error { return nil }

func (p plain) Inspect(context.Context) (State, error) {
	return State{Mountpoint: p.data(), Scope: "local"}, nil
}
