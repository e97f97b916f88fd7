package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// glusterAddress is of a net for documentation (RFC 5737): GlusterFS takes no
// server called localhost, nor a number of the loopback.
const glusterAddress = "192.0.2.1"

// ownNetwork gives this goroutine, and what it starts, a network of its own with
// nothing but a loopback: no port is anybody else's, and nobody reaches ours.
func ownNetwork(t *testing.T, address string) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with its network
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		absent(t, fmt.Sprint("no network of its own is to be had: ", err))
	}
	mustRun(t, "busybox", "ip", "link", "set", "lo", "up")
	mustRun(t, "busybox", "ip", "addr", "add", address+"/32", "dev", "lo")
}

// glusterServer runs GlusterFS's daemon with everything it has below one directory, and
// the volume "shared" of one brick. It returns what to mount, and where the brick is.
func glusterServer(t *testing.T) (device, brick string) {
	t.Helper()
	dir, err := os.MkdirTemp(suite.dir, "gluster-")
	must(t, err)
	brick = dir + "/brick"
	for _, d := range []string{brick, dir + "/work", dir + "/run", dir + "/log"} {
		mkdir(t, d)
	}
	for _, d := range []string{"/run/gluster", "/run/gluster/snaps"} { // where no option reaches
		if err := os.Mkdir(d, 0o755); err == nil {
			t.Cleanup(func() { os.Remove(d) })
		}
	}
	socket := dir + "/run/cli"
	write(t, dir+"/glusterd.vol", fmt.Sprintf(`volume management
    type mgmt/glusterd
    option working-directory %[1]s/work
    option run-directory %[1]s/run
    option logging-directory %[1]s/log
    option glusterd-sockfile %[2]s
    option transport-type socket
    option transport.socket.bind-address %[3]s
end-volume
`, dir, socket, glusterAddress))
	daemon := command(t, "glusterd", "--no-daemon", "--volfile", dir+"/glusterd.vol", "--log-file", dir+"/log/glusterd", "--pid-file", dir+"/run/pid")
	must(t, daemon.Start())
	t.Cleanup(func() {
		endGluster(t, dir)
		_ = daemon.Wait() // it was killed
		must(t, os.RemoveAll(dir))
	})
	gluster := func(args ...string) result {
		return run(t, "gluster", append([]string{"--mode=script", "--glusterd-sock=" + socket, "--log-file=" + dir + "/log/cli"}, args...)...)
	}
	// Its first start takes some seconds before it answers.
	eventually(t, "glusterd answers", func() bool { return gluster("pool", "list").code == 0 })
	for _, args := range [][]string{{"create", "shared", glusterAddress + ":" + brick, "force"}, {"start", "shared"}} {
		if r := gluster(append([]string{"volume"}, args...)...); r.code != 0 {
			log, _ := os.ReadFile(dir + "/log/glusterd")
			t.Fatalf("gluster volume %v: %s\n%s", args, r, log)
		}
	}
	return glusterAddress + ":/shared", brick
}

// endGluster kills the daemon and the bricks of one directory. A brick's socket is in
// /run/gluster.
func endGluster(t *testing.T, dir string) {
	var sockets []string
	for _, pid := range processesOf(dir) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(string(text), "\x00")
		if i := slices.Index(args, "-S"); i >= 0 && i+1 < len(args) {
			sockets = append(sockets, args[i+1])
		}
		unix.Kill(pid, unix.SIGKILL)
	}
	eventually(t, "GlusterFS has ended", func() bool { return len(processesOf(dir)) == 0 })
	for _, s := range sockets {
		if err := os.Remove(s); err != nil {
			t.Error(err)
		}
	}
}

