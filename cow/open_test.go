package cow_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// TestWorkHandsNothingOn: a default ACL or setgid bit of the work directory was
// inherited by what is staged below it, and came to upper with it.
func TestWorkHandsNothingOn(t *testing.T) {
	b := newBench(t)
	b.w.Close()
	out, err := exec.Command("sh", "-ec", `setfacl -d -m u:77:rwx "$0"; chgrp 88 "$0"; chmod g+s "$0"; setfacl -d -m u:77:rwx "$0/work"; rm -r "$0/index"`, b.work).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if b.w, err = cow.OpenWriter(b.s.Upper, b.work, cow.Options{}); err != nil {
		t.Fatal(err)
	}
	b.s.Index = b.w.Index()
	for _, p := range []string{"file", "dir", "hard1"} {
		if err := b.copyUp(p, cow.Whole); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []uint32{sys.S_IFREG | 0o644, sys.S_IFDIR | 0o755} {
		if err := b.create("", fmt.Sprintf("made-%o", mode), mode, true); err != nil {
			t.Fatal(err)
		}
	}
	out, err = exec.Command("getfacl", "-Rs", "--absolute-names", filepath.Dir(b.work)+"/upper").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("ACLs in upper: %v\n%s", err, out)
	}
	out, err = exec.Command("find", filepath.Dir(b.work)+"/upper", "-group", "88", "-o", "-perm", "-2000").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("inherited from work: %v\n%s", err, out)
	}
}

// TestStagedFileHasNoName: an fsync of a copy that was made under a name in work wrote that directory
// too, on an ext4 without a journal as much again as the file itself.
func TestStagedFileHasNoName(t *testing.T) {
	b := newBench(t)
	for _, p := range []string{"file", "hard1"} {
		st, err := b.w.StageCopy(b.s, b.entry(p).Lower(), cow.Whole)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		staged, err := os.ReadDir(b.work + "/work")
		if err != nil || len(staged) > 0 {
			t.Errorf("%s: in work lies %v, %v", p, staged, err)
		}
		if st, err := st.Stat(); err != nil || st.Nlink != 0 || st.Size == 0 {
			t.Errorf("%s: staged it has %d names and %d bytes, %v", p, st.Nlink, st.Size, err)
		}
	}
}

// TestMadeInPlace: what the kernel finishes in one call is not staged first, which took a directory two changes more.
func TestMadeInPlace(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		mode  uint32
		hides bool
		first string
	}{
		{sys.S_IFREG | 0o644, false, "create"}, {sys.S_IFDIR | 0o755, false, "create"}, {sys.S_IFLNK | 0o777, false, "create"},
		{sys.S_IFDIR | 0o1777, false, "make"}, {sys.S_IFDIR | 0o755, true, "make"}, {sys.S_IFREG | 0o644, true, "make"},
	} {
		var steps []string
		b.w.Inject = func(step string) error { steps = append(steps, step); return nil }
		fd, err := b.w.Create("", fmt.Sprintf("%o-%v", c.mode, c.hides), cow.New{Mode: c.mode, Target: "t", Hides: c.hides})
		if err != nil {
			t.Fatal(err)
		}
		st, err := sys.StatAt(fd, "")
		if err := errors.Join(err, sys.Close(fd)); err != nil || st.Mode != c.mode {
			t.Errorf("mode %o, hides %v: made with %o, %v", c.mode, c.hides, st.Mode, err)
		}
		if steps[0] != c.first {
			t.Errorf("mode %o, hides %v: made by %v", c.mode, c.hides, steps)
		}
	}
}

// TestOrphanInTheIndex: a crash after the last name of a copied-up hard link went
// and before its index entry did left the file there for ever.
func TestOrphanInTheIndex(t *testing.T) {
	b := newBench(t)
	if err := b.copyUp("hard1", cow.Whole); err != nil {
		t.Fatal(err)
	}
	index := b.entry("hard1").Index()
	left := func() int {
		entries, err := os.ReadDir(b.work + "/index")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for _, p := range []string{"hard1", "hard2"} {
		if err := b.w.LinkUp(index, "", p, 2, 2); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range []string{"hard1", "hard2"} {
		b.reopen()
		if left() != 1 {
			t.Fatalf("an index entry with %d names was swept", 2-i)
		}
		if err := b.w.Unlink("", p, true, true); err != nil {
			t.Fatal(err)
		}
	}
	b.reopen()
	if left() != 0 {
		t.Error("the index entry of a file without a name is left")
	}
}

// TestOriginGivesWay: a lower file whose attributes fill all the room that ext4 has
// for them could not be copied up: ENOSPC on a disk that is not full. One that was to be a metacopy has its data then.
func TestOriginGivesWay(t *testing.T) {
	for name, limit := range map[string]int64{"whole": cow.Whole, "no data": cow.NoData} {
		t.Run(name, func(t *testing.T) { originGivesWay(t, limit) })
	}
}

func originGivesWay(t *testing.T, limit int64) {
	b := newBench(t)
	fd, err := sys.Open(b.lower+"/file", sys.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close(fd)
	full := false
	for _, size := range []int{1000, 100, 1} {
		for i := range 50 {
			err := sys.SetXattrFd(fd, fmt.Sprintf("user.%d-%d", size, i), []byte(strings.Repeat("v", size)), 0)
			if errors.Is(err, sys.ENOSPC) {
				full = true
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if !full {
		suite.Absent(t, "needs a file system with little room for attributes, as ext4, below "+os.TempDir())
	}
	want, err := sys.ListXattrFd(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.copyUp("file", limit); err != nil {
		t.Fatal(err)
	}
	up, err := b.s.Upper.PathFd("file")
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close(up)
	got, err := sys.ListXattrFd(up)
	if err != nil || len(got) != len(want) {
		t.Errorf("%d attributes of %d were copied up, %v", len(got), len(want), err)
	}
	if st, err := sys.StatAt(up, ""); err != nil || st.Blocks == 0 || b.entry("file").Data() != nil {
		t.Errorf("it has %d blocks, and is a metacopy: %v; %v", st.Blocks, b.entry("file").Data() != nil, err)
	}
}

// TestLoserLeavesTheWork: of two equal mounts at once, the one that found the work
// directory locked took back what it had made for itself, and so removed the
// directory that the other had begun to use.
func TestLoserLeavesTheWork(t *testing.T) {
	b := newBench(t)
	remove := os.RemoveAll
	if err := cow.RemoveWork(b.work, remove); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.work + "/work"); err != nil {
		t.Fatalf("a work directory in use was removed: %v", err)
	}
	b.w.Close()
	if err := cow.RemoveWork(b.work, remove); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.work); !os.IsNotExist(err) {
		t.Errorf("a work directory that nobody uses is left: %v", err)
	}
	if err := cow.RemoveWork(b.work, remove); err != nil {
		t.Errorf("a work directory that is gone: %v", err)
	}
}
