package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTextBusy(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		data, err := os.ReadFile("/bin/sleep")
		must(t, err)
		write(t, s.lowers[0]+"/sleep", string(data))
		must(t, os.Chmod(s.lowers[0]+"/sleep", 0o755))
		s.mount("--io", io)
		cmd := command(t, s.in("sleep"), "300")
		must(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		wantErrno(t, "write to a running program", openClose(s.in("sleep"), unix.O_WRONLY), unix.ETXTBSY)
		wantErrno(t, "truncation of a running program", os.Truncate(s.in("sleep"), 0), unix.ETXTBSY)
		cmd.Process.Kill()
		cmd.Wait()
		f, err := os.OpenFile(s.in("sleep"), os.O_WRONLY, 0)
		must(t, err)
		err = exec.Command(s.in("sleep"), "0").Run()
		wantErrno(t, "exec of a file open for writing", err, unix.ETXTBSY)
		f.Close()
		eventually(t, "the program runs once nobody writes to it", func() bool { // a child that another test forks has f until it execs (golang.org/issue/22315)
			err := exec.Command(s.in("sleep"), "0").Run()
			if err != nil && !errors.Is(err, unix.ETXTBSY) {
				t.Fatal(err)
			}
			return err == nil
		})
	})
}

// TestLocks between processes: each kind excludes its like on the same file, before and after copy-up.
func TestLocks(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/file", strings.Repeat("x", 100))
		s.mount("--io", io)
		for _, kind := range []string{"flock", "posix", "ofd"} {
			release := holding(t, kind, s.in("file"))
			if r := finish(child(t, kind, s.in("file"))); r.code == 0 || r.err != nil {
				t.Errorf("%s: a second process got the lock: %s", kind, r)
			}
			appendTo(t, s.in("file"), "y")
			if r := finish(child(t, kind, s.in("file"))); r.code == 0 || r.err != nil {
				t.Errorf("%s: a second process got the lock after copy-up: %s", kind, r)
			}
			release()
			holding(t, kind, s.in("file"))()
		}
	})
}

// TestInotify: a watch on a lower directory and file tells of what is done through the mount.
func TestInotify(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/d/file", "x")
		s.mount("--io", io)
		fd := watch(t, s.in("d"), unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MODIFY)
		appendTo(t, s.in("d/file"), "more")
		write(t, s.in("d/new"), "n")
		must(t, os.Rename(s.in("d/file"), s.in("moved")))
		must(t, os.Remove(s.in("d/new")))
		const want = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MODIFY
		eventually(t, "all events arrive", arrived(fd, want))
	})
}

// bothSides runs the same calls on a plain directory and in a union over the same content, and compares the trees.
func bothSides(t *testing.T, io string, build, use func(base string)) *site {
	t.Helper()
	s := newSite(t, 1)
	plain := s.dir + "/plain"
	mkdir(t, plain)
	build(s.lowers[0])
	build(plain)
	s.mount("--io", io)
	use(plain)
	use(s.mnt)
	sameTree(t, "after", plain, s.mnt)
	s.remount()
	sameTree(t, "after a remount", plain, s.mnt)
	return s
}

// TestPrivilegeBitsGo: a plain user's write, truncation or chown clears setuid, setgid and capabilities; root's write keeps them.
func TestPrivilegeBitsGo(t *testing.T) {
	need(t, "setcap")
	eachIO(t, func(t *testing.T, io string) {
		bothSides(t, io, func(base string) {
			for _, who := range []string{"user", "root"} {
				for _, how := range []string{"write", "truncate", "chown", "chgrp", "open", "fallocate", "chown-to-nobody"} {
					if who == "root" && how == "chown-to-nobody" {
						continue // docs/semantics.md: root's can't be told from root's write
					}
					p := base + "/" + who + "-" + how
					write(t, p, strings.Repeat("x", 5000))
					must(t, os.Chown(p, 1234, 1234))
					must(t, os.Chmod(p, 0o6777))
					if how != "chgrp" {
						mustRun(t, "setcap", "cap_net_raw+ep", p)
					}
				}
			}
		}, func(base string) {
			use := func(who string) {
				for how, do := range map[string]func(p string) error{
					"write":           func(p string) error { return writeAt(p, "y", 3) },
					"truncate":        func(p string) error { return os.Truncate(p, 4) },
					"chown":           func(p string) error { return os.Chown(p, -1, 1234) },
					"chgrp":           func(p string) error { return os.Chown(p, -1, 4321) },
					"open":            func(p string) error { return openClose(p, unix.O_WRONLY|unix.O_TRUNC) },
					"fallocate":       func(p string) error { return withFile(p, func(fd int) error { return unix.Fallocate(fd, 0, 0, 9000) }) },
					"chown-to-nobody": func(p string) error { return os.Chown(p, -1, -1) },
				} {
					if who == "root" && how == "chown-to-nobody" {
						continue
					}
					if err := do(base + "/" + who + "-" + how); err != nil {
						t.Errorf("%s: %s by %s: %v", base, how, who, err)
					}
				}
			}
			use("root")
			asUser(t, 1234, 1234, []int{4321}, func() { use("user") })
		})
	})
}

