package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/layers/sys/filedata"
	"github.com/unionmount/unionmount/volumes/tree"
)

// PackOptions are the options of Pack.
type PackOptions struct {
	Live bool        // the tree may change meanwhile: what vanishes is left out
	Tell func(Stats) // called now and then, if not nil
}

// Pack writes the tree below root to w. Equal trees give equal streams.
func Pack(ctx context.Context, w io.Writer, root int, o PackOptions) (Stats, error) {
	z, err := zstd.NewWriter(w)
	if err != nil {
		return Stats{}, err
	}
	p := packer{ctx: ctx, out: z, sum: sha256.New(), links: make(map[inode]string), tell: o.Tell}
	err = p.global(beginPrefix + beginVersion)
	if err == nil {
		err = tree.Walk(ctx, root, o.Live, p.visit)
	}
	if err == nil {
		p.Digest = hex.EncodeToString(p.sum.Sum(nil))
		err = p.global(endComment + p.Digest)
	}
	if err == nil {
		_, err = p.Write(make([]byte, 2*blockSize))
	}
	if err != nil {
		z.Reset(nil) // waits until nothing is written any more; what is out ends in the middle of a frame
		return p.Stats, err
	}
	return p.Stats, z.Close()
}

type inode struct{ dev, ino uint64 }

type packer struct {
	Stats
	ctx   context.Context
	out   io.Writer
	sum   hash.Hash
	links map[inode]string
	tell  func(Stats)
	buf   [256 << 10]byte
}

// Write writes a part of the tar.
func (p *packer) Write(b []byte) (int, error) {
	p.sum.Write(b)
	return p.out.Write(b)
}

func (p *packer) global(comment string) error {
	return writeRecords(p, typeGlobal, []record{{commentKey, comment}})
}

func (p *packer) visit(n *tree.Node) (leave func() error, err error) {
	if n.Stat.Mode&sys.S_IFMT == sys.S_IFSOCK {
		p.Sockets++
		return nil, nil
	}
	h, err := p.header(n)
	if err == nil {
		err = p.entry(n, h)
	}
	if err != nil {
		return nil, err
	}
	p.Objects++
	if p.tell != nil {
		p.tell(p.Stats)
	}
	return nil, nil
}

// entry writes the header and what follows it.
func (p *packer) entry(n *tree.Node, h *header) error {
	if h.kind != typeFile {
		return h.write(p)
	}
	fd, err := n.Open(0)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	if err := p.file(fd, n.Stat.Size, h); err != nil {
		return fmt.Errorf("pack %q: %w", n.Path, err)
	}
	return nil
}

func (p *packer) header(n *tree.Node) (*header, error) {
	a, err := n.Attr()
	if err != nil {
		return nil, err
	}
	h := &header{name: "./" + n.Path, attr: &a} // "./" alone is the root; bsdtar takes "a:" off a name that begins so
	switch a.Kind() {
	case sys.S_IFDIR:
		h.kind = typeDir
		h.name = strings.TrimSuffix(h.name, "/") + "/"
	case sys.S_IFLNK:
		h.kind, h.link = typeSymlink, a.Target
		if outward(n.Path, a.Target) {
			p.Outward++
		}
	case sys.S_IFCHR:
		h.kind = typeChar
		p.Devices++
	case sys.S_IFIFO:
		h.kind = typeFifo
	case sys.S_IFREG:
		h.kind = typeFile
	default:
		h.kind = typeBlock
		p.Devices++
	}
	if h.kind != typeDir && n.Stat.Nlink > 1 {
		id := inode{n.Stat.Dev, n.Stat.Ino}
		if first, seen := p.links[id]; seen {
			h.kind, h.link = typeLink, "./"+first
			return h, nil // its attributes stand at its first name
		}
		p.links[id] = n.Path
	}
	return h, h.attributes()
}

// attributes records extended attributes and ACLs.
func (h *header) attributes() error {
	for _, x := range h.attr.Xattrs {
		switch x.Name {
		case xattrAccess, xattrDefault:
			text, err := aclText(x.Value)
			if err != nil {
				return fmt.Errorf("pack %q: %w", h.name, err)
			}
			key := paxAccess
			if x.Name == xattrDefault {
				key = paxDeflt
			}
			h.add(key, text)
		default:
			h.add(paxXattr+x.Name, string(x.Value))
		}
	}
	return nil
}

type segment struct{ from, to int64 }

var errManySegments = errors.New("many segments")

// maxSegments bounds the map of a sparse file, which is kept in memory here and by readers.
const maxSegments = 100_000

// file writes a file: as it is, or, if it has holes, a map and the data between them.
func (p *packer) file(fd int, size int64, h *header) error {
	var data []segment
	var total int64
	err := filedata.Segments(fd, size, func(from, to int64) error {
		if len(data) == maxSegments {
			return errManySegments
		}
		data = append(data, segment{from, to})
		total += to - from
		return nil
	})
	if err == errManySegments || total == size {
		data, total, err = []segment{{0, size}}, size, nil
	}
	if err != nil {
		return err
	}
	h.size = total
	if total < size {
		text := sparseMap(data, size)
		h.size += int64(len(text))
		h.add(sparseMajor, "1")
		h.add(sparseMinor, "0")
		h.add(sparseName, h.name)
		h.add(sparseSize, strconv.FormatInt(size, 10))
		h.name = path.Dir(h.name) + "/GNUSparseFile.0/" + path.Base(h.name)
		if err := errors.Join(h.write(p), writePadded(p, text)); err != nil {
			return err
		}
	} else if err := h.write(p); err != nil {
		return err
	}
	changed := false
	for _, s := range data {
		short, err := p.data(fd, s)
		if err != nil {
			return err
		}
		changed = changed || short
	}
	if changed {
		p.Changed++
	}
	_, err = p.Write(make([]byte, padding(total)))
	return err
}

// sparseMap is the map of form 1.0, padded to whole blocks. A hole at the end shows by an empty segment there.
func sparseMap(data []segment, size int64) string {
	if n := len(data); n == 0 || data[n-1].to < size {
		data = append(data, segment{size, size})
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, len(data))
	for _, s := range data {
		fmt.Fprintf(&b, "%d\n%d\n", s.from, s.to-s.from)
	}
	b.Write(make([]byte, padding(int64(b.Len()))))
	return b.String()
}

// data writes one stretch. A file that was cut meanwhile is filled up with zeros, as GNU tar does.
func (p *packer) data(fd int, s segment) (short bool, err error) {
	for at := s.from; at < s.to; {
		if err := p.ctx.Err(); err != nil {
			return short, err
		}
		buf := p.buf[:min(int64(len(p.buf)), s.to-at)]
		n, err := sys.Pread(fd, buf, at, 0)
		if err != nil {
			return short, err
		}
		if n < len(buf) {
			clear(buf[n:])
			short = true
		}
		if _, err := p.Write(buf); err != nil {
			return short, err
		}
		at += int64(len(buf))
		p.Bytes += int64(len(buf))
		if p.tell != nil {
			p.tell(p.Stats)
		}
	}
	return short, nil
}

// outward tells whether a symbolic link at name may lead out of the tree, by its
// text alone: a .. behind a name leads wherever that name, a link maybe, leads.
func outward(name, target string) bool {
	if strings.HasPrefix(target, "/") {
		return true
	}
	named := false
	for c := range strings.SplitSeq(target, "/") {
		if c == ".." && named {
			return true
		}
		named = named || c != ".." && c != "." && c != ""
	}
	to := path.Join(path.Dir(name), target)
	return to == ".." || strings.HasPrefix(to, "../")
}
