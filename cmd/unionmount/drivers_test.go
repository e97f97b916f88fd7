package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inspectVolume returns what inspect prints of one volume.
func (s *site) inspectVolume(name string) (v struct {
	Driver, Mountpoint, Scope string
	Options                   map[string]string
	Status                    map[string]any
	UsedBy                    []struct{ Mount string }
}) {
	s.t.Helper()
	text := s.must("volume", "inspect", name)
	if err := json.Unmarshal([]byte(text), &v); err == nil {
		return v
	}
	all := []any{&v}
	must(s.t, json.Unmarshal([]byte(text), &all))
	return v
}

// mountAt mounts a second union of the same lowers, with volumes.
func (s *site) mountAt(name string, specs ...string) (mnt string) {
	s.t.Helper()
	mnt = s.dir + "/" + name
	mkdir(s.t, mnt)
	args := []string{"mount", "--name", name}
	for _, v := range specs {
		args = append(args, "-v", v)
	}
	s.must(append(append(args, s.lowers...), mnt)...)
	return mnt
}

// TestDriverFileSystem: a volume on a file system of its own is mounted by the
// first of two unions, shared, and unmounted by the last; a daemon that was killed
// holds nothing.
func TestDriverFileSystem(t *testing.T) {
	need(t, "losetup", "mkfs.ext4", "truncate")
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/file", "lower\n")
		image := s.dir + "/image"
		mustRun(t, "truncate", "-s", "64M", image)
		mustRun(t, "mkfs.ext4", "-q", image)
		loop := strings.TrimSpace(mustRun(t, "losetup", "--find", "--show", image))
		t.Cleanup(func() { detachBelow(s.dir); run(t, "losetup", "-d", loop) })
		s.must("volume", "create", "disk", "-o", "type=ext4", "-o", "device="+loop, "-o", "o=noatime")
		data := s.root + "/volumes/disk/_data"
		if m := mountsBelow(data); len(m) > 0 {
			t.Errorf("mounted before its first use: %v", m)
		}
		s.mountVolumes(way, "disk:/data")
		second := s.mountAt("second", "disk:/srv:ro")
		write(t, s.in("data/row"), "kept\n")
		wantContent(t, second+"/srv/row", "kept\n")
		if s.inspectVolume("disk").Status["Mounted"] != true {
			t.Error("inspect doesn't say that it is mounted")
		}
		s.umount()
		wantContent(t, second+"/srv/row", "kept\n")
		s.must("umount", "second")
		eventually(t, "the volume is unmounted with its last mount", func() bool { return len(mountsBelow(data)) == 0 })
		wantListing(t, data)

		// Killed: whoever uses it next finds it, and it ends with them.
		s.must("start", "m")
		pid := s.inspect().Pid
		must(t, unix.Kill(pid, unix.SIGKILL))
		s.gone(pid)
		s.must("umount", "m")
		s.must("volume", "ls")
		s.must("start", "m")
		wantContent(t, s.in("data/row"), "kept\n")
		s.umount()
		eventually(t, "it is unmounted again", func() bool { return len(mountsBelow(data)) == 0 })
		s.refused(4, []string{"volume is in use", "second"}, "volume", "rm", "disk")
		s.must("rm", "m", "second")
		s.must("volume", "rm", "disk")
		wantAbsent(t, s.root+"/volumes/disk")
		mustRun(t, "mount", loop, s.mnt)
		wantContent(t, s.mnt+"/row", "kept\n") // rm took the name, not the device's data
	})
}

