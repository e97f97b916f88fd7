package main_test

import (
	"os"
	"strings"
	"testing"
)

// TestMountFuse3: as containerd mounts, by libfuse's mount.fuse3, which runs the
// program of that name in the PATH with options of its own added.
func TestMountFuse3(t *testing.T) {
	need(t, "mount.fuse3")
	s := small(t)
	mkdir(t, s.dir+"/bin")
	must(t, os.Symlink(suite.binary, s.dir+"/bin/fuse-overlayfs"))
	cmd := command(t, "mount.fuse3", "overlay", s.mnt, "-o", "workdir="+s.work, "-o", "upperdir="+s.upper, "-o", "lowerdir="+s.lowers[0], "-t", "fuse-overlayfs")
	cmd.Env = append(os.Environ(), "PATH="+s.dir+"/bin:"+os.Getenv("PATH"), "UNIONMOUNT_ROOT="+s.root)
	cmd.WaitDelay = 0 // containerd reads its output to the end
	if r := finish(cmd); r.code != 0 || r.err != nil {
		t.Fatal(r)
	}
	appendTo(t, s.in("file"), "more\n")
	wantContent(t, s.upper+"/file", "lower\nmore\n")
	pid := s.served()
	mustRun(t, "umount", s.mnt)
	s.gone(pid)
}

// TestMountAll: the fstab line of docs/cli.md, mounted by mount -a, which finds it
// mounted the second time: the first field is what /proc/mounts will say.
func TestMountAll(t *testing.T) {
	installed(t)
	s := small(t)
	fstab := s.dir + "/fstab"
	write(t, fstab, "unionmount "+s.mnt+" fuse.unionmount "+s.options("volume=db:/var/lib/db", "nofail")+" 0 0\n")
	for range 2 {
		mustRun(t, "mount", "-T", fstab, "-a")
		if m := mountsBelow(s.mnt); len(m) != 1 {
			t.Fatalf("mounted: %v", m)
		}
	}
	write(t, s.in("var/lib/db/f"), "x")
	pid := s.served()
	mustRun(t, "umount", s.mnt)
	s.gone(pid)
	mustRun(t, "mount", "-T", fstab, "-f", s.mnt) // fake
	wantListing(t, s.mnt)
}

// TestPodman: containers-storage takes the binary as mount_program, for root: an
// image's layers are unpacked in the form it reads (.wh. files), a container
// writes, podman diffs, commits and removes, and no daemon is left.
func TestPodman(t *testing.T) {
	need(t, "podman", "runc", "busybox")
	s := newSite(t, 0)
	t.Setenv("UNIONMOUNT_ROOT", s.root)
	mustShell(t, s.dir, `mkdir -p img/bin img/etc img/gone img/tmp; cp "$(command -v busybox)" img/bin; for c in sh cat rm ls mv; do ln -s busybox img/bin/$c; done
		echo base >img/etc/f; echo x >img/gone/x; tar -C img -cf img.tar .`)
	podman := func(args ...string) string {
		t.Helper()
		return mustRun(t, "podman", append([]string{"--root", s.dir + "/storage", "--runroot", s.dir + "/run", "--storage-driver", "overlay",
			"--storage-opt", "overlay.mount_program=" + suite.binary, "--runtime", "runc", "--cgroup-manager", "cgroupfs"}, args...)...)
	}
	// This machine's limits may be lower than podman's defaults. A name of hexadecimal
	// digits may be the beginning of the image's number too, and podman diff prefers that.
	container := []string{"run", "--name", "writer", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"}
	podman("import", "-q", s.dir+"/img.tar", "base")
	out := podman(append(container, "base", "/bin/sh", "-c", "cat /etc/f; echo more >>/etc/f; rm -r /gone; mv /etc/f /etc/g; cat /proc/mounts")...)
	if !strings.Contains(out, "base\nunionmount / fuse.unionmount") {
		t.Errorf("the container saw %q", out)
	}
	if out := podman("diff", "writer"); !strings.Contains(out, "A /etc/g") || !strings.Contains(out, "D /etc/f") || !strings.Contains(out, "D /gone") {
		t.Errorf("podman diff: %q", out)
	}
	podman("commit", "-q", "writer", "second")
	podman("rm", "writer")
	if out := podman(append(container, "--rm", "second", "/bin/sh", "-c", "cat /etc/g; ls /")...); out != "base\nmore\nbin\ndev\netc\nproc\nrun\nsys\ntmp\n" {
		t.Errorf("a container of the committed image saw %q", out)
	}
	if left := processesOf(suite.dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}
