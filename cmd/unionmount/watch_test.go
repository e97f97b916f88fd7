package main_test

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// arrived reads what an inotify descriptor has and tells whether all the events wanted have come, since it was made.
func arrived(fd int, want uint32) func() bool {
	var got uint32
	return func() bool {
		buf := make([]byte, 4096)
		n, _ := unix.Read(fd, buf)
		for b := buf[:max(n, 0)]; len(b) >= unix.SizeofInotifyEvent; {
			got |= binary.NativeEndian.Uint32(b[4:])
			b = b[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(b[12:]):]
		}
		return got&want == want
	}
}

// watch watches a path until the test ends.
func watch(t *testing.T, path string, events uint32) (fd int) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	_, err = unix.InotifyAddWatch(fd, path, events)
	must(t, err)
	return fd
}

// TestWatchOutlivesCopyUp: a watch on a lower file itself goes on telling after the file was copied up, moved and removed.
func TestWatchOutlivesCopyUp(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/d/file", "x")
		s.mount("--io", io)
		fd := watch(t, s.in("d/file"), unix.IN_ALL_EVENTS)
		step := func(what string, want uint32, do func() error) {
			t.Helper()
			came := arrived(fd, want)
			must(t, do())
			eventually(t, "the watch tells of "+what, came)
		}
		step("the copy-up's write", unix.IN_MODIFY, func() error { return writeAt(s.in("d/file"), "y", 0) })
		must(t, os.WriteFile(s.upper+"/d/none", nil, 0o600)) // upper has the directory, so the file was copied up
		must(t, os.Remove(s.upper+"/d/none"))
		step("a write after it", unix.IN_MODIFY|unix.IN_OPEN|unix.IN_CLOSE_WRITE, func() error { return writeAt(s.in("d/file"), "z", 1) })
		step("a new mode", unix.IN_ATTRIB, func() error { return os.Chmod(s.in("d/file"), 0o600) })
		step("a read", unix.IN_ACCESS, func() error { _, err := os.ReadFile(s.in("d/file")); return err })
		step("a move", unix.IN_MOVE_SELF, func() error { return os.Rename(s.in("d/file"), s.in("moved")) })
		step("a write by its new name", unix.IN_MODIFY, func() error { return writeAt(s.in("moved"), "w", 0) })
		step("its end", unix.IN_DELETE_SELF|unix.IN_IGNORED, func() error { return os.Remove(s.in("moved")) })
	})
}

// TestStoreKeepsSetuid: a store through a shared mapping leaves setuid and setgid, as below; and takes capabilities away,
// which is a deviation (docs/semantics.md).
func TestStoreKeepsSetuid(t *testing.T) {
	need(t, "setcap", "getcap")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		for _, base := range []string{s.lowers[0], s.dir + "/plain"} {
			write(t, base+"/bits", "before")
			must(t, unix.Chmod(base+"/bits", 0o6777))
			write(t, base+"/caps", "before")
			must(t, unix.Chmod(base+"/caps", 0o777))
			mustRun(t, "setcap", "cap_net_raw+ep", base+"/caps")
		}
		s.mount("--io", io)
		for _, who := range []int{0, 1234} {
			for _, base := range []string{s.dir + "/plain", s.mnt} {
				for _, name := range []string{"bits", "caps"} {
					store := func() { must(t, storeMapped(base+"/"+name, byte('A'+who%7))) }
					if who == 0 {
						store()
					} else {
						asUser(t, who, who, nil, store)
					}
				}
			}
			if d := differences(describe(t, s.dir+"/plain/bits", nil), describe(t, s.in("bits"), nil)); d != "" {
				t.Errorf("after a store by %d: %s", who, d)
			}
			if caps := mustRun(t, "getcap", s.in("caps")); caps != "" {
				t.Errorf("after a store by %d there is still %s: take it off the deviations", who, caps)
			}
			wantContent(t, s.in("caps"), string(rune('A'+who%7))+"efore")
		}
	})
}

func storeMapped(path string, first byte) error {
	return withFile(path, func(fd int) error {
		m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		defer unix.Munmap(m)
		m[0] = first
		return unix.Msync(m, unix.MS_SYNC)
	})
}