// TestGlusterFS: two roots, as two hosts have them, share one volume of GlusterFS, with
// the real server: what the one writes the other reads; locks hold between them; the
// first use fills it, and no other does; rm takes the name, not the data.
//
// A fill failed (it knows no RENAME_NOREPLACE), and through a routed volume the other
// host read an empty file: the server's own close came some time after close(2).
func TestGlusterFS(t *testing.T) {
	need(t, "glusterd", "gluster", "glusterfs", "mount.glusterfs", "busybox")
	began := time.Now()
	ownNetwork(t, glusterAddress)
	device, brick := glusterServer(t)
	t.Logf("the server is there after %v", time.Since(began))
	hosts := []*site{newSite(t, 1), newSite(t, 1)}
	one, two := hosts[0], hosts[1]
	for i, s := range hosts {
		write(t, s.lowers[0]+"/data/from-layer", fmt.Sprintf("host %d\n", i))
		s.must("volume", "create", "vol", "-o", "type=glusterfs", "-o", "device="+device, "-o", "o=log-file="+s.dir+"/client.log")
	}
	pairs := [][]string{{"bind", "fuse"}}
	if os.Getenv("UNIONMOUNT_LONG") != "" {
		pairs = append(pairs, []string{"bind", "bind"}, []string{"fuse", "fuse"})
	}
	for _, ways := range pairs {
		for i, s := range hosts {
			s.mountVolumes(ways[i], "vol:/data")
			if _, kind, _ := mountLine(t, s.data("vol", "")); kind != "fuse.glusterfs" {
				t.Errorf("%v: the volume is on %s", ways, kind)
			}
			wantContent(t, s.in("data/from-layer"), "host 0\n")
		}
		sharedByHosts(t, ways, one, two)
		sharedByHosts(t, ways, two, one)
		for _, s := range hosts {
			s.umount()
			if m := mountsBelow(s.root); len(m) > 0 {
				t.Errorf("%v: still mounted: %v", ways, m)
			}
			s.must("rm", s.name)
			s.useUpper(s.upper+"+", s.work+"+")
		}
	}
	one.must("volume", "snapshot", "create", "vol", "before")
	two.mountVolumes("fuse", "vol:/data")
	write(t, two.in("data/from-layer"), "changed\n")
	write(t, two.in("data/more"), "more\n")
	one.must("volume", "restore", "vol@before")
	eventually(t, "the other host sees what was restored", func() bool {
		text, err := os.ReadFile(two.in("data/from-layer"))
		return err == nil && string(text) == "host 0\n"
	})
	wantListing(t, two.in("data"), "from-layer")
	one.must("volume", "snapshot", "rm", "vol@before")
	one.must("volume", "rm", "vol") // no host knows of the other's mounts
	wantContent(t, two.in("data/from-layer"), "host 0\n")
	two.umount()
	two.must("rm", two.name)
	two.must("volume", "rm", "vol")
	wantContent(t, filepath.Join(brick, "from-layer"), "host 0\n")
}

// sharedByHosts has one host write and the other look.
func sharedByHosts(t *testing.T, ways []string, from, to *site) {
	t.Helper()
	write(t, from.in("data/d/file"), "first\n")
	wantContent(t, to.in("data/d/file"), "first\n")
	appendTo(t, to.in("data/d/file"), "second\n")
	write(t, from.in("data/d/new"), "new\n")
	must(t, os.Rename(to.in("data/d/new"), to.in("data/d/renamed")))
	since := time.Now()
	eventually(t, "the other host sees it", func() bool {
		text, err := os.ReadFile(from.in("data/d/file"))
		names, _ := os.ReadDir(from.in("data/d"))
		return err == nil && string(text) == "first\nsecond\n" && len(names) == 2 && names[1].Name() == "renamed"
	})
	t.Logf("%v: what was changed shows after %v", ways, time.Since(since))
	for _, kind := range []string{"flock", "posix", "ofd"} {
		// A file each: of a closed flock or OFD lock's end the other host hears later.
		file := "data/d/" + kind
		write(t, from.in(file), "locked\n")
		release := holding(t, kind, from.in(file))
		if r := finish(child(t, kind, to.in(file))); r.code == 0 {
			t.Errorf("%v: %s: locked while the other host holds the lock", ways, kind)
		}
		release()
		eventually(t, kind+" is free again", func() bool { return finish(child(t, kind, to.in(file))).code == 0 })
	}
	must(t, os.RemoveAll(to.in("data/d")))
	eventually(t, "the other host sees that it is gone", func() bool { _, err := os.Lstat(from.in("data/d")); return os.IsNotExist(err) })
}
