package archive

import (
	"testing"

	"github.com/unionmount/unionmount/unionfs/suite/startree"
)

func TestACLText(t *testing.T) {
	value := startree.ACL(0o750, 6, 1000, 1001)
	const want = "user::rwx,user:1000:rw-,group::r-x,group:1001:rw-,mask::rwx,other::---"
	got, err := aclText([]byte(value))
	if err != nil || got != want {
		t.Fatalf("aclText = %q, %v; want %q", got, err, want)
	}
	for _, text := range []string{want,
		"other::---\nmask::rwx\ngroup:1001:rw-\t#effective:rw-\n# a comment\ngroup::r-x\nuser:1000:rw-\nuser::rwx\n", // acl_to_text
		"u::rwx,u:1000:rw,g::rx,g:1001:rw-,m::rwx,o::-",                                                              // short
		"user::rwx,user:nosuchuser:rw-:1000,group::r-x,group:nosuchgroup:rw-:1001,mask:rwx,other:---",                // star
	} {
		if back, err := aclValue(text); err != nil || string(back) != value {
			t.Errorf("aclValue(%q) = %x, %v; want %x", text, back, err, value)
		}
	}
	if v, err := aclValue("user:root:r--"); err != nil || v[aclHeader] != 2 || v[aclHeader+4] != 0 {
		t.Errorf("a user of this system: %x, %v", v, err)
	}
	if v, err := aclValue("\n"); v != nil || err != nil {
		t.Errorf("no entries: %x, %v", v, err)
	}
	for _, text := range []string{"user", "user::rwq", "user::", "who::rwx", "mask:1000:rwx", "other:x:rwx", "user:nosuchuser:rwx", "user:4294967296:rwx"} {
		if v, err := aclValue(text); err == nil {
			t.Errorf("aclValue(%q) = %x", text, v)
		}
	}
	for _, v := range []string{"", "\x01\x00\x00\x00", "\x02\x00\x00\x00\x01", value[:len(value)-1], "\x02\x00\x00\x00\x40\x00\x07\x00\x00\x00\x00\x00"} {
		if text, err := aclText([]byte(v)); err == nil {
			t.Errorf("aclText(%x) = %q", v, text)
		}
	}
}
