package main_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhiteoutsAsFiles: on a file system where no rename can leave a device 0/0
// behind (FUSE: here a routed volume) whiteouts are files .wh.NAME. Every change of
// names is read back after a remount, and by fuse-overlayfs, as it was.
func TestWhiteoutsAsFiles(t *testing.T) {
	need(t, "fuse-overlayfs")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		base(t, s.lowers[0])
		long := strings.Repeat("l", 255) // its mark would be a name of 259 bytes
		write(t, s.lowers[0]+"/"+long, "long")
		outer, host := s.dir+"/outer", s.dir+"/host"
		mkdir(t, outer)
		mkdir(t, host+"/upper")
		mkdir(t, host+"/work")
		s.must("mount", "--name", "outer", "--volume-io", "fuse", "-v", host+":/v", s.lowers[0], outer)
		s.upper, s.work = outer+"/v/upper", outer+"/v/work"
		s.mount("--io", io)
		must(t, os.Remove(s.in("file-gone")))
		must(t, os.RemoveAll(s.in("gone")))
		must(t, os.RemoveAll(s.in("opaque")))
		write(t, s.in("opaque/both"), "new")
		must(t, os.Rename(s.in("file-kept"), s.in("file-changed")))
		must(t, os.Rename(s.in("renamed"), s.in("moved")))
		must(t, os.Remove(s.in("replaced-by-dir")))
		mkdir(t, s.in("replaced-by-dir/in"))
		must(t, unix.Renameat2(unix.AT_FDCWD, s.in("kept"), unix.AT_FDCWD, s.in("replaced-by-dir"), unix.RENAME_EXCHANGE))
		wantErrno(t, "a name too long for its mark", os.Remove(s.in(long)), unix.ENAMETOOLONG)
		wantContent(t, s.in(long), "long")
		want := describe(t, s.mnt, nil)
		if found, err := os.ReadFile(host + "/upper/.wh.file-gone"); err != nil || len(found) != 0 {
			t.Errorf("no file .wh.file-gone in the upper: %v", err)
		}
		s.remount()
		if d := differences(want, describe(t, s.mnt, nil)); d != "" {
			t.Errorf("after a remount:\n%s", d)
		}
		s.umount()
		s.must("umount", "outer")
		foreign := s.dir + "/foreign"
		mkdir(t, foreign)
		mustRun(t, "fuse-overlayfs", "-o", "lowerdir="+host+"/upper:"+s.lowers[0], foreign)
		for _, name := range []string{"file-gone", "gone", "opaque/below", "file-kept", "replaced-by-dir/in", ".wh.file-gone"} {
			wantAbsent(t, foreign+"/"+name)
		}
		wantContent(t, foreign+"/file-changed", "below")
	})
}
