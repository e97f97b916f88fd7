package main_test

import (
	"os"
	"testing"
)

// refusedUnchanged: the command is refused in one line that has each of the words and the remedy, and afterwards all is as
// it was: the tree with the root, records, volumes, mounts, processes.
func (s *site) refusedUnchanged(code int, words []string, remedy string, args ...string) {
	s.t.Helper()
	before := s.world()
	s.refused(code, append(words, remedy), args...)
	if d := differences(before, s.world()); d != "" {
		s.t.Errorf("the refusal left traces:\n%s", d)
	}
}

// TestBadInput: each case is refused before anything changes, in one line that
// names the path and the remedy; the world of the test is the same afterwards.
func TestBadInput(t *testing.T) {
	type request struct {
		upper, work, mnt string
		lowers           []string
		flags            []string
	}
	cases := []struct {
		what   string
		code   int
		remedy string
		alter  func(s *site, r *request) (words []string)
	}{
		{"metacopies in an upper that can't say so", 5, "leave it out", func(s *site, r *request) []string {
			r.flags = []string{"-o", "metacopy=on,userxattr"}
			return []string{"metacopy=on"}
		}},
		{"missing layer", 1, "make it, or correct the path", func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.dir+"/missing")
			return []string{s.dir + "/missing"}
		}},
		{"layer that is a file", 1, "name a directory", func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.lowers[0]+"/file")
			return []string{s.lowers[0] + "/file", "directory"}
		}},
		{"layer twice", 1, "name each directory once", func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.lowers[0])
			return []string{s.lowers[0], "twice"}
		}},
		{"layer twice by a link", 1, "name each directory once", func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.dir+"/link-to-lower")
			return []string{s.dir + "/link-to-lower"}
		}},
		{"layer inside a layer", 1, "must not contain each other", func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.lowers[0]+"/dir")
			return []string{s.lowers[0] + "/dir", s.lowers[0]}
		}},
		{"upper is a layer", 1, "name another directory", func(s *site, r *request) []string { r.upper = s.lowers[0]; return []string{s.lowers[0]} }},
		{"upper inside a layer", 1, "choose a directory outside", func(s *site, r *request) []string {
			r.upper = s.lowers[0] + "/dir"
			return []string{s.lowers[0] + "/dir", s.lowers[0]}
		}},
		{"layer inside the upper", 1, "choose a directory outside", func(s *site, r *request) []string {
			r.lowers = append(r.lowers, s.upper+"/dir")
			return []string{s.upper + "/dir", s.upper}
		}},
		{"missing upper", 1, "make it, or correct the path", func(s *site, r *request) []string { r.upper = s.dir + "/missing"; return []string{s.dir + "/missing"} }},
		{"upper that is a file", 1, "name a directory", func(s *site, r *request) []string { r.upper = s.dir + "/a-file"; return []string{s.dir + "/a-file"} }},
		{"work on another file system", 1, "name a directory beside the upper with --work", func(s *site, r *request) []string {
			r.work = s.dir + "/tmpfs/work"
			return []string{s.dir + "/tmpfs/work"}
		}},
		{"work is the upper", 1, "it must lie beside upper", func(s *site, r *request) []string { r.work = s.upper; return []string{s.upper} }},
		{"work inside the upper", 1, "it must lie beside upper", func(s *site, r *request) []string { r.work = s.upper + "/dir"; return []string{s.upper + "/dir"} }},
		{"work inside a layer", 1, "choose a directory outside", func(s *site, r *request) []string {
			r.work = s.lowers[0] + "/dir"
			return []string{s.lowers[0] + "/dir"}
		}},
		{"missing mountpoint", 1, "make it, or correct the path", func(s *site, r *request) []string { r.mnt = s.dir + "/missing"; return []string{s.dir + "/missing"} }},
		{"mountpoint that is a file", 1, "name a directory", func(s *site, r *request) []string { r.mnt = s.dir + "/a-file"; return []string{s.dir + "/a-file"} }},
		{"mountpoint inside a layer", 1, "choose a directory outside", func(s *site, r *request) []string {
			r.mnt = s.lowers[0] + "/dir"
			return []string{s.lowers[0] + "/dir"}
		}},
		{"mountpoint inside the upper", 1, "choose a directory outside", func(s *site, r *request) []string { r.mnt = s.upper + "/dir"; return []string{s.upper + "/dir"} }},
		{"mountpoint inside the work", 1, "choose a directory outside", func(s *site, r *request) []string { r.mnt = s.work + "/dir"; return []string{s.work + "/dir"} }},
		{"mountpoint inside a named volume", 1, "choose a directory outside", func(s *site, r *request) []string {
			s.must("volume", "create", "named")
			mkdir(s.t, s.data("named", "dir"))
			r.mnt = s.data("named", "dir")
			return []string{s.data("named", "dir")}
		}},
		{"mountpoint is the upper", 1, "choose another directory", func(s *site, r *request) []string { r.mnt = s.upper; return []string{s.upper} }},
		{"mountpoint inside a volume", 1, "choose another directory", func(s *site, r *request) []string {
			r.flags, r.mnt = []string{"-v", s.dir + "/host:/v"}, s.dir+"/host/dir"
			return []string{s.dir + "/host"}
		}},
		{"missing volume source", 1, "make it first", func(s *site, r *request) []string {
			r.flags = []string{"-v", s.dir + "/missing:/v"}
			return []string{s.dir + "/missing"}
		}},
		{"spec without a path", 2, "want NAME:/path[:MODE]", func(s *site, r *request) []string {
			r.flags = []string{"-v", "name:"}
			return []string{"volume name:", "after the colon"}
		}},
		{"spec with a relative path", 2, "want NAME:/path[:MODE]", func(s *site, r *request) []string { r.flags = []string{"-v", "name:dir"}; return []string{"name:dir"} }},
		{"spec with a bad mode", 2, "want ro or rw", func(s *site, r *request) []string {
			r.flags = []string{"-v", "name:/dir:rx"}
			return []string{"name:/dir:rx"}
		}},
		{"spec with a bad name", 2, "use absolute path", func(s *site, r *request) []string { r.flags = []string{"-v", "a b:/dir"}; return []string{"a b"} }},
		{"spec for the root", 2, "want NAME:/path[:MODE]", func(s *site, r *request) []string { r.flags = []string{"-v", "name:/"}; return []string{"name:/"} }},
		{"two volumes at one path", 2, "give each volume a path of its own", func(s *site, r *request) []string {
			r.flags = []string{"-v", "one:/dir", "-v", "two:/dir/../dir"}
			return []string{"/dir"}
		}},
		{"long spec with an unknown key", 2, "unexpected key", func(s *site, r *request) []string {
			r.flags = []string{"--mount", "dst=/dir,speed=9"}
			return []string{"dst=/dir,speed=9", "'speed'"}
		}},
		{"spec of an option with a relative path", 2, "want NAME:/path[:MODE]", func(s *site, r *request) []string {
			r.flags = []string{"-o", "volume=name:dir"}
			return []string{"name:dir"}
		}},
		{"unknown option", 2, "see unionmount mount --help", func(s *site, r *request) []string {
			r.flags = []string{"-o", "no_such_option"}
			return []string{"no_such_option"}
		}},
		{"bad io", 2, "want auto, open or cached", func(s *site, r *request) []string { r.flags = []string{"--io", "fast"}; return []string{"fast"} }},
		{"bad volume-io", 2, "want auto, bind or fuse", func(s *site, r *request) []string { r.flags = []string{"--volume-io", "fast"}; return []string{"fast"} }},
		{"bad name", 2, "a letter or digit first", func(s *site, r *request) []string {
			r.flags = []string{"--name", "../../x"}
			return []string{"../../x"}
		}},
		{"upper and read-only", 2, "leave out --upper or --read-only", func(s *site, r *request) []string { r.flags = []string{"-r"}; return []string{s.upper} }},
	}
	for _, c := range cases {
		aside(t, c.what, func(t *testing.T) {
			s := newSite(t, 1)
			write(t, s.lowers[0]+"/file", "x")
			mkdir(t, s.lowers[0]+"/dir")
			mkdir(t, s.upper+"/dir")
			mkdir(t, s.work+"/dir")
			mkdir(t, s.dir+"/host/dir")
			write(t, s.dir+"/a-file", "x")
			must(t, os.Symlink(s.lowers[0], s.dir+"/link-to-lower"))
			mkdir(t, s.dir+"/tmpfs")
			mustRun(t, "mount", "-t", "tmpfs", "tmpfs", s.dir+"/tmpfs")
			mkdir(t, s.dir+"/tmpfs/work")
			r := request{upper: s.upper, work: s.work, mnt: s.mnt, lowers: s.lowers}
			words := c.alter(s, &r)
			args := append([]string{"mount", "-u", r.upper, "--work", r.work}, r.flags...)
			args = append(append(args, r.lowers...), r.mnt)
			s.refusedUnchanged(c.code, words, c.remedy, args...)
		})
	}
}

