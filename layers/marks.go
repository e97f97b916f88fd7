package layers

import (
	"slices"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// Prefixes of marks: the kernel's two namespaces and fuse-overlayfs's own.
const (
	PrefixTrusted = "trusted.overlay."
	PrefixUser    = "user.overlay."
	prefixFuse    = "user.fuseoverlayfs."
)

var (
	overlayPrefixes = [...]string{PrefixTrusted, PrefixUser}
	allPrefixes     = [...]string{PrefixTrusted, PrefixUser, prefixFuse}
)

// dirMarks is what the marks of one directory say.
type dirMarks struct {
	opaque   bool
	xwhite   bool     // it holds whiteouts in xattr form
	redirect string   // "" none; absolute from the union's root, or one name
	names    []string // of all its attributes
}

// readMarks reads the marks of the directory name in dir. One listxattr tells
// that there are none, which is nearly always so.
func (s *Stack) readMarks(dir int, name string) (m dirMarks, err error) {
	m.names, err = sys.ListXattrAt(dir, name)
	if err != nil && err != sys.ENOTSUP {
		return m, err
	}
	names := m.names
	for _, prefix := range allPrefixes {
		if !slices.Contains(names, prefix+SuffixOpaque) {
			continue
		}
		v, err := sys.GetXattrAt(dir, name, prefix+SuffixOpaque)
		if err != nil {
			return m, err
		}
		m.opaque = m.opaque || string(v) == "y"
		m.xwhite = m.xwhite || string(v) == "x"
	}
	if !m.opaque {
		if m.opaque, err = hasSentinel(dir, name); err != nil {
			return m, err
		}
	}
	m.redirect, err = s.readRedirect(dir, name, names)
	return m, err
}

// Private tells whether an attribute's name, as stored, is a mark of ours, the
// kernel's or fuse-overlayfs's and hence no user's.
func Private(stored string) bool {
	for _, prefix := range allPrefixes {
		if rest, ok := strings.CutPrefix(stored, prefix); ok {
			return !strings.HasPrefix(rest, escape)
		}
	}
	return false
}

// escape follows the prefix of a stored attribute that a user named with our
// prefix: a union may be the layer of another union (overlayfs.rst, "Nesting").
const escape = "overlay."

// Store turns the name a user gives into the stored one.
func Store(name string) string {
	for _, prefix := range allPrefixes {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return prefix + escape + rest
		}
	}
	return name
}

// Shown turns a stored name into the one a user sees; false: it is hidden.
func Shown(stored string) (string, bool) {
	if Private(stored) {
		return "", false
	}
	for _, prefix := range allPrefixes {
		if rest, ok := strings.CutPrefix(stored, prefix+escape); ok {
			return prefix + rest, true
		}
	}
	return stored, true
}
