// Package op is one filesystem operation as a value, and its execution on one side: a directory that is a union, or
// the plain copy the union must equal. What an operation answers is rendered so that answers of the two sides that
// should be equal are equal strings.
package op

import (
	"fmt"
	"strings"
)

// Slots is the number of open files that one worker holds on each side.
const Slots = 8

// Kind names an operation.
type Kind string

// The operations. Those whose name begins with F work on the open file in Slot.
const (
	Open         Kind = "open" // Flags as of open(2): also create, append, truncate
	Tmpfile      Kind = "tmpfile"
	Close        Kind = "close"
	CloseAll     Kind = "closeall"
	CheckHandles Kind = "checkhandles"

	Read        Kind = "read"
	Pread       Kind = "pread"
	Write       Kind = "write"
	Pwrite      Kind = "pwrite"
	Ftruncate   Kind = "ftruncate"
	Fallocate   Kind = "fallocate"
	Lseek       Kind = "lseek"
	SeekHole    Kind = "seekhole" // Flags is SEEK_DATA or SEEK_HOLE
	Fsync       Kind = "fsync"
	CopyRange   Kind = "copyrange" // from Slot at Off to Slot2 at Off2
	MapRead     Kind = "mapread"
	MapWrite    Kind = "mapwrite"
	MapHold     Kind = "maphold" // maps read-only until the file is closed
	MapHeldRead Kind = "mapheldread"

	Fstat     Kind = "fstat"
	Fchmod    Kind = "fchmod"
	Fchown    Kind = "fchown"
	Futimens  Kind = "futimens"
	Fsetxattr Kind = "fsetxattr"
	Fgetxattr Kind = "fgetxattr"
	Flink     Kind = "flink" // gives the open file the name Path
	Flist     Kind = "flist" // rewinds an open directory and lists it

	Truncate Kind = "truncate"
	Unlink   Kind = "unlink"
	Mkdir    Kind = "mkdir"
	Rmdir    Kind = "rmdir"
	Mknod    Kind = "mknod"
	Symlink  Kind = "symlink" // Data is the target
	Readlink Kind = "readlink"
	Link     Kind = "link"   // Path2 becomes a name of Path
	Rename   Kind = "rename" // Flags as of renameat2(2)

	Chmod       Kind = "chmod"
	Chown       Kind = "chown"
	Lchown      Kind = "lchown"
	Utimens     Kind = "utimens"
	Setxattr    Kind = "setxattr" // Name, Data, Flags
	Getxattr    Kind = "getxattr"
	Listxattr   Kind = "listxattr"
	Removexattr Kind = "removexattr"

	Stat   Kind = "stat"
	Lstat  Kind = "lstat"
	Access Kind = "access"
	List   Kind = "list"
	Umask  Kind = "umask"

	// Remount is carried out by the runner, not by a worker.
	Remount Kind = "remount"
)

// Op is one operation, complete: executing it again on the same state gives the same answer.
type Op struct {
	Worker int
	Kind   Kind
	Path   string // below the side's root; "" is the root
	Path2  string
	Slot   int
	Slot2  int
	Flags  int
	Mode   uint32
	Dev    uint64
	UID    int
	GID    int
	Off    int64
	Off2   int64
	Len    int64
	Seed   uint64 // of written data
	Name   string
	Data   string
	Times  [2]Time

	// Check adds to the answer what the paths or the open file are afterwards.
	Check bool
	// Drop leaves the operation out on the union and lets it answer what the plain side did: an injected fault, by
	// which the suites prove that they find one.
	Drop bool
}

// Time is one of utimensat(2)'s.
type Time struct{ Sec, Nsec int64 }

// Paths lists the paths that the operation names.
func (o Op) Paths() []string {
	var out []string
	for _, p := range []string{o.Path, o.Path2} {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}

// OnlyLooks says that the operation changes nothing, whatever it is answered.
func (o Op) OnlyLooks() bool {
	switch o.Kind {
	case Readlink, Getxattr, Listxattr, Stat, Lstat, Access, List:
		return true
	}
	return o.Kind == Open && o.Flags == 0
}

// OnSlot says that the operation works on an open file (or opens one).
func (o Op) OnSlot() bool {
	switch o.Kind {
	case Open, Tmpfile, Close, Flink, Flist, CopyRange, SeekHole, Lseek, Fallocate:
		return true
	case Read, Pread, Write, Pwrite, Ftruncate, Fsync, MapRead, MapWrite, MapHold, MapHeldRead:
		return true
	case Fstat, Fchmod, Fchown, Futimens, Fsetxattr, Fgetxattr:
		return true
	}
	return false
}

// String renders the operation with the arguments that are set.
func (o Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "w%d %s", o.Worker, o.Kind)
	if o.OnSlot() {
		fmt.Fprintf(&b, " slot=%d", o.Slot)
	}
	if o.Kind == CopyRange {
		fmt.Fprintf(&b, " slot2=%d", o.Slot2)
	}
	for _, p := range o.Paths() {
		fmt.Fprintf(&b, " %s", Quote(p))
	}
	put := func(name, verb string, v any, set bool) {
		if set {
			fmt.Fprintf(&b, " %s="+verb, name, v)
		}
	}
	put("flags", "%#x", o.Flags, o.Flags != 0)
	put("mode", "%#o", o.Mode, o.Mode != 0)
	put("dev", "%#x", o.Dev, o.Dev != 0)
	put("owner", "%v", [2]int{o.UID, o.GID}, o.UID != 0 || o.GID != 0)
	put("off", "%d", o.Off, o.Off != 0)
	put("off2", "%d", o.Off2, o.Off2 != 0)
	put("len", "%d", o.Len, o.Len != 0)
	put("name", "%s", o.Name, o.Name != "")
	put("data", "%q", o.Data[:min(len(o.Data), 24)], o.Data != "")
	put("of", "%d bytes", len(o.Data), len(o.Data) > 24)
	put("times", "%v", o.Times, o.Times != [2]Time{})
	put("seed", "%#x", o.Seed, o.Seed != 0)
	put("check", "%v", true, o.Check)
	put("DROPPED", "%v", true, o.Drop)
	return b.String()
}
