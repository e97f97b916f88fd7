package layers

import (
	"errors"
	"testing"

	"github.com/unionmount/unionmount/layers/sys"
)

func TestNamesOfAttributes(t *testing.T) {
	for user, stored := range map[string]string{
		"user.k":                      "user.k",
		"trusted.overlay.opaque":      "trusted.overlay.overlay.opaque",
		"user.overlay.redirect":       "user.overlay.overlay.redirect",
		"user.fuseoverlayfs.opaque":   "user.fuseoverlayfs.overlay.opaque",
		"trusted.overlay.overlay.x":   "trusted.overlay.overlay.overlay.x",
		"trusted.overlayfs":           "trusted.overlayfs",
		"security.capability":         "security.capability",
		"system.posix_acl_access":     "system.posix_acl_access",
		"user.overlay":                "user.overlay",
		"user.overlay.overlay.nested": "user.overlay.overlay.overlay.nested",
	} {
		if got := Store(user); got != stored {
			t.Errorf("Store(%q) = %q, want %q", user, got, stored)
		}
		if got, ok := Shown(stored); got != user || !ok {
			t.Errorf("Shown(%q) = %q, %v, want %q", stored, got, ok, user)
		}
	}
	for _, mark := range []string{"trusted.overlay.opaque", "user.overlay.origin", "user.fuseoverlayfs.opaque", "trusted.overlay.unionmount.origin"} {
		if _, ok := Shown(mark); ok || !Private(mark) {
			t.Errorf("the mark %s is shown", mark)
		}
	}
}

func TestRedirects(t *testing.T) {
	for _, v := range []string{"name", "/a", "/a/b/c", "...", "/a/.b"} {
		if got, err := checkRedirect(v); got != v || err != nil {
			t.Errorf("checkRedirect(%q) = %q, %v", v, got, err)
		}
	}
	for _, v := range []string{"", "/", "a/b", "..", ".", "/a/../b", "/a//b", "//", "/a/", "/.", "a\x00b", "/a/b\x00"} {
		if _, err := checkRedirect(v); !errors.Is(err, sys.EIO) {
			t.Errorf("checkRedirect(%q) = %v, want EIO", v, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	id := NewIdentity(7, 9, 7)
	if a, b := id.Number(7, 5), id.Number(9, 5); a == b || a != 5 {
		t.Errorf("equal inode numbers of two devices: %d and %d", a, b)
	}
	late := id.Number(11, 5)
	if again := NewIdentity(7, 9); again.Number(9, 5) != id.Number(9, 5) || again.Number(11, 5) != late {
		t.Error("the same devices in the same order give other numbers")
	}
	wide := id.Number(7, 1<<60)
	if wide&wideBit == 0 || wide != id.Number(7, 1<<60) || wide == id.Number(9, 1<<60) {
		t.Errorf("wide inode numbers: %#x", wide)
	}
	if a, b := id.Invent(), id.Invent(); a == b {
		t.Error("two inventions are one")
	}
}

func TestHandlesTellInodes(t *testing.T) {
	fb := func(kind byte, id ...byte) FileHandle {
		h := make(FileHandle, fbHeader, fbHeader+len(id))
		h[1], h[2], h[4] = fbMagic, byte(fbHeader+len(id)), kind
		return append(h, id...)
	}
	for name, c := range map[string]struct {
		h    FileHandle
		want uint64
		ok   bool
	}{
		"ext4":         {fb(1, 0x78, 0x56, 0x34, 0x12, 1, 0, 0, 0), 0x12345678, true},
		"tmpfs":        {fb(1, 9, 9, 9, 9, 2, 0, 0, 0, 1, 0, 0, 0), 1<<32 | 2, true},
		"xfs":          {fb(0x81, 1, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0), 1<<32 | 1, true},
		"btrfs":        {fb(0x4d, 1, 1, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0), 257, true},
		"unknown kind": {fb(0x77, 1, 2, 3, 4, 5, 6, 7, 8), 0, false},
		"cut":          {fb(1, 1, 2, 3, 4, 5, 6, 7, 8)[:20], 0, false},
		"wrong length": {append(fb(1, 1, 2, 3, 4, 5, 6, 7, 8), 0), 0, false},
		"empty":        {nil, 0, false},
	} {
		if got, ok := c.h.inode(); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v, want %d, %v", name, got, ok, c.want, c.ok)
		}
	}
}

func TestNlinkMark(t *testing.T) {
	for _, c := range []struct {
		names, upper uint64
		want         string
	}{{3, 2, "U+1"}, {2, 2, "U+0"}, {1, 2, "U-1"}} {
		if got := string(NlinkMark(c.names, c.upper)); got != c.want {
			t.Errorf("NlinkMark(%d, %d) = %s, want %s", c.names, c.upper, got, c.want)
		}
	}
}
