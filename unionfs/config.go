package unionfs

import (
	"errors"
	"log/slog"
	"time"
)

// IO names the contract between one FUSE connection and the kernel
// (docs/architecture.md, "Two contracts").
type IO string

const (
	// IOCached: the tree is exclusively ours; the kernel never sends OPEN and
	// keeps names, attributes and pages for ever.
	IOCached IO = "cached"
	// IOOpen: OPEN is answered; volumes may be routed coherently.
	IOOpen IO = "open"
)

// Redirect says what is done with redirect marks.
type Redirect string

const (
	RedirectOn       Redirect = "on"       // written and followed
	RedirectOff      Redirect = "off"      // not written; followed (the kernel's "off" with redirect_always_follow)
	RedirectNoFollow Redirect = "nofollow" // not written, not followed
)

// Errors of Open and Mount that a caller tells apart with errors.Is; all others are plain failures.
var (
	ErrInUse       = errors.New("in use")
	ErrUnsupported = errors.New("not supported")
)

// Volume is one subpath that goes straight through to a directory or file.
type Volume struct {
	Source   string // host directory or regular file; must exist
	Target   string // absolute path inside the union, clean
	ReadOnly bool
}

// Config describes one union. It is immutable once handed to Open.
type Config struct {
	Lowers  []string // read-only layers, topmost first; at least one
	Upper   string   // the writable layer; empty: the union is read-only
	Work    string   // staging directory on Upper's filesystem; required with Upper
	Volumes []Volume

	IO          IO
	Redirect    Redirect      // empty: on, but off in an upper whose marks are user.*
	UserXattr   bool          // marks in user.overlay.* instead of trusted.overlay.*
	Volatile    bool          // no sync at copy-up; a crash makes the upper refuse to mount
	Metacopy    bool          // a change of a file's attributes copies no data; not with marks in user.*
	NoACL       bool          // POSIX ACLs are neither offered nor kept
	StaticNlink bool          // directories report nlink 1
	Timeout     time.Duration // how long names and attributes stay cached; 0: the contract's own
	Coherent    bool          // cache=off: nothing is cached beyond the request
	NoRing      bool          // requests arrive by /dev/fuse, also where io_uring could be had
	Writeback   bool          // the kernel may hold back what is written, where it can (IOCached)

	FSName     string   // source in /proc/mounts; empty: "unionmount"
	AllowOther bool     // other users may enter (always so for root's mounts)
	MountFlags []string // mount(8)'s words: nosuid, nodev, noexec, noatime, ro ...

	Log *slog.Logger // never nil
}
