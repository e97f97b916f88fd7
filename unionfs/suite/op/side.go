package op

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Side executes operations below one root, and holds the files they open.
type Side struct {
	root  string // immutable
	plain bool   // immutable: objects are identified by their file handles
	start int64  // immutable: times from here on are the kernel's
	held  bool   // immutable: a plain copy of what is held back, see NewSide
	files [Slots]file
}

// file is one open file of a worker.
type file struct {
	open    bool
	fd      int
	kind    uint32 // S_IFREG or S_IFDIR
	mapping []byte // held read-only, see MapHold
}

// NewSide makes the side below root. The times from start on count as set by the kernel. What is compared with a union
// of which the kernel holds data back (held) does as truncate(2) does there: to the size that a file has it
// changes no mtime, which POSIX leaves open and ext4 does.
func NewSide(root string, plain, held bool, start time.Time) *Side {
	return &Side{root: root, plain: plain, held: held, start: start.UnixNano()}
}

// at is the whole path of one below the root.
func (s *Side) at(path string) string {
	if path == "" {
		return s.root
	}
	return s.root + "/" + path
}

// Do executes one operation.
func (s *Side) Do(o Op) Result {
	r := s.do(o)
	if o.Check && !r.Dead() {
		s.check(o, &r)
	}
	return r
}

func (s *Side) do(o Op) Result {
	for _, family := range []func(Op) (Result, bool){s.doHandle, s.doData, s.doMapping, s.doName, s.doAttr, s.doXattr, s.doQuery} {
		if r, mine := family(o); mine {
			return r
		}
	}
	return Result{Errno: unix.ENOSYS, Out: "no such operation: " + string(o.Kind)}
}

// check adds to a result what the operation's objects are now.
func (s *Side) check(o Op, r *Result) {
	for _, p := range o.Paths() {
		var st unix.Stat_t
		if err := unix.Lstat(s.at(p), &st); err != nil {
			r.Out += fmt.Sprintf(" | %s: %s", Quote(p), unix.ErrnoName(err.(unix.Errno)))
			continue
		}
		r.Out += fmt.Sprintf(" | %s: %s", Quote(p), s.line(&st))
		r.Seen = append(r.Seen, s.seen(p, unix.AT_FDCWD, s.at(p), &st))
	}
	if f := &s.files[o.Slot]; o.OnSlot() && f.open {
		s.addFstat(f.fd, fmt.Sprintf("slot %d", o.Slot), r)
	}
}

// addFstat adds what the open file is.
func (s *Side) addFstat(fd int, where string, r *Result) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		r.Out += fmt.Sprintf(" | %s: %s", where, unix.ErrnoName(err.(unix.Errno)))
		return
	}
	r.Out += fmt.Sprintf(" | %s: %s", where, s.line(&st))
	r.Seen = append(r.Seen, s.seen(where, fd, "", &st))
}
