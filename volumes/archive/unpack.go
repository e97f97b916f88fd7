package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/tree"
)

// UnpackOptions are the options of Unpack.
type UnpackOptions struct {
	Devices bool  // device nodes are made, as root
	Outward bool  // symbolic links that lead out of the tree are kept
	MaxSize int64 // of all that is written; 0: what is free on the file system, less a twentieth
	Tell    func(s Stats, read int64)
}

// Unpack fills the empty directory behind root with what the stream holds. Everything
// is refused that leads out of it, comes twice, or wasn't asked for. After an error what
// is there must be thrown away; without one, the checksum was right, if there is one.
func Unpack(ctx context.Context, r io.Reader, root int, o UnpackOptions) (Stats, error) {
	s, err := openStream(r)
	if err != nil {
		return Stats{}, err
	}
	defer s.close()
	b, err := tree.NewBuilder(root)
	if err != nil {
		return Stats{}, err
	}
	defer b.Close()
	u := unpacker{ctx: ctx, stream: s, build: b, opt: o, dirs: make(map[string]*tree.Attr)}
	if u.room, err = o.room(root); err != nil {
		return Stats{}, err
	}
	u.limit = u.room
	err = u.run()
	u.Lost, u.Digest = b.Lost, s.digest
	if err == nil {
		err = sys.SyncFS(root)
	}
	return u.Stats, err
}

// room is how many bytes may be written.
func (o *UnpackOptions) room(root int) (int64, error) {
	if o.MaxSize > 0 {
		return o.MaxSize, nil
	}
	st, err := sys.StatfsFd(root)
	free := int64(st.Bavail) * st.Bsize
	return free - free/20, err
}

type unpacker struct {
	Stats
	ctx    context.Context
	stream *stream
	build  *tree.Builder
	opt    UnpackOptions

	limit, room int64                 // what may be written in all, and still may
	apparent    int64                 // sizes of files, holes included
	dirs        map[string]*tree.Attr // to be finished in the end; nil: no entry said what it is
	buf         [256 << 10]byte
}

func (u *unpacker) run() error {
	for {
		h, err := u.stream.next()
		if err == io.EOF {
			return u.finish()
		}
		if err == nil {
			err = u.ctx.Err()
		}
		if err == nil {
			err = u.entry(h)
		}
		if err != nil {
			return err
		}
		u.Objects++
		u.tell()
	}
}

func (u *unpacker) tell() {
	if u.opt.Tell != nil {
		read, _ := u.stream.raw.state()
		u.opt.Tell(u.Stats, read)
	}
}

// costOfEntry is what an entry counts besides its data, so that nobody fills a disk with names.
const costOfEntry = 1 << 10

func (u *unpacker) charge(n int64) error {
	if u.room -= n; u.room < 0 {
		return refuse("it is too large: more than %d bytes; --max-size allows more", u.limit)
	}
	return nil
}

func (u *unpacker) entry(h *tar.Header) error {
	name, err := inside(h.Name)
	if err != nil {
		return refuse("entry %q: %w", h.Name, err)
	}
	a, err := attr(h)
	if err != nil {
		return refuse("entry %q: %w", h.Name, err)
	}
	size := int64(costOfEntry)
	for _, x := range a.Xattrs {
		size += int64(len(x.Value))
	}
	if err := u.charge(size); err != nil {
		return err
	}
	if err := u.object(h, name, a); err != nil {
		return blame(h.Name, err)
	}
	return nil
}

// blame sorts what went wrong with an entry: the archive's fault, or not.
func blame(name string, err error) error {
	switch {
	case errors.Is(err, ErrRefused):
		return err
	case errors.Is(err, sys.EEXIST):
		return refuse("entry %q comes twice", name)
	case errors.Is(err, sys.ELOOP), errors.Is(err, sys.ENOTDIR), errors.Is(err, sys.EXDEV):
		return refuse("entry %q leads through what is no directory", name)
	case errors.Is(err, sys.ENAMETOOL), errors.Is(err, sys.EINVAL):
		return refuse("entry %q: %w", name, err)
	}
	return fmt.Errorf("entry %q: %w", name, err)
}

// inside is the path below the root that a name means; "" is the root.
func inside(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", errors.New("its name is absolute")
	}
	var parts []string
	for p := range strings.SplitSeq(name, "/") {
		switch p {
		case "..":
			return "", errors.New("its name leads out by way of .. in it")
		case "", ".":
		default:
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/"), nil
}

func (u *unpacker) object(h *tar.Header, name string, a *tree.Attr) error {
	if a.Kind() == sys.S_IFDIR {
		return u.directory(name, a)
	}
	if name == "" {
		return refuse("entry %q is no directory", h.Name)
	}
	if err := u.parents(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeLink:
		return u.hardLink(h, name)
	case tar.TypeSymlink:
		if outward(name, h.Linkname) {
			if u.Outward++; !u.opt.Outward {
				return refuse("entry %q is a symbolic link out of the volume, to %q: --outward-links keeps such links", h.Name, h.Linkname)
			}
		}
	case tar.TypeChar, tar.TypeBlock:
		if !u.opt.Devices {
			return refuse("entry %q is a device: --devices makes devices, as root", h.Name)
		}
	}
	if err := u.build.Make(name, a); err != nil {
		return err
	}
	if a.Kind() == sys.S_IFREG {
		if err := u.file(h, name); err != nil {
			return err
		}
	}
	return u.build.Dress(name, a)
}

func (u *unpacker) hardLink(h *tar.Header, name string) error {
	to, err := inside(h.Linkname)
	if err != nil || to == "" {
		return refuse("entry %q is a hard link out of the volume, to %q", h.Name, h.Linkname)
	}
	err = u.build.Link(to, name)
	if errors.Is(err, sys.ENOENT) || errors.Is(err, sys.EPERM) {
		return refuse("entry %q is a hard link to %q, which isn't there before it or is a directory", h.Name, h.Linkname)
	}
	return err
}

// directory makes one, or remembers what one is that its content came before.
func (u *unpacker) directory(name string, a *tree.Attr) error {
	known, there := u.dirs[name]
	if there && known != nil {
		return sys.EEXIST
	}
	if name != "" && !there {
		if err := u.parents(name); err != nil {
			return err
		}
		if err := u.build.Make(name, a); err != nil {
			return err
		}
	}
	u.dirs[name] = a
	return nil
}

// parents makes the directories above name that no entry has made.
func (u *unpacker) parents(name string) error {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return nil
	}
	dir := name[:i]
	if _, there := u.dirs[dir]; there {
		return nil
	}
	if err := u.parents(dir); err != nil {
		return err
	}
	if err := u.charge(costOfEntry); err != nil {
		return err
	}
	err := u.build.Make(dir, &tree.Attr{Mode: sys.S_IFDIR})
	if errors.Is(err, sys.EEXIST) {
		return sys.ENOTDIR // it isn't one of ours
	}
	u.dirs[dir] = nil
	return err
}

// finish gives the directories their attributes, the innermost first.
func (u *unpacker) finish() error {
	names := make([]string, 0, len(u.dirs))
	for n := range u.dirs {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range slices.Backward(names) {
		a := u.dirs[n]
		if a == nil {
			now := sys.Timespec{Nsec: sys.UTIME_NOW}
			a = &tree.Attr{Mode: sys.S_IFDIR | 0o755, UID: uint32(sys.Geteuid()), GID: uint32(sys.Getegid()), Atime: now, Mtime: now}
		}
		if err := u.build.Dress(n, a); err != nil {
			return blame(n, err)
		}
	}
	return nil
}
