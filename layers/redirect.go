package layers

import (
	"slices"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// SuffixRedirect, after a mark prefix, says where the lower part of a renamed
// directory (or the data of a renamed metacopy) lies: an absolute path in the union of the layers below, or one
// name beside the directory's old parent (ovl_get_redirect_xattr).
const SuffixRedirect = "redirect"

// readRedirect reads the mark among the attributes names; "" if there is none.
func (s *Stack) readRedirect(dir int, name string, names []string) (string, error) {
	if s.NoFollow {
		return "", nil
	}
	for _, prefix := range overlayPrefixes {
		if prefix == PrefixUser && !s.FollowUser || !slices.Contains(names, prefix+SuffixRedirect) {
			continue
		}
		v, err := sys.GetXattrAt(dir, name, prefix+SuffixRedirect)
		if err != nil {
			return "", err
		}
		return checkRedirect(string(v))
	}
	return "", nil
}

// checkRedirect refuses what the kernel refuses: an empty component, "." and "..", a NUL, a relative path of several names.
func checkRedirect(v string) (string, error) {
	if v == "" || strings.ContainsRune(v, 0) {
		return "", &CorruptError{Mark: SuffixRedirect, Value: v}
	}
	rest := v
	if v[0] == '/' {
		rest = v[1:]
	} else if strings.Contains(v, "/") {
		return "", &CorruptError{Mark: SuffixRedirect, Value: v}
	}
	for _, c := range strings.Split(rest, "/") {
		if c == "" || c == "." || c == ".." {
			return "", &CorruptError{Mark: SuffixRedirect, Value: v}
		}
	}
	return v, nil
}

// CorruptError is a mark that can't mean anything; it becomes EIO, as in the kernel.
type CorruptError struct{ Mark, Value string }

func (e *CorruptError) Error() string {
	return "corrupt overlay." + e.Mark + " mark " + strings.ToValidUTF8(e.Value, "?")
}

// Unwrap gives the errno.
func (e *CorruptError) Unwrap() error { return sys.EIO }

// resolve follows an absolute redirect through the lowers from index first on; "" is their root.
func (s *Stack) resolve(first int, redirect string) ([]Ref, error) {
	lowers := s.roots[first:]
	if redirect == "" {
		return lowers, nil
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(redirect, "/"), "/") {
		refs, st, err := s.mergeLowers(lowers, name)
		if err != nil || len(refs) == 0 || st.Mode&sys.S_IFMT != sys.S_IFDIR {
			return nil, err
		}
		lowers = refs
	}
	return lowers, nil
}
