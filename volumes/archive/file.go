package archive

import (
	"archive/tar"
	"io"

	"github.com/unionmount/unionmount/layers/sys"
)

const (
	// page is what a file system keeps or leaves out as a hole.
	page = 4096
	// spread is how many times as large as what may be written files may seem, by their holes.
	spread = 64
)

// file writes the data of a file. Go's reader tells holes as zeros: in a file that is
// marked as having some, whole pages of zeros are holes again.
func (u *unpacker) file(h *tar.Header, name string) (err error) {
	if u.apparent += h.Size; u.apparent/spread > u.limit {
		return refuse("it is too large: files of %d bytes and more, for the most part holes; --max-size allows more", u.apparent)
	}
	fd, err := u.build.Open(name)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := sys.Close(fd); err == nil {
			err = closeErr
		}
	}()
	write := u.write
	if sparse(h) {
		if err := sys.Truncate(fd, h.Size); err != nil {
			return err
		}
		write = u.writePages
	}
	for at := int64(0); at < h.Size; {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(u.stream, u.buf[:min(int64(len(u.buf)), h.Size-at)])
		if err != nil {
			return u.stream.bad(err)
		}
		if err := write(fd, u.buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
		u.tell()
	}
	return nil
}

func sparse(h *tar.Header) bool {
	return h.Typeflag == tar.TypeGNUSparse || h.PAXRecords[sparseMajor] != "" || h.PAXRecords["GNU.sparse.map"] != "" ||
		h.PAXRecords["GNU.sparse.numblocks"] != ""
}

func (u *unpacker) write(fd int, b []byte, at int64) error {
	if err := u.charge(int64(len(b))); err != nil {
		return err
	}
	u.Bytes += int64(len(b))
	_, err := sys.Pwrite(fd, b, at, 0)
	return err
}

// writePages writes runs of pages that aren't all zeros. at is a multiple of a page.
func (u *unpacker) writePages(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n := pages(b, func(p []byte) bool { return allZero(p) })
		b, at = b[n:], at+int64(n)
		n = pages(b, func(p []byte) bool { return !allZero(p) })
		if n == 0 {
			continue
		}
		if err := u.write(fd, b[:n], at); err != nil {
			return err
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// pages is the length of the first pages of which all are as is says.
func pages(b []byte, is func([]byte) bool) (n int) {
	for n < len(b) && is(b[n:min(n+page, len(b))]) {
		n = min(n+page, len(b))
	}
	return n
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