// TestCreateFromOntoWhatIsThere: a copy is made onto an empty device only, and onto no
// volume that a plugin has already: it was mixed with what was there, and where it failed a
// plugin's volume was removed, with data that nobody had meant, or a half was left.
func TestCreateFromOntoWhatIsThere(t *testing.T) {
	need(t, "losetup", "mkfs.ext4")
	s, other := newSite(t, 0), newSite(t, 0)
	s.must("volume", "create", "near")
	write(t, s.data("near", "row"), "copied\n")
	mustRun(t, "dd", "if=/dev/urandom", "of="+s.data("near", "zz-big"), "bs=1M", "count=9", "status=none")
	plugin := "unionmount-test-has"
	other.serve(pluginSocket(t, plugin))
	other.must("volume", "create", "far")
	write(t, other.data("far", "row"), "there before\n")
	s.refused(4, []string{plugin, `has a volume "far" already`}, "volume", "create", "far", "-d", plugin, "--from", "near")
	wantListing(t, other.data("far", ""), "row")
	wantContent(t, other.data("far", "row"), "there before\n")

	mustShell(t, s.dir, "truncate -s 8M image; mkfs.ext4 -q -m 0 image")
	loop := strings.TrimSpace(mustRun(t, "losetup", "--find", "--show", s.dir+"/image"))
	t.Cleanup(func() { detachBelow(s.dir); run(t, "losetup", "-d", loop) })
	onto := []string{"volume", "create", "disk", "-o", "type=ext4", "-o", "device=" + loop, "--from", "near"}
	holds := func(names ...string) {
		t.Helper()
		mustRun(t, "mount", loop, s.mnt)
		wantListing(t, s.mnt, names...)
		unmount(t, s.mnt)
	}
	s.refused(1, []string{"no space left"}, onto...)
	holds("lost+found")
	mustRun(t, "mount", loop, s.mnt)
	write(t, s.mnt+"/row", "there before\n")
	unmount(t, s.mnt)
	s.refused(4, []string{"there is something in it already"}, onto...)
	holds("lost+found", "row")
	if out := s.must("volume", "ls", "-q"); out != "near\n" {
		t.Errorf("volumes: %q", out)
	}
	if m := mountsBelow(s.root); len(m) > 0 {
		t.Errorf("still mounted: %v", m)
	}
}

// TestDriverTmpfs: in memory, as large as it was told, gone with its last mount.
func TestDriverTmpfs(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		write(t, s.lowers[0]+"/scratch/from-layer", "filled\n")
		s.must("volume", "create", "mem", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,mode=0770,uid=7")
		s.mountVolumes(way, "mem:/scratch")
		wantContent(t, s.in("scratch/from-layer"), "filled\n")
		wantErrno(t, "2 MiB into 1 MiB", os.WriteFile(s.in("scratch/big"), make([]byte, 2<<20), 0o600), unix.ENOSPC)
		s.remount()
		wantListing(t, s.in("scratch"), "from-layer")
	})
}

// TestDriverBind: a directory of the host under a volume's name, which rm leaves alone.
func TestDriverBind(t *testing.T) {
	s := newSite(t, 1)
	host := s.dir + "/host"
	write(t, host+"/file", "host\n")
	s.must("volume", "create", "bound", "-o", "type=none", "-o", "o=bind", "-o", "device="+host)
	s.mountVolumes("fuse", "bound:/b")
	appendTo(t, s.in("b/file"), "and union\n")
	wantContent(t, host+"/file", "host\nand union\n")
	s.umount()
	s.must("rm", "m")
	s.must("volume", "rm", "bound")
	wantListing(t, host, "file")
}

// TestDriverBtrfs: a root on btrfs; quotas hold what the union writes.
func TestDriverBtrfs(t *testing.T) {
	need(t, "btrfs")
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		s.root = s.diskImage("btrfs", "256M", "mkfs.btrfs", "-q")
		mustRun(t, "btrfs", "quota", "enable", s.root)
		write(t, s.lowers[0]+"/srv/from-layer", "filled\n")
		s.must("volume", "create", "db", "-d", "btrfs", "-o", "size=8m")
		s.mountVolumes(way, "db:/srv")
		wantContent(t, s.in("srv/from-layer"), "filled\n")
		if err := os.WriteFile(s.in("srv/big"), make([]byte, 16<<20), 0o600); err == nil {
			f, openErr := os.OpenFile(s.in("srv/big"), os.O_RDWR, 0)
			must(t, openErr)
			err = f.Sync()
			_ = f.Close()
			wantErrno(t, "16 MiB into 8 MiB", err, unix.EDQUOT)
		} else {
			wantErrno(t, "16 MiB into 8 MiB", err, unix.EDQUOT)
		}
		s.umount()
		s.must("rm", "m")
		s.must("volume", "rm", "db")
		if left := mustRun(t, "btrfs", "subvolume", "list", s.root); left != "" {
			t.Errorf("subvolumes are left: %s", left)
		}
	})
}