// TestBadInputInUse: an upper or work that another mount has, ours or the kernel's, and a file system without what an upper
// needs: some of it shows only when the daemon opens the upper, and then all that was made goes again.
func TestBadInputInUse(t *testing.T) {
	cases := map[string]func(s *site, other string){
		"upper of a running mount": func(s *site, other string) {
			s.mount()
			s.refusedUnchanged(4, []string{s.upper, "running mount m"}, "unionmount umount m first",
				"mount", "-u", s.upper, "--work", s.dir+"/spare", "-v", "new:/v", s.lowers[0], other)
		},
		"work of a running mount": func(s *site, other string) {
			s.mount()
			s.refusedUnchanged(4, []string{s.work, "running mount m"}, "unionmount umount m first",
				"mount", "-u", s.dir+"/spare", "--work", s.work, "-v", "new:/v", s.lowers[0], other)
		},
		"upper and work of another root's mount": func(s *site, other string) {
			s.mount()
			s.refusedUnchanged(4, []string{s.work}, "unmount that first",
				"--root", s.dir+"/root2", "mount", "-u", s.upper, "--work", s.work, "-v", "new:/v", s.lowers[0], other)
		},
		"upper of another root's mount": func(s *site, other string) {
			s.mount()
			s.refusedUnchanged(4, []string{s.upper}, "unmount that first",
				"--root", s.dir+"/root2", "mount", "-u", s.upper, "--work", s.dir+"/spare", "-v", "new:/v", s.lowers[0], other)
		},
		"upper of a kernel overlay": func(s *site, other string) {
			s.kernelOverlay(s.dir + "/kernel")
			s.refusedUnchanged(4, []string{s.upper, s.dir + "/kernel"}, "unmount that first",
				"mount", "-u", s.upper, "--work", s.dir+"/spare", "-v", "new:/v", s.lowers[0], other)
		},
		"work of a kernel overlay": func(s *site, other string) {
			s.kernelOverlay(s.dir + "/kernel")
			s.refusedUnchanged(4, []string{s.work, s.dir + "/kernel"}, "unmount that first",
				"mount", "-u", s.dir+"/spare", "--work", s.work, "-v", "new:/v", s.lowers[0], other)
		},
		"no extended attributes": func(s *site, other string) {
			mkdir(s.t, s.dir+"/ram")
			mustRun(s.t, "mount", "-t", "ramfs", "ram", s.dir+"/ram")
			mustShell(s.t, s.dir+"/ram", "mkdir upper work")
			s.refusedUnchanged(5, []string{s.dir + "/ram/upper"}, "ext4, xfs, btrfs and tmpfs have it",
				"mount", "-u", s.dir+"/ram/upper", "--work", s.dir+"/ram/work", "-v", "new:/v", s.lowers[0], other)
		},
	}
	for what, refuse := range cases {
		aside(t, what, func(t *testing.T) {
			s := small(t)
			s.atimes = false // world reads the layers
			other := s.at("other")
			mkdir(t, s.dir+"/spare")
			for _, root := range []string{s.root, s.dir + "/root2"} { // laid out
				args := []string{"--root", root, "mount", "--name", "first", "-v", "old:/old", s.lowers[0], other}
				mustRun(t, suite.binary, args...)
				mustRun(t, suite.binary, "--root", root, "rm", "-f", "first")
			}
			refuse(s, other)
		})
	}
}

// TestMountpointMayBeALayer: roots are opened first, so a lower can be covered by its union.
func TestMountpointMayBeALayer(t *testing.T) {
	s := small(t)
	s.must("mount", "--name", s.name, "-u", s.upper, "--work", s.work, s.lowers[0], s.lowers[0])
	wantContent(t, s.lowers[0]+"/file", "lower\n")
	write(t, s.lowers[0]+"/new", "upper\n")
	wantContent(t, s.upper+"/new", "upper\n")
	s.must("umount", s.name)
	wantListing(t, s.lowers[0], "file")
}
