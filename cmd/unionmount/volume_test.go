package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// volumeSite mounts a lower that has something at and beside the targets.
func volumeSite(t *testing.T, way string, specs ...string) *site {
	t.Helper()
	s := newSite(t, 1)
	write(t, s.lowers[0]+"/file", "lower\n")
	write(t, s.lowers[0]+"/srv/beside", "lower\n")
	s.mountVolumes(way, specs...)
	return s
}

func (s *site) mountVolumes(way string, specs ...string) {
	s.t.Helper()
	flags := []string{"--volume-io", way}
	for _, spec := range specs {
		flags = append(flags, "-v", spec)
	}
	s.mount(flags...)
	if got := s.inspect(); len(got.Volumes) != len(specs) || got.Volumes[0].IO != way {
		s.t.Errorf("inspect's volumes: %+v, want %d by way of %s", got.Volumes, len(specs), way)
	}
}

// data names a path in a named volume on the host.
func (s *site) data(volume, path string) string {
	return filepath.Join(s.root, "volumes", volume, "_data", path)
}

func TestNamedVolumeIsMadeAtFirstUse(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "db:/srv/db")
		write(t, s.in("srv/db/table"), "rows\n")
		wantContent(t, s.data("db", "table"), "rows\n")
		write(t, s.data("db", "from-host"), "host\n")
		wantContent(t, s.in("srv/db/from-host"), "host\n")
		wantListing(t, s.in("srv/db"), "from-host", "table")
		s.remount()
		wantContent(t, s.in("srv/db/table"), "rows\n")
		wantListing(t, s.in("srv"), "beside", "db")
	})
}

func TestHostDirectoryAndFile(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/etc/conf", "hidden\n")
		write(t, s.dir+"/host/a", "a\n")
		write(t, s.dir+"/conf", "host conf\n")
		s.mountVolumes(way, s.dir+"/host:/data", s.dir+"/conf:/etc/conf")
		wantContent(t, s.in("data/a"), "a\n")
		wantContent(t, s.in("etc/conf"), "host conf\n")
		appendTo(t, s.in("etc/conf"), "more\n")
		wantContent(t, s.dir+"/conf", "host conf\nmore\n")
		must(t, os.Truncate(s.in("etc/conf"), 4))
		wantContent(t, s.dir+"/conf", "host")
		wantErrno(t, "unlink of a file target", unix.Unlink(s.in("etc/conf")), unix.EBUSY)
		wantErrno(t, "rename over a file target", unix.Rename(s.in("data/a"), s.in("etc/conf")), unix.EXDEV)
	})
}

func TestReadOnlyVolume(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.dir+"/host/a", "a\n")
		s.mountVolumes(way, s.dir+"/host:/data:ro", "named:/named:ro")
		wantContent(t, s.in("data/a"), "a\n")
		_, err := os.OpenFile(s.in("data/a"), os.O_WRONLY, 0)
		wantErrno(t, "open for writing", err, unix.EROFS)
		wantErrno(t, "create", os.WriteFile(s.in("data/new"), nil, 0o644), unix.EROFS)
		wantErrno(t, "create in named", os.WriteFile(s.in("named/new"), nil, 0o644), unix.EROFS)
		wantErrno(t, "mkdir", os.Mkdir(s.in("data/d"), 0o755), unix.EROFS)
		wantErrno(t, "unlink", unix.Unlink(s.in("data/a")), unix.EROFS)
		wantErrno(t, "chmod", unix.Chmod(s.in("data/a"), 0o600), unix.EROFS)
		wantErrno(t, "setxattr", unix.Setxattr(s.in("data/a"), "user.x", []byte("1"), 0), unix.EROFS)
		wantContent(t, s.dir+"/host/a", "a\n")
		write(t, s.in("beside"), "the union is writable\n")
	})
}

func TestNestedVolumes(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		// The inner ones come first on the command line: depth decides the order, not the line.
		s := volumeSite(t, way, "cc:/srv/a/b/c", "bb:/srv/a/b", "aa:/srv/a", "zz:/z")
		for _, v := range []string{"srv/a/1", "srv/a/b/2", "srv/a/b/c/3", "z/4"} {
			write(t, s.in(v), v)
		}
		wantContent(t, s.data("aa", "1"), "srv/a/1")
		wantContent(t, s.data("bb", "2"), "srv/a/b/2")
		wantContent(t, s.data("cc", "3"), "srv/a/b/c/3")
		wantContent(t, s.data("zz", "4"), "z/4")
		wantListing(t, s.in("srv/a"), "1", "b")
		wantListing(t, s.in("srv/a/b"), "2", "c")
		wantErrno(t, "rmdir of an inner target", unix.Rmdir(s.in("srv/a/b")), unix.EBUSY)
		s.remount()
		wantContent(t, s.in("srv/a/b/c/3"), "srv/a/b/c/3")
	})
}