// TestDriverRefusals: nothing is made of what can't work, and passwords show nowhere.
func TestDriverRefusals(t *testing.T) {
	s := newSite(t, 1)
	write(t, s.lowers[0]+"/file", "x")
	for _, c := range []struct {
		code  int
		words []string
		args  []string
	}{
		{3, []string{`plugin "nope" not found`}, []string{"-d", "nope"}},
		{2, []string{`invalid option: "colour"`}, []string{"-o", "colour=red"}},
		{2, []string{`missing required option: "device"`}, []string{"-o", "type=tmpfs"}},
		{5, []string{"not on btrfs"}, []string{"-d", "btrfs"}},
		{2, []string{"invalid size"}, []string{"-d", "btrfs", "-o", "size=x"}},
		{5, []string{"quota", "-d btrfs"}, []string{"-o", "size=1m"}},
		{5, []string{"lvcreate"}, []string{"-o", "type=lvm", "-o", "device=/dev/none/none"}},
	} {
		s.refused(c.code, c.words, append([]string{"volume", "create", "vv"}, c.args...)...)
		wantAbsent(t, s.root+"/volumes/vv")
	}
	s.must("volume", "create", "net", "-o", "type=cifs", "-o", "device=//127.0.0.1/share", "-o", "o=username=u,password=s3cret")
	if v := s.inspectVolume("net"); v.Options["o"] != "username=u,password=********" {
		t.Errorf("inspect shows %q", v.Options["o"])
	}
	s.guard()
	r := s.refused(1, []string{"failed to mount local volume", "password=********"}, "mount", "-v", "net:/n", s.lowers[0], s.mnt)
	if strings.Contains(r.stderr, "s3cret") {
		t.Error("the password shows")
	}
	for _, wrong := range []string{"volume-opt=type=cifs", "volume-opt=device=//h/s,colour=red"} { // no device, no such key
		r = s.refused(2, []string{"password=********"}, "mount", "--mount", `src=new,dst=/n,"volume-opt=o=username=u,password=s3cret",`+wrong, s.lowers[0], s.mnt)
		if strings.Contains(r.stderr, "s3cret") {
			t.Error("the password shows")
		}
	}
	if m := mountsBelow(s.dir); len(m) > 0 {
		t.Errorf("mounts are left: %v", m)
	}
	if log, err := os.ReadDir(s.root + "/log"); err == nil {
		for _, f := range log {
			if text, _ := os.ReadFile(s.root + "/log/" + f.Name()); strings.Contains(string(text), "s3cret") {
				t.Errorf("the password is in %s", f.Name())
			}
		}
	}
	s.must("volume", "rm", "net")
}

// farVolume is a site with a volume far of a plugin, which is another site's server.
func farVolume(t *testing.T, plugin string) (s, other *site, p *exec.Cmd) {
	t.Helper()
	s, other = newSite(t, 1), newSite(t, 0)
	write(t, s.lowers[0]+"/file", "x")
	p = other.serve(pluginSocket(t, plugin))
	s.must("volume", "create", "far", "-d", plugin)
	return s, other, p
}

// TestHangingPlugin: a plugin that was stopped in the middle (ours, with SIGSTOP)
// keeps up nobody but those who want its volumes.
func TestHangingPlugin(t *testing.T) {
	const plugin = "unionmount-test-hanging"
	s, other, p := farVolume(t, plugin)
	s.must("volume", "create", "near")
	s.mountVolumes("fuse", "far:/far", "near:/near")
	write(t, s.in("far/file"), "over there\n")
	wantContent(t, other.data("far", "file"), "over there\n")
	if v := s.inspectVolume("far"); v.Driver != plugin || v.Mountpoint != other.root+"/volumes/far/_data" || v.Scope != "local" {
		t.Errorf("inspect: %+v", v)
	}
	must(t, p.Process.Signal(unix.SIGSTOP))
	quick := func(what string, limit time.Duration, args ...string) {
		t.Helper()
		start := time.Now()
		s.must(args...)
		if took := time.Since(start); took > limit {
			t.Errorf("%s took %v", what, took)
		}
	}
	quick("ls", 5*time.Second, "volume", "ls")
	quick("inspect of another", 5*time.Second, "volume", "inspect", "near")
	quick("inspect of its own", 20*time.Second, "volume", "inspect", "far")
	quick("umount", 10*time.Second, "umount", "m")
	quick("ls again", 5*time.Second, "volume", "ls")
	if m := mountsBelow(s.mnt); len(m) > 0 {
		t.Errorf("still mounted: %v", m)
	}
	must(t, p.Process.Signal(unix.SIGCONT))
	eventually(t, "the plugin hears of the end", func() bool { return len(other.inspectVolume("far").UsedBy) == 0 })
	s.must("start", "m")
	wantContent(t, s.in("far/file"), "over there\n")
	s.umount()
	s.must("rm", "m")
	s.must("volume", "rm", "far")
	wantAbsent(t, other.root+"/volumes/far")
}

