package op

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"

	"golang.org/x/sys/unix"
)

// dirent is one name as getdents64(2) gives it.
type dirent struct {
	name string
	ino  uint64
	kind uint8
}

// list reads a directory through a buffer of the given size, and looks at every name: its type and number in the
// listing must be those that stat gives.
func (s *Side) list(fd, size int) Result {
	entries, err := getdents(fd, max(size, 512))
	if err != nil {
		return failed(err)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].name < entries[j].name })
	r := Result{}
	for _, e := range entries {
		s.lookAt(fd, e, &r)
	}
	return r
}

// lookAt adds one listed name to the answer.
func (s *Side) lookAt(fd int, e dirent, r *Result) {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, e.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		r.Out += fmt.Sprintf("%s:%d %v; ", Quote(e.name), e.kind, err)
		return
	}
	r.Out += fmt.Sprintf("%s:%d", Quote(e.name), e.kind)
	if want := uint8(st.Mode >> 12); e.kind != want && e.kind != unix.DT_UNKNOWN {
		r.Out += fmt.Sprintf(" (stat says type %d)", want)
	}
	// A kernel that caches listings keeps the number of ".." from before a move (docs/semantics.md).
	if e.name != ".." && e.ino != st.Ino {
		r.Out += fmt.Sprintf(" (d_ino %d, st_ino %d)", e.ino, st.Ino)
	}
	r.Out += "; "
	if e.name != "." && e.name != ".." {
		r.Seen = append(r.Seen, s.seen(e.name, fd, e.name, &st))
	}
}

// getdents reads all entries from the directory's position on.
func getdents(fd, size int) ([]dirent, error) {
	var out []dirent
	buf := make([]byte, size)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return out, nil
		}
		for b := buf[:n]; len(b) > 0; {
			length := binary.NativeEndian.Uint16(b[16:])
			name, _, _ := bytes.Cut(b[19:length], []byte{0})
			out = append(out, dirent{string(name), binary.NativeEndian.Uint64(b), b[18]})
			b = b[length:]
		}
	}
}