// TestTargetStaysInside: a link in a layer leads where it leads inside the union, never to the host.
func TestTargetStaysInside(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		outside := s.dir + "/outside"
		mkdir(t, outside)
		mkdir(t, s.lowers[0]+"/real")
		must(t, os.Symlink(outside, s.lowers[0]+"/absolute"))
		must(t, os.Symlink("../../../../../../../../.."+outside, s.lowers[0]+"/relative"))
		must(t, os.Symlink("/real", s.lowers[0]+"/inside"))
		s.mountVolumes(way, "one:/absolute/one", "two:/relative/two", "three:/inside/three")
		wantListing(t, outside)
		write(t, s.in(outside+"/one/f"), "1")
		write(t, s.in(outside+"/two/f"), "2")
		write(t, s.in("real/three/f"), "3")
		for v, content := range map[string]string{"one": "1", "two": "2", "three": "3"} {
			wantContent(t, s.data(v, "f"), content)
		}
		wantListing(t, outside)
		if m := mountsBelow(outside); len(m) > 0 {
			t.Errorf("mounted outside the union: %v", m)
		}
	})
}

// TestTargetIsNotWritten: the target directory appears, and no layer, nor upper, nor diff knows of it.
func TestTargetIsNotWritten(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "db:/var/lib/db", "xx:/srv/x")
		wantListing(t, s.mnt, "file", "srv", "var")
		wantListing(t, s.in("var"), "lib")
		wantListing(t, s.in("var/lib"), "db")
		wantListing(t, s.in("srv"), "beside", "x")
		write(t, s.in("var/lib/db/f"), "f")
		wantListing(t, s.upper)
		if out := s.must("diff", s.name); out != "" {
			t.Errorf("diff shows the targets: %q", out)
		}
		s.umount()
		wantListing(t, s.upper)
		if out := s.must("diff", s.name); out != "" {
			t.Errorf("diff after umount shows the targets: %q", out)
		}
	})
}

// TestVolumeHidesTheLayer: what a layer has at the path does not show.
func TestVolumeHidesTheLayer(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/srv/in-layer", "layer\n")
		write(t, s.data("full", "own"), "own\n")
		s.mountVolumes(way, "full:/srv")
		wantListing(t, s.in("srv"), "own")
		wantAbsent(t, s.in("srv/in-layer"))
		s.umount()
		s.must("rm", s.name)
		s.mount()
		wantListing(t, s.in("srv"), "in-layer")
	})
}

// TestTwoMountsAppend: every line of both is there, at once on the host and in both mounts.
func TestTwoMountsAppend(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "log:/srv/log")
		second := s.dir + "/second"
		mkdir(t, second)
		s.must("mount", "--name", "second", "--volume-io", way, "-v", "log:/elsewhere", s.lowers[0], second)
		one := child(t, "append", s.in("srv/log/lines"), "1000", "one")
		two := child(t, "append", second+"/elsewhere/lines", "1000", "two")
		results := make(chan result, 2)
		for _, c := range []*exec.Cmd{one, two} {
			go func() { results <- finish(c) }()
		}
		for range 2 {
			if r := <-results; r.code != 0 || r.err != nil {
				t.Error(r)
			}
		}
		for _, path := range []string{s.data("log", "lines"), s.in("srv/log/lines"), second + "/elsewhere/lines"} {
			data, err := os.ReadFile(path)
			must(t, err)
			if n := strings.Count(string(data), "\n"); n != 2000 {
				t.Errorf("%s has %d lines, want 2000", path, n)
			}
			for i := range 1000 {
				for _, mark := range []string{"one", "two"} {
					if line := fmt.Sprintf("%s %06d\n", mark, i); !strings.Contains(string(data), line) {
						t.Fatalf("%s lacks %q", path, line)
					}
				}
			}
		}
	})
}

// TestVolumeIsSeenAtOnce: content, size, names, attributes and absence, from every side.
func TestVolumeIsSeenAtOnce(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "vol:/v")
		second := s.dir + "/second"
		mkdir(t, second)
		s.must("mount", "--name", "second", "--volume-io", way, "-v", "vol:/v", s.lowers[0], second)
		sides := []string{s.in("v"), second + "/v", s.data("vol", "")}
		for round := range 6 {
			for _, writer := range sides {
				for _, reader := range sides {
					name := filepath.Join(writer, "f")
					content := strings.Repeat(fmt.Sprintf("%d %s %s\n", round, writer, reader), round+1)
					write(t, name, content)
					wantContent(t, filepath.Join(reader, "f"), content)
					must(t, os.Chmod(name, 0o600))
					if st := lstat(t, filepath.Join(reader, "f")); st.Mode&0o7777 != 0o600 || st.Size != int64(len(content)) {
						t.Errorf("%s sees mode %o size %d after %s wrote %d bytes", reader, st.Mode&0o7777, st.Size, writer, len(content))
					}
					must(t, os.Rename(name, name+"2"))
					wantAbsent(t, filepath.Join(reader, "f"))
					wantListing(t, reader, "f2")
					must(t, os.Remove(name+"2"))
					wantAbsent(t, filepath.Join(reader, "f2"))
				}
			}
		}
	})
}