// TestHangingPluginOfKilledDaemon: umount of a mount whose daemon was killed waited a
// minute for a plugin that hangs. What it has is given back at its next use.
func TestHangingPluginOfKilledDaemon(t *testing.T) {
	s, other, p := farVolume(t, "unionmount-test-hangs-later")
	s.mountVolumes("fuse", "far:/far")
	pid := s.inspect().Pid
	must(t, unix.Kill(pid, unix.SIGKILL))
	s.gone(pid)
	must(t, p.Process.Signal(unix.SIGSTOP))
	start := time.Now()
	s.must("umount", "m")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("umount took %v", took)
	}
	must(t, p.Process.Signal(unix.SIGCONT))
	s.must("start", "m")
	if by := other.inspectVolume("far").UsedBy; len(by) != 1 {
		t.Errorf("the plugin's volume is used by %+v", by)
	}
	s.umount()
	eventually(t, "the plugin hears of the end", func() bool { return len(other.inspectVolume("far").UsedBy) == 0 })
	s.must("rm", "m")
	s.must("volume", "rm", "far")
}

// TestPluginThatIsGone: its volume is shown, refused to a mount, and forgotten with rm -f only.
func TestPluginThatIsGone(t *testing.T) {
	const plugin = "unionmount-test-gone"
	s, other, p := farVolume(t, plugin)
	must(t, p.Process.Signal(unix.SIGTERM))
	must(t, p.Wait())
	wantAbsent(t, "/run/docker/plugins/"+plugin+".sock")
	if out := s.must("volume", "ls", "-q"); out != "far\n" {
		t.Errorf("ls: %q", out)
	}
	if v := s.inspectVolume("far"); v.Driver != plugin {
		t.Errorf("inspect: %+v", v)
	}
	s.guard()
	s.refused(3, []string{plugin, "not found"}, "mount", "-v", "far:/far", s.lowers[0], s.mnt)
	s.refused(3, []string{plugin, "not found"}, "volume", "rm", "far")
	s.must("volume", "rm", "-f", "far")
	if names := listing(t, other.root+"/volumes"); !slices.Contains(names, "far") {
		t.Errorf("the plugin's own volume is gone too: %v", names)
	}
}

// TestPluginThatAnswersGarbage: what isn't of the protocol is an error that names the
// plugin; nothing is made of it, and nobody else's volumes are kept up.
func TestPluginThatAnswersGarbage(t *testing.T) {
	s := newSite(t, 1)
	name := "unionmount-test-garbage"
	l, err := net.Listen("unix", pluginSocket(t, name))
	must(t, err)
	var answer atomic.Pointer[string] // to all but the first question; nil: to that, too
	say := func(text string) { answer.Store(&text) }
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := answer.Load()
		switch {
		case text == nil:
			fmt.Fprint(w, "garbage\x00\n\n")
		case strings.HasSuffix(r.URL.Path, "Plugin.Activate"):
			fmt.Fprint(w, `{"Implements": ["VolumeDriver"]}`)
		default:
			fmt.Fprint(w, *text)
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	words := []string{name, "not of the protocol", "garbage"}
	s.refused(1, words, "volume", "create", "far", "-d", name)
	say(`["garbage"]`)
	s.refused(1, words, "volume", "create", "far", "-d", name)
	wantListing(t, s.root+"/volumes", ".locks")
	say(`{"Err": ""}`)
	s.must("volume", "create", "far", "-d", name)
	s.must("volume", "create", "near")
	say(`{"Volume": "garbage", "Mountpoint": 7}`)
	if out := s.must("volume", "ls"); out != "DRIVER                   VOLUME NAME\n"+name+"  far\nlocal                    near\n" {
		t.Errorf("ls:\n%s", out)
	}
	if v := s.inspectVolume("far"); v.Driver != name || !strings.Contains(fmt.Sprint(v.Status["Error"]), "not of the protocol") {
		t.Errorf("inspect: %+v", v)
	}
	if r := s.cli("volume", "inspect", "far", "near"); r.code != 0 || !strings.Contains(r.stdout, `"near"`) {
		t.Errorf("inspect of both: %s", r)
	}
	s.guard()
	s.refused(1, words, "mount", "-v", "far:/far", s.lowers[0], s.mnt)
	s.refused(1, words, "volume", "rm", "far")
	s.must("volume", "rm", "-f", "far")
}