// TestCapabilitiesOfANewFile: a file just made has none and its layer is not asked, until somebody gives it some.
func TestCapabilitiesOfANewFile(t *testing.T) {
	need(t, "setcap")
	eachIO(t, func(t *testing.T, io string) {
		bothSides(t, io, func(string) {}, func(base string) {
			caps := func() int { n, _ := unix.Lgetxattr(base+"/new", "security.capability", nil); return n }
			write(t, base+"/new", "x")
			mustRun(t, "setcap", "cap_net_raw+ep", base+"/new")
			if caps() <= 0 {
				t.Errorf("%s: what was set doesn't show", base)
			}
			must(t, writeAt(base+"/new", "y", 1))
			if caps() > 0 {
				t.Errorf("%s: a write left the capabilities", base)
			}
		})
	})
}

// TestUmaskAndSetgid: modes under each umask; group and bit inherited from setgid directories, lower and upper.
func TestUmaskAndSetgid(t *testing.T) {
	eachIOInTurn(t, func(t *testing.T, io string) {
		bothSides(t, io, func(base string) {
			mkdir(t, base+"/setgid")
			must(t, os.Chown(base+"/setgid", 0, 777))
			must(t, unix.Chmod(base+"/setgid", 0o2777))
			mkdir(t, base+"/plain")
			must(t, unix.Chmod(base+"/plain", 0o777))
		}, func(base string) {
			make := func(mark string) {
				for _, d := range []string{"setgid", "plain"} {
					p := base + "/" + d + "/" + mark
					for i, err := range []error{
						openClose(p+"file", unix.O_CREAT|unix.O_WRONLY),
						unix.Mkdir(p+"dir", 0o777),
						unix.Mkdir(p+"dir/sub", 0o1777),
						unix.Mkfifo(p+"fifo", 0o666),
						unix.Mknod(p+"node", unix.S_IFREG|0o6777, 0),
						unix.Symlink("x", p+"link"),
					} {
						if err != nil {
							t.Errorf("%s %d: %v", p, i, err)
						}
					}
				}
			}
			for _, mask := range []int{0, 0o22, 0o27, 0o777} {
				previous := unix.Umask(mask)
				make(fmt.Sprintf("root-%o-", mask))
				unix.Umask(previous)
			}
			asUser(t, 1234, 1234, []int{777}, func() { make("member-") })
			asUser(t, 1235, 1235, nil, func() { make("other-") })
		})
	})
}

// TestPermissions: what a plain user may and may not, with the same errno as below.
func TestPermissions(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		var answers [2][]string
		side := 0
		bothSides(t, io, func(base string) {
			for _, f := range []string{"closed/f", "sticky/others", "sticky/own", "open/f", "ro/f", "group/f"} {
				write(t, base+"/"+f, "x")
			}
			must(t, os.Chown(base+"/sticky/own", 1234, 1234))
			must(t, os.Chown(base+"/group", 0, 4321))
			must(t, unix.Chmod(base+"/group", 0o770))
			must(t, unix.Chmod(base+"/closed", 0o700))
			must(t, unix.Chmod(base+"/sticky", 0o1777))
			must(t, unix.Chmod(base+"/open", 0o777))
			must(t, unix.Chmod(base+"/open/f", 0o600))
			must(t, unix.Chmod(base+"/ro", 0o555))
		}, func(base string) {
			asUser(t, 1234, 1234, []int{4321}, func() {
				for i, err := range []error{
					openClose(base+"/closed/f", unix.O_RDONLY),
					openClose(base+"/open/f", unix.O_WRONLY),
					openClose(base+"/open/f", unix.O_RDONLY),
					unix.Chmod(base+"/open/f", 0o777),
					os.Chown(base+"/sticky/own", 0, -1),
					os.Chown(base+"/sticky/own", -1, 4321),
					unix.Unlink(base + "/sticky/others"),
					unix.Rename(base+"/sticky/others", base+"/sticky/x"),
					unix.Rename(base+"/sticky/own", base+"/sticky/mine"),
					unix.Unlink(base + "/sticky/mine"),
					unix.Mkdir(base+"/ro/d", 0o755),
					unix.Unlink(base + "/ro/f"),
					unix.Mknod(base+"/open/dev", unix.S_IFCHR|0o666, 259),
					unix.Mkdir(base+"/group/d", 0o755),
					unix.Access(base+"/open/f", unix.R_OK),
					unix.Setxattr(base+"/ro/f", "user.x", []byte("1"), 0),
					unix.Setxattr(base+"/group/d", "trusted.x", []byte("1"), 0),
					unix.Link(base+"/open/f", base+"/open/g"),
					unix.Rename(base+"/open/f", base+"/open/renamed"),
					unix.Utimes(base+"/ro/f", []unix.Timeval{{Sec: 1}, {Sec: 1}}),
				} {
					answers[side] = append(answers[side], fmt.Sprintf("%d %s", i, errnoName(errnoOf(err))))
				}
			})
			side = 1
		})
		if a, b := strings.Join(answers[0], ", "), strings.Join(answers[1], ", "); a != b {
			t.Errorf("as a plain user:\nbelow %s\nunion %s", a, b)
		}
	})
}