// TestOpenDescriptorSeesOthersWrites: a reader that has the file open reads what another mount writes.
func TestOpenDescriptorSeesOthersWrites(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "vol:/v")
		write(t, s.data("vol", "f"), "old old old\n")
		f, err := os.Open(s.in("v/f"))
		must(t, err)
		defer f.Close()
		buf := make([]byte, 100)
		n, _ := f.ReadAt(buf, 0)
		if string(buf[:n]) != "old old old\n" {
			t.Fatalf("read %q", buf[:n])
		}
		write(t, s.data("vol", "f"), "new new new and longer\n")
		if n, _ = f.ReadAt(buf, 0); string(buf[:n]) != "new new new and longer\n" {
			t.Errorf("the open descriptor reads %q", buf[:n])
		}
		if st, err := f.Stat(); err != nil || st.Size() != 23 {
			t.Errorf("fstat of the open descriptor: %v, %v", st, err)
		}
	})
}

// TestVolumeOutlivesItsLayers: layers and upper are deleted under the running mount, and the volume goes on.
func TestVolumeOutlivesItsLayers(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "db:/srv/db")
		write(t, s.in("srv/db/before"), "before\n")
		f, err := os.OpenFile(s.in("srv/db/open"), os.O_RDWR|os.O_CREATE, 0o644)
		must(t, err)
		defer f.Close()
		s.forget(s.lowers[0])
		must(t, os.RemoveAll(s.lowers[0]))
		must(t, os.RemoveAll(s.upper))
		must(t, os.RemoveAll(s.work))
		write(t, s.in("srv/db/after"), "after\n")
		_, err = f.WriteString("open\n")
		must(t, err)
		wantContent(t, s.in("srv/db/before"), "before\n")
		wantContent(t, s.data("db", "after"), "after\n")
		wantContent(t, s.data("db", "open"), "open\n")
		f.Close()
		s.must("umount", s.name)
		s.must("rm", s.name)
		mkdir(t, s.lowers[0])
		s.name = "again"
		mkdir(t, s.upper)
		mkdir(t, s.work)
		s.mountVolumes(way, "db:/other")
		wantContent(t, s.in("other/after"), "after\n")
	})
}

func TestBorderOfAVolume(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "one:/srv/one", "two:/two")
		write(t, s.in("srv/one/f"), "f\n")
		mkdir(t, s.in("srv/one/d"))
		for _, c := range []struct{ from, to string }{
			{"srv/one/f", "g"}, {"srv/one/f", "two/g"}, {"file", "two/g"}, {"file", "srv/one/g"},
		} {
			wantErrno(t, "link "+c.from+" "+c.to, unix.Link(s.in(c.from), s.in(c.to)), unix.EXDEV)
			wantErrno(t, "rename "+c.from+" "+c.to, unix.Rename(s.in(c.from), s.in(c.to)), unix.EXDEV)
		}
		wantErrno(t, "rename of a directory out", unix.Rename(s.in("srv/one/d"), s.in("d")), unix.EXDEV)
		mkdir(t, s.in("directory"))
		for _, target := range []string{"srv/one", "two"} {
			wantErrno(t, "rmdir "+target, unix.Rmdir(s.in(target)), unix.EBUSY)
			wantErrno(t, "rename "+target, unix.Rename(s.in(target), s.in("moved")), unix.EBUSY)
			wantErrno(t, "rename over "+target, unix.Rename(s.in("directory"), s.in(target)), unix.EBUSY)
		}
		if err := os.RemoveAll(s.in("srv")); err == nil {
			t.Error("rm -rf of a target's parent succeeded")
		}
		if err := unix.Rmdir(s.in("srv")); err == nil {
			t.Error("rmdir of a target's parent succeeded")
		}
		write(t, s.in("srv/one/still"), "here\n")
		wantContent(t, s.data("one", "still"), "here\n")
	})
}

// TestParentOfATargetMoves: routes hang on nodes; the volume goes along or the move is refused, but no write lands in upper.
func TestParentOfATargetMoves(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "vol:/srv/deep/v")
		at := "srv/deep/v/f"
		if err := unix.Rename(s.in("srv"), s.in("moved")); err == nil {
			at = "moved/deep/v/f"
		} else {
			wantErrno(t, "rename of a target's parent", err, unix.EBUSY)
		}
		write(t, s.in(at), "f\n")
		wantContent(t, s.data("vol", "f"), "f\n")
	})
}

// TestVolumeFileTypes: what is not a plain file works in a volume as on the host, and marks mean nothing there.
func TestVolumeFileTypes(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "vol:/v")
		must(t, unix.Mknod(s.in("v/char"), unix.S_IFCHR, 0))
		must(t, unix.Mkfifo(s.in("v/fifo"), 0o600))
		must(t, os.Symlink("/nowhere", s.in("v/link")))
		write(t, s.in("v/.wh.file"), "an ordinary name here\n")
		write(t, s.in("v/.wh..wh..opq"), "and here\n")
		write(t, s.in("v/file"), "there\n")
		must(t, os.Link(s.in("v/file"), s.in("v/file2")))
		must(t, unix.Setxattr(s.in("v/file"), "trusted.overlay.opaque", []byte("y"), 0))
		sameTree(t, "volume", s.data("vol", ""), s.in("v"))
	})
}
