package unionfs

import (
	"os"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/unionmount/unionmount/layers/sys"
)

// TestAbsenceEndsWithAChange: what a LOOKUP did not find is made without another look at the layers only while nobody
// has changed a name in the directory.
func TestAbsenceEndsWithAChange(t *testing.T) {
	fs, _ := threeDirs(t, false, func(lower string) {
		if err := os.WriteFile(lower+"/file", nil, 0o644); err != nil {
			t.Fatal(err)
		}
	})
	defer func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := &conn{RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs}
	root := fuse.InHeader{NodeId: fs.union.root.id}
	var entry fuse.EntryOut
	absent := func(nm string) {
		t.Helper()
		if s := c.Lookup(nil, &root, nm, &entry); !s.Ok() || entry.NodeId != 0 {
			t.Fatalf("look up %q, which is not there: %v, node %d", nm, s, entry.NodeId)
		}
	}
	mknod := func(nm string) fuse.Status {
		return c.Mknod(nil, &fuse.MknodIn{InHeader: root, Mode: sys.S_IFREG | 0o644}, nm, &entry)
	}

	absent("new")
	if s := mknod("other"); !s.Ok() {
		t.Fatal(s)
	}
	if s := c.Rename(nil, &fuse.RenameIn{InHeader: root, Newdir: root.NodeId}, "other", "new"); !s.Ok() {
		t.Fatal(s)
	}
	if s := mknod("new"); s != fuse.Status(sys.EEXIST) {
		t.Errorf("made over what was renamed there: %v", s)
	}

	if s := c.Unlink(nil, &root, "file"); !s.Ok() {
		t.Fatal(s)
	}
	absent("file") // a whiteout, which a new file replaces
	if s := mknod("file"); !s.Ok() {
		t.Fatal(s)
	}
	if s := mknod("file"); s != fuse.Status(sys.EEXIST) {
		t.Errorf("made over what had replaced the whiteout: %v", s)
	}
}
