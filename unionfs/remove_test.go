package unionfs

import (
	"fmt"
	"os"
	"testing"

	"github.com/unionmount/unionmount/layers/sys"
)

// TestRemovedDirectoryIsStill: what a removed directory holds in upper is destroyed behind the caller's back, which took
// a tenth of `rm -rf`. Who has the directory open sees it as it was when it was removed, and gone; nothing is left in work.
func TestRemovedDirectoryIsStill(t *testing.T) {
	r := remover{t: t, files: 500}
	var d string
	r.fs, d = threeDirs(t, false, func(lower string) {
		r.make(lower + "/open")
		r.make(lower + "/last")
	})
	dir, before := r.remove("open")
	after, err := r.fs.stat(dir)
	if err != nil || after.Nlink != 0 || after.Mode != before.Mode || after.Mtim != before.Mtim {
		t.Errorf("a directory that was removed: %+v, %v; before: %+v", after, err, before)
	}
	r.remove("last")
	if err := r.fs.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(d + "/work/work")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.IsDir() {
			t.Errorf("work still has %s", e.Name())
		}
	}
}

// remover removes directories full of a lower's files.
type remover struct {
	t     *testing.T
	fs    *FS
	files int
}

func (r *remover) make(dir string) {
	r.t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	for i := range r.files {
		if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), nil, 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *remover) remove(name string) (dir *node, before sys.Stat) {
	r.t.Helper()
	dir, _, err := r.fs.lookup(r.fs.union.root, name, true)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range r.files {
		if err := r.fs.unlink(dir, fmt.Sprint(i)); err != nil {
			r.t.Fatal(err)
		}
	}
	if before, err = r.fs.stat(dir); err == nil {
		err = r.fs.rmdir(r.fs.union.root, name)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return dir, before
}
