package layers

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// SuffixOrigin names the mark that says which lower object an upper one was
// copied from: a struct ovl_fb (fs/overlayfs/overlayfs.h), or nothing where the
// lower's file system has no handles. It keeps st_ino the same over remounts.
const SuffixOrigin = "origin"

// SuffixOwnOrigin is our addition where the handle doesn't tell (no handle, two
// layers with one uuid): "LAYER:INO", the layer counted from the bottom, or the
// whole name in the index, which begins so. The kernel ignores, hides and keeps it.
const SuffixOwnOrigin = "unionmount.origin"

// SuffixImpure marks an upper directory that holds objects with an origin.
const SuffixImpure = "impure"

// isImpure tells whether the numbers that a listing of the upper directory
// behind fd gives may not be those the union shows.
func (s *Stack) isImpure(fd int) bool {
	_, err := sys.GetXattrFd(fd, s.MarksPrefix+SuffixImpure)
	return err != sys.ENODATA && err != sys.ENOTSUP
}

const (
	fbMagic     = 0xfb
	fbHeader    = 21     // version, magic, len, flags, type, uuid[16]
	fbPathUpper = 1 << 2 // OVL_FH_FLAG_PATH_UPPER
	fuseMagic   = 0x65735546
)

// FileHandle is the kernel's name of a lower object in the form that marks and the index hold.
type FileHandle []byte

// IndexName is the object's name in work/index.
func (h FileHandle) IndexName() string { return hex.EncodeToString(h) }

// EncodeHandle encodes the handle of name in dir, of a file system with that
// uuid; upper marks handles of upper objects. ENOTSUP: there are no lasting handles.
func EncodeHandle(dir int, name string, uuid [16]byte, upper bool) (FileHandle, error) {
	h, err := sys.HandleAt(dir, name)
	if err != nil {
		return nil, err
	}
	fb := make([]byte, fbHeader, fbHeader+len(h.ID))
	fb[1], fb[2], fb[4] = fbMagic, byte(fbHeader+len(h.ID)), byte(h.Type)
	if upper {
		fb[3] = fbPathUpper
	}
	copy(fb[5:], uuid[:])
	return append(fb, h.ID...), nil
}

// Handle encodes the handle of a lower object; nil where there is no lasting one.
func (s *Stack) Handle(ref Ref) (FileHandle, error) {
	l := s.Lowers[ref.Layer]
	d, base, err := l.Parent(ref.Path)
	if err != nil {
		return nil, err
	}
	defer d.Release()
	// A FUSE handle is a node id and means nothing at the next mount.
	if fs, err := sys.StatfsFd(d.Fd); err == nil && fs.Type == fuseMagic {
		return nil, nil
	}
	h, err := EncodeHandle(d.Fd, base, l.UUID, false)
	if err == sys.ENOTSUP || err == sys.EOVERFLOW {
		return nil, nil
	}
	return h, err
}

// inode tells the inode number in a handle of a type whose layout is known.
func (h FileHandle) inode() (ino uint64, ok bool) {
	if len(h) < fbHeader || h[0] != 0 || h[1] != fbMagic || int(h[2]) != len(h) {
		return 0, false
	}
	id := h[fbHeader:]
	le := binary.NativeEndian
	switch kind := h[4]; {
	case kind == 1 && len(id) == 12: // tmpfs: generation, ino low, ino high
		return uint64(le.Uint32(id[4:])) | uint64(le.Uint32(id[8:]))<<32, true
	case (kind == 1 || kind == 2) && len(id) >= 8: // FILEID_INO32_GEN
		return uint64(le.Uint32(id)), true
	case (kind == 0x81 || kind == 0x82) && len(id) >= 12: // xfs: 64-bit ino, generation
		return le.Uint64(id), true
	case kind >= 0x4d && kind <= 0x4f && len(id) >= 16: // btrfs: objectid, root
		return le.Uint64(id), true
	}
	return 0, false
}

func (h FileHandle) uuid() (u [16]byte) {
	copy(u[:], h[5:fbHeader])
	return u
}

// locate tells device and inode number of the lower object behind a handle.
func (s *Stack) locate(h FileHandle) (dev, ino uint64, ok bool) {
	ino, ok = h.inode()
	if !ok {
		return 0, 0, false
	}
	uuid := h.uuid()
	found := false
	for _, l := range s.Lowers {
		if l.UUID != uuid {
			continue
		}
		if found && l.Dev != dev {
			return 0, 0, false // two devices with one uuid: the own mark tells
		}
		dev, found = l.Dev, true
	}
	return dev, ino, found
}

// OwnOrigin returns the mark to write beside handle h of ref, which is no hard
// link; "" if h says it all.
func (s *Stack) OwnOrigin(ref Ref, h FileHandle) string {
	if dev, ino, ok := s.locate(h); ok && dev == ref.Dev && ino == ref.Ino {
		return ""
	}
	return fmt.Sprintf("%d:%d", len(s.Lowers)-1-ref.Layer, ref.Ino)
}

// originOf returns the number of the lower object that the upper object name in
// dir, whose attributes are names, was copied from, and the name that it has in
// the index if it is a hard link; 0 and "" if it was not, or nobody can tell.
func (s *Stack) originOf(dir int, name string, names []string) (number uint64, index string, err error) {
	prefix := s.MarksPrefix
	var h FileHandle
	if slices.Contains(names, prefix+SuffixOrigin) {
		if h, err = sys.GetXattrAt(dir, name, prefix+SuffixOrigin); err != nil {
			return 0, "", err
		}
		index = h.IndexName()
	}
	if !slices.Contains(names, prefix+SuffixOwnOrigin) {
		if dev, ino, ok := s.locate(h); ok {
			number = s.IDs.Number(dev, ino)
		}
		return number, index, nil
	}
	v, err := sys.GetXattrAt(dir, name, prefix+SuffixOwnOrigin)
	if err != nil {
		return 0, "", err
	}
	var layer int
	var ino uint64
	if _, err := fmt.Sscanf(string(v), "%d:%d", &layer, &ino); err == nil && layer >= 0 && layer < len(s.Lowers) {
		number = s.IDs.Number(s.Lowers[len(s.Lowers)-1-layer].Dev, ino)
	}
	if strings.Count(string(v), ":") > 1 {
		index = string(v)
	}
	return number, index, nil
}
