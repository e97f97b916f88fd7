package archive

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/volumes/tree"
)

// Types of entries (POSIX ustar, and pax' two headers).
const (
	typeFile    = '0'
	typeLink    = '1'
	typeSymlink = '2'
	typeChar    = '3'
	typeBlock   = '4'
	typeDir     = '5'
	typeFifo    = '6'
	typeGlobal  = 'g'
	typePax     = 'x'
)

const (
	blockSize = 512
	paxXattr  = "SCHILY.xattr."
	paxAccess = "SCHILY.acl.access"
	paxDeflt  = "SCHILY.acl.default"

	maxRecords = 1 << 20 // of one entry; Go's archive/tar reads no more

	// What Go's archive/tar reads but doesn't write: form 1.0 of GNU tar's sparse files.
	sparseMajor = "GNU.sparse.major"
	sparseMinor = "GNU.sparse.minor"
	sparseName  = "GNU.sparse.name"
	sparseSize  = "GNU.sparse.realsize"
)

// header is one entry as it is written.
type header struct {
	kind    byte
	name    string
	link    string
	size    int64 // of what follows
	attr    *tree.Attr
	records []record
}

// record is a line of a pax header.
type record struct{ key, value string }

func (h *header) add(key, value string) { h.records = append(h.records, record{key, value}) }

// write writes the header, after a pax header with what has no place in it.
func (h *header) write(w io.Writer) error {
	if a := h.attr; a != nil {
		h.add("mtime", paxTime(a.Mtime))
		h.add("atime", paxTime(a.Atime))
		h.octal("uid", int64(a.UID), 7)
		h.octal("gid", int64(a.GID), 7)
	}
	h.text("path", h.name)
	h.text("linkpath", h.link)
	h.octal("size", h.size, 11)
	if len(h.records) > 0 {
		if err := writeRecords(w, typePax, h.records); err != nil {
			return err
		}
	}
	return h.block(w)
}

// text records a name that the header's own field, of 100 bytes, can't hold.
func (h *header) text(key, value string) {
	if value != ascii(value, 100) {
		h.add(key, value)
	}
}

func (h *header) octal(key string, n int64, digits uint) {
	if n >= 1<<(3*digits) {
		h.add(key, strconv.FormatInt(n, 10))
	}
}

func writeRecords(w io.Writer, kind byte, records []record) error {
	var b strings.Builder
	for _, r := range records {
		b.WriteString(r.line())
	}
	if b.Len() > maxRecords {
		return fmt.Errorf("more than %d bytes of extended attributes", maxRecords)
	}
	h := header{kind: kind, name: "pax", size: int64(b.Len())}
	if err := h.block(w); err != nil {
		return err
	}
	return writePadded(w, b.String())
}

// line begins with its own length.
func (r record) line() string {
	rest := " " + r.key + "=" + r.value + "\n"
	n := len(rest)
	for len(strconv.Itoa(n))+len(rest) != n {
		n = len(strconv.Itoa(n)) + len(rest)
	}
	return strconv.Itoa(n) + rest
}

func writePadded(w io.Writer, s string) error {
	_, err := io.WriteString(w, s+strings.Repeat("\x00", int(padding(int64(len(s))))))
	return err
}

func padding(n int64) int64 { return -n & (blockSize - 1) }

// block writes the 512 bytes of a ustar header.
func (h *header) block(w io.Writer) error {
	var b [blockSize]byte
	num := func(at, digits int, n int64) {
		copy(b[at:], fmt.Sprintf("%0*o", digits, max(0, min(n, 1<<(3*digits)-1))))
	}
	copy(b[0:100], ascii(h.name, 100))
	mode := uint32(0o644)
	if a := h.attr; a != nil {
		mode = a.Mode & 0o7777
		num(108, 7, int64(a.UID))
		num(116, 7, int64(a.GID))
		num(136, 11, a.Mtime.Sec)
		num(329, 7, int64(sys.Major(a.Rdev)))
		num(337, 7, int64(sys.Minor(a.Rdev)))
	}
	num(100, 7, int64(mode))
	num(124, 11, h.size)
	copy(b[148:156], "        ")
	b[156] = h.kind
	copy(b[157:257], ascii(h.link, 100))
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	_, err := w.Write(b[:])
	return err
}

// ascii is what of a name fits into n bytes of the oldest form.
func ascii(s string, n int) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	return clean[:min(len(clean), n)]
}

// paxTime is a decimal number of seconds; one before 1970 is negative as a whole.
func paxTime(t sys.Timespec) string {
	sec, nsec, sign := t.Sec, t.Nsec, ""
	if sec < 0 {
		sign = "-"
		sec = -sec
		if nsec > 0 {
			sec, nsec = sec-1, 1e9-nsec
		}
	}
	if nsec == 0 {
		return fmt.Sprintf("%s%d", sign, sec)
	}
	return strings.TrimRight(fmt.Sprintf("%s%d.%09d", sign, sec, nsec), "0")
}
