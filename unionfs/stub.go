package unionfs

import "errors"

// FS is one union: its layers, its upper, its volumes, and, once mounted, its connection.
type FS struct{ cfg Config }

// Open opens every layer root, takes the lock on work, sweeps what a crash left
// there and checks that the upper's filesystem has what an upper needs.
// Nothing is mounted; Close undoes it.
func Open(cfg Config) (*FS, error) { return nil, errors.New("stub") }

// Mount mounts the union at mountpoint and starts serving it in background
// goroutines. It returns once the mount answers.
func (fs *FS) Mount(mountpoint string) error { return errors.New("stub") }

// Wait blocks until the mount is gone (whoever unmounted it).
func (fs *FS) Wait() {}

// Close releases the layer roots and the lock on work. The mount must be gone or never made.
func (fs *FS) Close() error { return nil }

// Marks returns "trusted" or "user": the namespace in which this upper keeps its marks; "" without an upper.
func (fs *FS) Marks() string { return "" }

// ChangeKind is 'A' (added), 'C' (changed) or 'D' (deleted), as docker diff prints.
type ChangeKind byte

// Diff calls visit, in path order, for each path at which upper differs from
// lowers (topmost first). Volumes never show. It needs no mount.
func Diff(upper string, lowers []string, visit func(kind ChangeKind, path string) error) error {
	return errors.New("stub")
}
