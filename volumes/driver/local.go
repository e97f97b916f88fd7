package driver

import (
	"context"
	"slices"
)

// openLocal chooses among the forms of the local driver by the options that
// Docker's takes: daemon/volume/local, validateOpts.
func openLocal(v Volume) (Driver, error) {
	for key := range v.Options {
		if !slices.Contains([]string{"type", "o", "device", "size"}, key) {
			return nil, fail(ErrBadOption, "invalid option: %q", key)
		}
	}
	if len(v.Options) > 0 {
		return nil, fail(ErrUnsupported, "options of the local driver are not built yet")
	}
	return plain{v}, nil
}

// plain is a directory of ours.
type plain struct{ Volume }

func (p plain) Create(context.Context) error { return makeData(p.data(), 0o755) }

func (p plain) Remove(context.Context) error { return nil }

func (p plain) Mount(context.Context, string) (string, error) { return p.data(), nil }

func (p plain) Unmount(context.Context, string) error { return nil }

func (p plain) Inspect(context.Context) (State, error) {
	return State{Mountpoint: p.data(), Scope: "local"}, nil
}
