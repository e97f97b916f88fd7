package startree

import (
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// make makes one object, or hides the one below.
func (b *builder) make(p string) error {
	dir, below := b.merged[p]
	free := !b.kept[p] // may be hidden
	draw := b.rng.Intn(20)
	switch {
	case below && free && draw < 5:
		b.taken[p] = true
		b.forget(p)
		return b.whiteout(p)
	case below && dir && (!free || draw < 14):
		return b.directory(p, free)
	case below && !free:
		return nil
	case draw < 6:
		return b.directory(p, free)
	case draw < 12:
		return b.regular(p)
	case draw < 14:
		return b.link(p)
	case draw < 16:
		return b.symlink(p)
	case draw < 17 && !below && !b.opt.NoStrays:
		b.taken[p] = true
		return b.whiteout(p) // of nothing
	default:
		return b.node(p)
	}
}

func (b *builder) directory(p string, free bool) error {
	if err := os.Mkdir(b.at(p), 0o755); err != nil {
		return err
	}
	dir, below := b.merged[p]
	if below && !dir {
		below = false
	}
	opaque := free && b.rng.Intn(3) == 0
	if opaque && below {
		b.forget(p)
	}
	b.add(p, true)
	if opaque {
		return b.opaque(p)
	}
	return nil
}

// regular makes a file: empty, small, or with a hole in it.
func (b *builder) regular(p string) error {
	f, err := os.OpenFile(b.at(p), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	size := b.rng.Int63n(b.opt.Sizes + 1)
	switch b.rng.Intn(4) {
	case 0:
		size = b.rng.Int63n(100)
	case 1:
		if err = f.Truncate(size + 64<<10); err != nil {
			break
		}
		_, err = f.WriteAt(b.bytes(4096), size&^4095)
		size = 0
	}
	if err == nil && size > 0 {
		_, err = f.Write(b.bytes(size))
	}
	if e := f.Close(); err == nil {
		err = e
	}
	b.links = append(b.links, p)
	b.add(p, false)
	return err
}

func (b *builder) bytes(n int64) []byte {
	buf := make([]byte, n)
	b.rng.Read(buf)
	return buf
}

// link makes another name of a file of this layer and this top.
func (b *builder) link(p string) error {
	var in []string
	for _, q := range b.links {
		if b.top == "" || len(q) > len(b.top) && q[:len(b.top)+1] == b.top+"/" {
			in = append(in, q)
		}
	}
	if len(in) == 0 {
		return b.regular(p)
	}
	of := in[b.rng.Intn(len(in))]
	if err := os.Link(b.at(of), b.at(p)); err != nil {
		return err
	}
	b.add(p, false)
	b.keep(of)
	b.keep(p)
	return nil
}

// symlink makes a link that can't lead out of the tree: its target has no "..", and an absolute one does not exist.
func (b *builder) symlink(p string) error {
	targets := []string{"a", "b/c", "d", "nowhere/at/all", "/absolute/nowhere", path.Base(p)}
	b.add(p, false)
	return os.Symlink(targets[b.rng.Intn(len(targets))], b.at(p))
}

// node makes a fifo, a socket or, as root, a device that is harmless to open.
func (b *builder) node(p string) error {
	kinds := []uint32{unix.S_IFIFO, unix.S_IFSOCK}
	if b.opt.Root {
		kinds = append(kinds, unix.S_IFCHR, unix.S_IFBLK)
	}
	kind := kinds[b.rng.Intn(len(kinds))]
	dev := uint64(0)
	switch kind {
	case unix.S_IFCHR:
		dev = unix.Mkdev(1, 3)
	case unix.S_IFBLK:
		dev = unix.Mkdev(250, uint32(b.rng.Intn(200)))
	}
	b.add(p, false)
	if err := unix.Mknod(b.at(p), kind|0o644, int(dev)); err != nil {
		return fmt.Errorf("mknod %o: %w", kind, err)
	}
	return nil
}
