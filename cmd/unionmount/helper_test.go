package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// helperNames are the names under which the binary is a mount helper.
var helperNames = []string{"mount.unionmount", "mount.fuse.unionmount", "fuse-overlayfs"}

// as runs the binary under another name, as mount(8), podman and containerd do.
func (s *site) as(name string, args ...string) result {
	s.t.Helper()
	link := s.dir + "/bin/" + name
	mkdir(s.t, filepath.Dir(link))
	if err := os.Symlink(suite.binary, link); err != nil && !os.IsExist(err) {
		s.t.Fatal(err)
	}
	cmd := command(s.t, link, args...)
	cmd.Env = append(os.Environ(), "UNIONMOUNT_ROOT="+s.root)
	cmd.WaitDelay = 0 // podman waits for the end of stderr
	return finish(cmd)
}

func (s *site) options(more ...string) string {
	o := []string{"lowerdir=" + strings.Join(s.lowers, ":"), "upperdir=" + s.upper, "workdir=" + s.work}
	return strings.Join(append(o, more...), ",")
}

// served finds the daemon of a mount that has no record: the only one of this test.
func (s *site) served() int {
	s.t.Helper()
	found := processesOf(s.dir)
	if len(found) == 0 { // installed has its root elsewhere; nothing runs beside such a test
		found = processesOf(suite.dir)
	}
	if len(found) != 1 {
		s.t.Fatalf("want one daemon, have the processes %v", found)
	}
	return found[0]
}

// mountLine is the line of a mount point in /proc/mounts: source, type and options.
func mountLine(t *testing.T, at string) (source, kind, options string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); unescapeMount(f[1]) == at {
			source, kind, options = f[0], f[2], f[3]
		}
	}
	if kind == "" {
		t.Errorf("%s is not mounted", at)
	}
	return source, kind, options
}

func TestHelperNames(t *testing.T) {
	forms := map[string]func(s *site) []string{
		"podman":   func(s *site) []string { return []string{"-o", s.options(), s.mnt} },
		"mount(8)": func(s *site) []string { return []string{"none", s.mnt, "-o", "rw," + s.options()} },
		"containerd": func(s *site) []string {
			return []string{"overlay", s.mnt, "-o", "workdir=" + s.work, "-o", "upperdir=" + s.upper, "-o", "lowerdir=" + s.lowers[0], "-t", "fuse-overlayfs"}
		},
		"sloppy": func(s *site) []string {
			return []string{"src", s.mnt, "-s", "-n", "-v", "-o", s.options("fsname=mine")}
		},
	}
	for _, name := range append(helperNames, "unionmount") {
		for form, args := range forms {
			if name == "unionmount" && form == "containerd" {
				continue // no subcommand and -o present: covered by the other forms
			}
			aside(t, name+" "+form, func(t *testing.T) {
				s := small(t)
				s.guard()
				if r := s.as(name, args(s)...); r.code != 0 || r.err != nil {
					t.Fatal(r)
				}
				wantContent(t, s.in("file"), "lower\n")
				appendTo(t, s.in("file"), "more\n")
				wantContent(t, s.upper+"/file", "lower\nmore\n")
				source, kind, _ := mountLine(t, s.mnt)
				want := "unionmount"
				if form == "sloppy" {
					want = "mine"
				}
				if kind != "fuse.unionmount" || form != "mount(8)" && form != "containerd" && source != want {
					t.Errorf("/proc/mounts says %q, type %q", source, kind)
				}
				pid := s.served()
				mustRun(t, "umount", s.mnt)
				s.gone(pid)
			})
		}
	}
}

// TestHelperLeavesNoRecord: nothing of these mounts outlives them.
func TestHelperLeavesNoRecord(t *testing.T) {
	s := small(t)
	if r := s.as("fuse-overlayfs", "-o", s.options(), s.mnt); r.code != 0 {
		t.Fatal(r)
	}
	if out := s.must("ls", "--format", "{{.Mountpoint}}"); out != s.mnt+"\n" {
		t.Errorf("ls while it lives: %q", out)
	}
	// It was "no such mount", of one that ls had just listed.
	s.refused(4, []string{"running", s.mnt}, "start", s.mnt)
	pid := s.served()
	mustRun(t, "umount", s.mnt)
	s.gone(pid)
	if out := s.must("ls", "-a", "-q"); out != "" {
		t.Errorf("ls -a afterwards: %q", out)
	}
}

