package unionfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unionmount/unionmount/unionfs/suite/startree"
	"github.com/unionmount/unionmount/unionfs/suite/treehash"
)

// guardLowers fails the test, when all that it starts from now on has ended, if a layer is not what it is now: content,
// attributes, links and, if atime is set, access times. A plain user can't read without moving those.
func guardLowers(t *testing.T, atime bool, lowers ...string) {
	t.Helper()
	hash := func() (all []treehash.Tree) {
		for _, l := range lowers {
			tree, err := treehash.Hash(l, treehash.Options{Atime: atime, Nlink: true, DirNlink: true})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, tree)
		}
		return all
	}
	before := hash()
	t.Cleanup(func() {
		for i, after := range hash() {
			if diff := treehash.Diff(before[i], after); diff != nil {
				t.Errorf("the lower layer %s changed:\n%s", lowers[i], strings.Join(diff, "\n"))
			}
		}
	})
}

// posixLayer makes a layer with a directory for each of posixtest's functions, which are not empty but where the function
// counts what is there, and gives it to the user.
func posixLayer(t *testing.T, user int, names ...string) string {
	t.Helper()
	made, err := startree.Layers(t.TempDir(), 1, 7, startree.Options{
		Root: user == 0, User: user, Names: 8, Sizes: 5000, Tops: names, Marks: startree.UserXattr, NoStrays: true})
	if err != nil {
		t.Fatal(err)
	}
	for dir := made[0]; dir != "/" && filepath.Dir(dir) != "/"; dir = filepath.Dir(dir) {
		err = errors.Join(err, os.Chmod(dir, 0o755))
	}
	for _, name := range names {
		if top := filepath.Join(made[0], name); countsNames[name] {
			err = errors.Join(err, os.RemoveAll(top), os.Mkdir(top, 0o755))
		} else {
			err = errors.Join(err, os.Chmod(top, 0o755))
		}
	}
	err = errors.Join(err, filepath.WalkDir(made[0], func(p string, _ os.DirEntry, err error) error {
		if user == 0 {
			return err
		}
		return errors.Join(err, os.Lchown(p, user, user))
	}))
	if err != nil {
		t.Fatal(err)
	}
	return made[0]
}

// countsNames are posixtest's functions that say how many names their directory has.
var countsNames = map[string]bool{"ReadDirBasic": true, "ReadDirConsistency": true, "Tmpfile": true}