// TestSetgidGoesWithAnACL: an ACL set by an owner outside the file's group takes
// setgid away, one set by a member or by root does not. It always stayed.
func TestSetgidGoesWithAnACL(t *testing.T) {
	need(t, "setfacl")
	eachIO(t, func(t *testing.T, io string) {
		s := bothSides(t, io, func(base string) {
			for _, f := range []string{"outside", "member", "root", "plain"} {
				write(t, base+"/"+f, "x")
				must(t, os.Chown(base+"/"+f, 1234, 4321))
				must(t, unix.Chmod(base+"/"+f, 0o2770))
			}
			mkdir(t, base+"/dir")
			must(t, os.Chown(base+"/dir", 1234, 4321))
			must(t, unix.Chmod(base+"/dir", 0o2777))
		}, func(base string) {
			acl := func(names ...string) {
				for _, n := range names {
					must(t, unix.Setxattr(base+"/"+n, "system.posix_acl_access", []byte("\x02\x00\x00\x00"+
						"\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\x4d\x00\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff"+
						"\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"), 0))
				}
			}
			asUser(t, 1234, 1234, nil, func() { acl("outside", "dir") })
			asUser(t, 1234, 1234, []int{4321}, func() { acl("member") })
			acl("root")
		})
		if lstat(t, s.in("outside")).Mode&unix.S_ISGID != 0 || lstat(t, s.in("member")).Mode&unix.S_ISGID == 0 {
			t.Error("setgid stayed outside the group, or went within it")
		}
	})
}

// TestDefaultACL: what is made in a directory with a default ACL inherits it, whatever the umask says.
func TestDefaultACL(t *testing.T) {
	need(t, "setfacl")
	eachIOInTurn(t, func(t *testing.T, io string) {
		bothSides(t, io, func(base string) {
			for _, d := range []string{"d", "e"} {
				mkdir(t, base+"/"+d)
				mustRun(t, "setfacl", "-d", "-m", "u:77:rwx,g:88:r-x,m::rwx,o::---", base+"/"+d)
			}
			write(t, base+"/d/was-here", "x")
		}, func(base string) {
			for _, mask := range []int{0, 0o77} {
				previous := unix.Umask(mask)
				p := fmt.Sprintf("%s/d/%o-", base, mask)
				must(t, openClose(p+"file", unix.O_CREAT|unix.O_WRONLY))
				must(t, unix.Mkdir(p+"dir", 0o777))
				must(t, openClose(p+"dir/file", unix.O_CREAT|unix.O_WRONLY))
				must(t, unix.Mkfifo(p+"fifo", 0o666))
				must(t, unix.Symlink("x", p+"link"))
				must(t, unix.Mknod(p+"node", unix.S_IFREG|0o777, 0))
				unix.Umask(previous)
			}
			must(t, unix.Rename(base+"/d/was-here", base+"/e/was-here"))
			mustRun(t, "setfacl", "-m", "u:99:rw", base+"/e/was-here")
			must(t, unix.Chmod(base+"/e/was-here", 0o640))
			mustRun(t, "setfacl", "-b", base+"/d")
			mustRun(t, "setfacl", "-k", base+"/e")
		})
	})
}

// TestACLIsObeyed: an ACL of a lower lets in and keeps out, before and after copy-up.
func TestACLIsObeyed(t *testing.T) {
	need(t, "setfacl")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/f", "x")
		must(t, os.Chmod(s.lowers[0]+"/f", 0o644))
		mustRun(t, "setfacl", "-m", "u:1234:rw,u:1235:---", s.lowers[0]+"/f")
		s.mount("--io", io)
		for range 2 {
			asUser(t, 1235, 1235, nil, func() {
				wantErrno(t, "read by the one kept out", openClose(s.in("f"), unix.O_RDONLY), unix.EACCES)
			})
			asUser(t, 1234, 1234, nil, func() {
				wantErrno(t, "write by the one let in", openClose(s.in("f"), unix.O_WRONLY), 0)
			})
			asUser(t, 1236, 1236, nil, func() {
				wantErrno(t, "write by another", openClose(s.in("f"), unix.O_WRONLY), unix.EACCES)
			})
		}
	})
}