func TestHelperEscapes(t *testing.T) {
	s := newSite(t, 0)
	s.lowers = []string{s.dir + "/a:b", s.dir + `/c\d`, s.dir + "/e f"}
	for i, l := range s.lowers {
		write(t, l+"/f"+string(rune('0'+i)), "x")
	}
	lower := strings.NewReplacer(`\`, `\\`, ":", `\:`)
	var escaped []string
	for _, l := range s.lowers {
		escaped = append(escaped, lower.Replace(l))
	}
	if r := s.as("fuse-overlayfs", "-o", "lowerdir="+strings.Join(escaped, ":")+",upperdir="+s.upper+",workdir="+s.work, s.mnt); r.code != 0 {
		t.Fatal(r)
	}
	wantListing(t, s.mnt, "f0", "f1", "f2")
}

func TestHelperOptions(t *testing.T) {
	refused := func(code int, option string, words ...string) {
		aside(t, option, func(t *testing.T) {
			s := small(t)
			before := s.world()
			checkRefusal(t, s.as("fuse-overlayfs", "-o", s.options(option), s.mnt), code, words, []string{option})
			if d := differences(before, s.world()); d != "" {
				t.Errorf("the refusal left traces:\n%s", d)
			}
		})
	}
	for option, name := range map[string]string{
		"uidmapping=:0:1000:1:1:100000:65536": "uidmapping", "gidmapping=:0:1000:1": "gidmapping", "squash_to_root": "squash_to_root",
		"squash_to_uid=1": "squash_to_uid", "squash_to_gid=1": "squash_to_gid", "xattr_permissions=2": "xattr_permissions",
		`context="system_u:object_r:container_file_t:s0:c1,c2"`: "context",
	} {
		refused(1, option, name, "leave it out")
	}
	for option, remedy := range map[string]string{
		"no_such_option": "see unionmount mount --help", "lowerdri=/x": "see unionmount mount --help", "no_such=1": "see unionmount mount --help",
		"redirect_dir=maybe": "want on, off, follow or nofollow", "timeout=soon": "want seconds", "writeback=maybe": "want on or off", "metacopy=maybe": "want on or off",
		"volume=name:": "want NAME:/path[:MODE]", "volume=name:/v:rx": "want ro or rw",
	} {
		refused(1, option, append(strings.SplitN(option, "=", 2), remedy)...)
	}
	for _, option := range []string{
		"redirect_dir=on", "redirect_dir=off", "redirect_dir=nofollow", "index=on", "xino=off", "metacopy=off", "metacopy=on", "userxattr", "noacl", "timeout=10",
		"static_nlink", "writeback=on", "writeback=off", "fsname=x", "allow_other", "default_permissions", "dev", "nodev", "suid", "nosuid", "exec", "noexec",
		"noatime", "relatime", "private", "rprivate", "slave", "rw", "defaults", "nofail", "_netdev", "x-systemd.automount", "fsync=0",
	} {
		aside(t, option, func(t *testing.T) {
			s := small(t)
			if r := s.as("fuse-overlayfs", "-o", s.options(option), s.mnt); r.code != 0 || r.err != nil {
				t.Fatalf("%s is refused: %s", option, r)
			}
			wantContent(t, s.in("file"), "lower\n")
			appendTo(t, s.in("file"), "more\n")
			_, _, flags := mountLine(t, s.mnt)
			for _, word := range []string{"nodev", "nosuid", "noexec", "noatime"} {
				if word == option && !strings.Contains(","+flags+",", ","+word+",") {
					t.Errorf("/proc/mounts has %q, not %s", flags, word)
				}
			}
		})
	}
}

func TestHelperReadOnly(t *testing.T) {
	for name, option := range map[string]string{"no upper": "", "ro": "ro"} {
		t.Run(name, func(t *testing.T) {
			s := small(t)
			o := "lowerdir=" + s.lowers[0]
			if option == "ro" {
				o = s.options("ro")
			}
			if r := s.as("mount.unionmount", "none", s.mnt, "-o", o); r.code != 0 {
				t.Fatal(r)
			}
			wantContent(t, s.in("file"), "lower\n")
			wantErrno(t, "create", os.WriteFile(s.in("new"), nil, 0o644), unix.EROFS)
			wantErrno(t, "append", openClose(s.in("file"), unix.O_WRONLY|unix.O_APPEND), unix.EROFS)
		})
	}
}

func TestHelperExitCodes(t *testing.T) {
	s := small(t)
	for _, name := range helperNames {
		r := s.as(name, "none", s.mnt, "-o", "lowerdir="+s.dir+"/missing")
		checkRefusal(t, r, 32, []string{s.dir + "/missing"}, []string{name})
		r = s.as(name, "none", s.mnt, "-o", "rw")
		checkRefusal(t, r, 1, []string{"lowerdir"}, []string{name})
	}
}

// TestHelperVolatile: the mark of a volatile upper stands while it is mounted and refuses the next mount after a crash.
func TestHelperVolatile(t *testing.T) {
	s := small(t)
	if r := s.as("fuse-overlayfs", "-o", s.options("volatile"), s.mnt); r.code != 0 {
		t.Fatal(r)
	}
	write(t, s.in("new"), "x")
	if _, err := os.Stat(s.work + "/work/incompat/volatile"); err != nil {
		t.Errorf("the kernel's mark is missing: %v", err)
	}
	pid := s.served()
	must(t, unix.Kill(pid, unix.SIGKILL))
	s.gone(pid)
	mustRun(t, "umount", s.mnt)
	r := s.as("fuse-overlayfs", "-o", s.options("volatile"), s.mnt)
	checkRefusal(t, r, 32, []string{s.work, "volatile"}, []string{"volatile again"})
	must(t, os.RemoveAll(s.work+"/work/incompat"))
	if r := s.as("fuse-overlayfs", "-o", s.options("volatile"), s.mnt); r.code != 0 {
		t.Fatal(r)
	}
	pid = s.served()
	mustRun(t, "umount", s.mnt)
	s.gone(pid)
	if r := s.as("fuse-overlayfs", "-o", s.options("volatile"), s.mnt); r.code != 0 {
		t.Errorf("after a clean unmount: %s", r)
	}
}

func TestMountCommandAndFstab(t *testing.T) {
	installed(t)
	s := small(t)
	s.guard()
	t.Run("mount -t", func(t *testing.T) {
		mustRun(t, "mount", "-t", "fuse.unionmount", "none", s.mnt, "-o", s.options("nodev", "nofail"))
		wantContent(t, s.in("file"), "lower\n")
		pid := s.served()
		mustRun(t, "umount", s.mnt)
		s.gone(pid)
	})
	t.Run("fstab", func(t *testing.T) {
		fstab := s.dir + "/fstab"
		write(t, fstab, "none "+s.mnt+" fuse.unionmount "+s.options("noauto", "x-test", "volume=db:/var/lib/db")+" 0 0\n")
		mustRun(t, "mount", "--fstab", fstab, s.mnt)
		write(t, s.in("var/lib/db/f"), "in the volume\n")
		wantAbsent(t, s.upper+"/var")
		pid := s.served()
		mustRun(t, "umount", s.mnt)
		s.gone(pid)
	})
}

// TestUmountCommandUndoesBinds: umount(8) calls the installed helper, which takes the volumes and then the union.
func TestUmountCommandUndoesBinds(t *testing.T) {
	installed(t)
	s := small(t)
	s.mount("--volume-io", "bind", "-v", "db:/srv/db", "-v", "log:/srv/db/log")
	write(t, s.in("srv/db/log/f"), "x")
	if n := len(mountsBelow(s.mnt)); n != 3 {
		t.Fatalf("%d mounts, want the union and two volumes", n)
	}
	pid := s.inspect().Pid
	mustRun(t, "umount", s.mnt)
	s.gone(pid)
	if m := mountsBelow(s.mnt); len(m) > 0 {
		t.Errorf("still mounted: %v", m)
	}
}
