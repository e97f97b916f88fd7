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
	if o["type"] == "lvm" {
		return openLVM(v, w)
	}
	return filesystem{v, o["type"], o["device"], w}, nil
}

// plain is a directory of ours, with podman's o=uid=,gid=,mode=.
type plain struct {
	Volume
	owner owner
	size  int64 // of its project quota; 0: no limit
}

func openPlain(v Volume, w words) (Driver, error) {
	who, err := ownerOf(w)
	if err != nil {
		return nil, err
	}
	size, err := sizeOf(v.Options["size"])
	if err != nil {
		return nil, err
	}
	podmans, err := sizeOf(w.value("size"))
	return plain{v, who, max(size, podmans)}, err
}

// sizeOf reads a size as Docker does: 512m, 10g; 0 and nothing are no limit.
func sizeOf(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(s)
	if err != nil || n < 0 {
		return 0, fail(ErrBadOption, "invalid size: %q: want a number of bytes, or as in 512m, 10g", s)
	}
	return n, nil
}

func (p plain) Create(context.Context) error {
	if err := os.Mkdir(p.data(), 0o700); err != nil {
		return err
	}
	if p.size > 0 {
		if err := bounded(p.data(), p.size); err != nil {
			return err
		}
	}
	return p.owner.apply(p.data())
}

func (p plain) Remove(context.Context) error {
	if p.size == 0 {
		return nil
	}
	return unbounded(p.data())
}

func (p plain) Mount(context.Context, string) (string, error) { return p.data(), nil }

func (p plain) Unmount(context.Context, string, bool) error { return nil }

func (p plain) Inspect(context.Context) (State, error) {
	return State{Mountpoint: p.data(), Scope: "local"}, nil
}
