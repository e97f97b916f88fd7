// Package archive packs a directory tree into one stream and unpacks such streams,
// its own and those of other tars, into an empty directory that nobody else sees.
// It knows trees, not volumes.
//
// The stream is a tar in POSIX.1-2001's pax form (pax(1)), compressed by zstd (RFC
// 8878), which GNU tar and bsdtar read: numeric owners, times in nanoseconds, extended
// attributes as SCHILY.xattr, ACLs as SCHILY.acl, holes as GNU.sparse 1.0. Its first
// entry, a global header, says that a last one will hold the SHA-256 of everything
// before it: a stream that was cut or changed is refused. Sockets can't be in a tar.
package archive

import (
	"errors"
	"fmt"

	"github.com/unionmount/unionmount/volumes/tree"
)

// ErrRefused: a stream is broken, cut, forged, or holds what it was not asked for.
// What was unpacked until then must be thrown away.
var ErrRefused = errors.New("archive refused")

// refused says why; the kind isn't printed.
type refused struct{ why error }

func (r *refused) Error() string   { return r.why.Error() }
func (r *refused) Unwrap() []error { return []error{ErrRefused, r.why} }

func refuse(format string, a ...any) error { return &refused{fmt.Errorf(format, a...)} }

// Comments of the global headers, in a field that tars pass over ("comment" of pax(1)).
const (
	commentKey   = "comment"
	beginPrefix  = "unionmount volume "
	beginVersion = "1"
	endComment   = "unionmount sha256 " // and 64 digits
)

// Stats is what was packed or unpacked, or is so far.
type Stats struct {
	Objects int64
	Bytes   int64  // of files' data, holes left out
	Digest  string // SHA-256 in hexadecimal; "" if the stream has none
	Sockets int64  // left out
	Changed int64  // files that became shorter while they were read, filled up with zeros
	Devices int64  // packed
	Outward int64  // symbolic links that lead out of the tree
	Lost    tree.Lost
}
