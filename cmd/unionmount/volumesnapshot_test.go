package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fullVolume makes a volume with all kinds of objects and returns what it holds.
func (s *site) fullVolume(name string, create ...string) (want map[string]string) {
	s.t.Helper()
	s.must(append([]string{"volume", "create", name}, create...)...)
	mustShell(s.t, s.data(name, ""), `
mkdir -p dir/deep empty; echo content > file; ln file hard; ln -s dir/deep link; mkfifo fifo; mknod dev c 1 3
truncate -s 4M sparse; echo tail >> sparse; head -c 300000 /dev/urandom > dir/random
setfattr -n user.note -v hello file; setfattr -n trusted.t -v root dir
cp /bin/true caps; setcap cap_net_raw+ep caps; chown 12:34 file dir; chmod 4755 dir/deep
setfacl -m u:99:rwx -d -m u:98:rx dir; touch -d '2001-02-03 04:05:06.789' file empty
chown 1000:1001 .; chmod 2750 .`)
	return s.holds(name)
}

// holds describes what a volume holds.
func (s *site) holds(name string) map[string]string { return describe(s.t, s.data(name, ""), nil) }

func (s *site) wantHolds(name string, want map[string]string) {
	s.t.Helper()
	if d := differences(want, s.holds(name)); d != "" {
		s.t.Errorf("the volume %s:\n%s", name, d)
	}
}

// noRests: nothing staged or half removed is left among the volumes.
func (s *site) noRests() {
	s.t.Helper()
	out := mustRun(s.t, "find", s.root+"/volumes", "(", "-name", ".new-*", "-o", "-name", ".gone-*", "-o", "-name", ".restore-*",
		"-o", "-name", ".fill-*", "-o", "-name", ".unionmount.*", ")")
	if out != "" {
		s.t.Errorf("left behind:\n%s", out)
	}
}

func TestSnapshot(t *testing.T) {
	need(t, "setfacl", "setfattr", "setcap")
	s := newSite(t, 1)
	want := s.fullVolume("db")
	r := s.cli("volume", "snapshot", "create", "db", "before")
	if r.code != 0 || r.stdout != "db@before\n" {
		t.Errorf("snapshot create: %s", r)
	}
	for _, w := range []string{"copy", "copied", "ms"} {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("snapshot create does not say %q: %q", w, r.stderr)
		}
	}
	s.refused(4, []string{"there is one of that name"}, "volume", "snapshot", "create", "db", "before")
	mustShell(t, s.data("db", ""), `echo changed > file; rm -r dir; mkdir new; chmod 700 .`)
	changed := s.holds("db")
	s.must("volume", "snapshot", "create", "db", "after")
	if out := s.must("volume", "snapshot", "ls", "-q"); out != "db@before\ndb@after\n" {
		t.Errorf("snapshot ls -q: %q", out)
	}
	var one struct {
		Volume, Name, CreatedAt, Driver, Method string
		PointInTime                             bool
	}
	must(t, json.NewDecoder(strings.NewReader(s.must("volume", "snapshot", "ls", "db", "--format", "json"))).Decode(&one))
	if one.Volume != "db" || one.Name != "before" || one.Method != "copy" || !one.PointInTime || one.Driver != "local" {
		t.Errorf("snapshot ls: %+v", one)
	}
	s.must("volume", "restore", "db@before")
	s.wantHolds("db", want)
	if st := lstat(t, s.data("db", "sparse")); st.Blocks*512 > 1<<20 {
		t.Errorf("the hole was filled: %d blocks", st.Blocks)
	}
	s.must("volume", "restore", "db@after")
	s.wantHolds("db", changed)
	s.must("volume", "create", "copy", "--from", "db@before", "--label", "k=v")
	s.wantHolds("copy", want)
	s.must("volume", "create", "now", "--from", "db")
	s.wantHolds("now", changed)
	s.refused(4, []string{"there is one already"}, "volume", "create", "now", "--from", "db@before")
	s.refused(4, []string{"there is one already"}, "volume", "create", "db", "--from", "db")
	s.wantHolds("now", changed)
	if size := s.must("volume", "ls", "--size", "--filter", "name=now", "--format", "{{.Size}}"); size == "" {
		t.Error("no size")
	}
	a := s.must("volume", "ls", "--size", "--filter", "name=db", "--format", "{{.Size}}")
	if b := s.must("volume", "ls", "--size", "--filter", "name=now", "--format", "{{.Size}}"); a != b {
		t.Errorf("snapshots count as the volume's data: %s, without them %s", a, b)
	}
	s.noRests()
	events := s.must("events", "--since", "1h", "--until", "0s", "--filter", "type=volume", "--format", "{{.Action}} {{.Actor.ID}}")
	for _, e := range []string{"snapshot db", "restore db", "create copy"} {
		if !strings.Contains(events, e+"\n") {
			t.Errorf("no event %q in\n%s", e, events)
		}
	}
}

// TestSnapshotsKeepTheVolume: rm and prune leave a volume that has some, also with -f.
func TestSnapshotsKeepTheVolume(t *testing.T) {
	s := newSite(t, 1)
	s.must("volume", "create", "db")
	s.must("volume", "snapshot", "create", "db", "s1")
	s.must("volume", "snapshot", "create", "db", "s2")
	s.refused(4, []string{"volume has snapshots - [db@s1, db@s2]", "volume snapshot rm db@s1 db@s2"}, "volume", "rm", "-f", "db")
	s.must("volume", "prune", "-a", "-f")
	s.must("volume", "inspect", "db")
	s.must("volume", "recover")
	s.must("volume", "snapshot", "rm", "db@s1", "db@s2")
	s.noRests()
	s.must("volume", "rm", "db")
}

func TestSnapshotRefusals(t *testing.T) {
	s := newSite(t, 1)
	s.must("volume", "create", "db")
	s.must("volume", "snapshot", "create", "db", "s1")
	for _, c := range []struct {
		code int
		word string
		args []string
	}{
		{3, "no such volume", []string{"snapshot", "create", "nope", "s1"}},
		{2, "snapshot name", []string{"snapshot", "create", "db", "a/b"}},
		{2, "snapshot name", []string{"snapshot", "create", "db", "../x"}},
		{2, "snapshot name", []string{"snapshot", "create", "db", ".."}},
		{3, "no such volume", []string{"snapshot", "ls", "nope"}},
		{3, "no such snapshot", []string{"snapshot", "rm", "db@nope"}},
		{3, "no such volume", []string{"snapshot", "rm", "nope@s1"}},
		{2, "VOLUME@SNAP", []string{"snapshot", "rm", "db"}},
		{2, "snapshot name", []string{"snapshot", "rm", "db@"}},
		{2, "snapshot name", []string{"snapshot", "rm", "db@../../db"}},
		{3, "no such snapshot", []string{"restore", "db@nope"}},
		{2, "VOLUME@SNAP", []string{"restore", "db"}},
		{3, "no such volume", []string{"create", "new", "--from", "nope"}},
		{3, "no such snapshot", []string{"create", "new", "--from", "db@nope"}},
		{2, "--from", []string{"create", "new", "--live"}},
		{2, "invalid option", []string{"create", "new", "--from", "db@s1", "-o", "what=ever"}},
		{5, "not on btrfs", []string{"create", "new", "--from", "db@s1", "-d", "btrfs"}},
	} {
		s.refused(c.code, []string{c.word}, append([]string{"volume"}, c.args...)...)
	}
	wantAbsent(t, s.root+"/volumes/new")
	s.noRests()
}

// TestSnapshotOfUsedVolume: without a driver that freezes it, a volume that a running
// mount has is copied only if one says so, and such a copy says what it is.
func TestSnapshotOfUsedVolume(t *testing.T) {
	s := volumeSite(t, "fuse", "db:/srv/db")
	write(t, s.in("srv/db/f"), "one\n")
	s.refused(4, []string{"in use - [m]", "--live"}, "volume", "snapshot", "create", "db", "s1")
	s.refused(4, []string{"in use - [m]", "--live"}, "volume", "create", "copy", "--from", "db")
	r := s.cli("volume", "snapshot", "create", "--live", "db", "s1")
	if r.code != 0 || !strings.Contains(r.stderr, "no point in time") {
		t.Errorf("a live copy does not say so: %s", r)
	}
	if out := s.must("volume", "snapshot", "ls", "--format", "{{.PointInTime}}"); out != "false\n" {
		t.Errorf("PointInTime of a live copy: %q", out)
	}
	s.refused(4, []string{"in use - [m]"}, "volume", "restore", "db@s1")
	r = s.cli("volume", "create", "--live", "copy", "--from", "db")
	if r.code != 0 || r.stdout != "copy\n" || !strings.Contains(r.stderr, "no point in time") {
		t.Errorf("a live copy: %s", r)
	}
	wantContent(t, s.data("copy", "f"), "one\n")
	r = s.cli("volume", "export", "db", "-o", s.dir+"/live.tar.zst")
	if r.code != 0 || !strings.Contains(r.stderr, "no point in time") {
		t.Errorf("an export of a volume in use: %s", r)
	}
	// From a snapshot all is well, also while the volume is in use.
	r = s.cli("volume", "create", "other", "--from", "db@s1")
	if r.code != 0 {
		t.Errorf("from a snapshot: %s", r)
	}
	if used := s.volume("db").UsedBy; len(used) != 1 || used[0].Mount != "m" {
		t.Errorf("a copy is still among those who use it: %+v", used)
	}
	s.umount()
	write(t, s.data("db", "f"), "two\n")
	s.must("volume", "restore", "db@s1") // a stopped mount is fine
	s.must("start", s.name)
	wantContent(t, s.in("srv/db/f"), "one\n")
	s.noRests()
}

// TestSnapshotShares: where the root's file system has reflinks nothing is copied.
func TestSnapshotShares(t *testing.T) {
	need(t, "setfacl", "setfattr", "setcap")
	for _, kind := range []string{"xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, 1)
			s.root = s.diskImage("root-"+kind, "320M", "mkfs."+kind, "-q")
			want := s.fullVolume("db")
			if r := s.cli("volume", "snapshot", "create", "db", "s1"); r.code != 0 || !strings.Contains(r.stderr, "reflink") || !strings.Contains(r.stderr, "shared, 0B copied") {
				t.Errorf("snapshot create: %s", r)
			}
			mustShell(t, s.data("db", ""), `rm -r dir; echo other > file`)
			if r := s.cli("volume", "restore", "db@s1"); r.code != 0 || r.stdout != "db@s1\n" || !strings.Contains(r.stderr, "shared, 0B copied") {
				t.Errorf("restore: %s", r)
			}
			s.wantHolds("db", want)
			s.noRests()
		})
	}
}

// TestSnapshotOfBtrfs: the driver freezes a volume in use at one instant, and gives
// it back; a database's pair of files never disagrees.
func TestSnapshotOfBtrfs(t *testing.T) {
	need(t, "btrfs", "setfacl", "setfattr", "setcap")
	s := newSite(t, 1)
	s.root = s.diskImage("root-btrfs", "320M", "mkfs.btrfs", "-q")
	want := s.fullVolume("db", "-d", "btrfs")
	if r := s.cli("volume", "snapshot", "create", "db", "s1"); r.code != 0 || !strings.Contains(r.stderr, "btrfs snapshot") {
		t.Errorf("snapshot create: %s", r)
	}
	mustShell(t, s.data("db", ""), `rm -r dir; echo other > file`)
	s.must("volume", "restore", "db@s1")
	s.wantHolds("db", want)
	s.must("volume", "create", "clone", "--from", "db@s1")
	s.wantHolds("clone", want)
	if d := s.volume("clone").Driver; d != "btrfs" {
		t.Errorf("the clone's driver is %s", d)
	}
	s.must("volume", "create", "plain", "-d", "local", "--from", "db@s1")
	s.wantHolds("plain", want)
	if d := s.volume("plain").Driver; d != "local" {
		t.Errorf("the plain copy's driver is %s", d)
	}
	s.must("volume", "create", "second", "-d", "btrfs", "--from", "plain")
	s.wantHolds("second", want)

	mnt := s.mountAt("user", "db:/db")
	writer := exec.Command("sh", "-c", `i=0; while [ -e "$1/go" ]; do i=$((i+1)); echo $i > "$1/a.new"; mv "$1/a.new" "$1/a"; echo $i > "$1/b.new"; mv "$1/b.new" "$1/b"; done`, "sh", mnt+"/db")
	write(t, mnt+"/db/go", "")
	must(t, writer.Start())
	for i := range 5 {
		time.Sleep(50 * time.Millisecond)
		name := fmt.Sprintf("live%d", i)
		s.must("volume", "snapshot", "create", "db", name)
		if out := s.must("volume", "snapshot", "ls", "db", "--format", "{{.Name}} {{.PointInTime}}"); !strings.Contains(out, name+" true\n") {
			t.Errorf("snapshot ls: %q", out)
		}
		var a, b int
		at := s.root + "/volumes/db/snapshots/" + name + "/_data/"
		for file, n := range map[string]*int{"a": &a, "b": &b} {
			text, err := os.ReadFile(at + file)
			must(t, err)
			_, err = fmt.Sscan(string(text), n)
			must(t, err)
		}
		if a != b && a != b+1 {
			t.Errorf("%s has a = %d, b = %d: not of one instant", name, a, b)
		}
		wantErrno(t, "a write to a snapshot", os.WriteFile(at+"x", nil, 0o600), unix.EROFS)
	}
	r := s.cli("volume", "export", "db", "-o", s.dir+"/x.tar.zst")
	if r.code != 0 || strings.Contains(r.stderr, "no point in time") {
		t.Errorf("an export by way of a snapshot: %s", r)
	}
	s.refused(4, []string{"in use - [user]"}, "volume", "restore", "db@s1")
	must(t, os.Remove(mnt+"/db/go"))
	must(t, writer.Wait())
	s.must("umount", "user")
	s.must("rm", "user")
	s.noRests()
	for _, id := range strings.Fields(s.must("volume", "snapshot", "ls", "-q")) {
		s.must("volume", "snapshot", "rm", id)
	}
	s.must("volume", "rm", "db", "clone", "plain", "second")
	if out := mustRun(t, "btrfs", "subvolume", "list", s.root); out != "" {
		t.Errorf("subvolumes are left:\n%s", out)
	}
}

// TestSnapshotOfAFileSystem: a volume whose root must stay is copied, and restored name by name.
func TestSnapshotOfAFileSystem(t *testing.T) {
	need(t, "mkfs.ext4", "losetup", "setfacl", "setfattr", "setcap")
	s := newSite(t, 1)
	image := s.dir + "/image"
	mustRun(t, "truncate", "-s", "64M", image)
	mustRun(t, "mkfs.ext4", "-q", image)
	loop := strings.TrimSpace(mustRun(t, "losetup", "--find", "--show", image))
	t.Cleanup(func() { run(t, "losetup", "-d", loop) })
	s.must("volume", "create", "disk", "-o", "type=ext4", "-o", "device="+loop)
	mnt := s.mountAt("one", "disk:/d")
	mustShell(t, mnt+"/d", `echo one > f; mkdir d; ln -s f l; chown 5:6 .; chmod 710 .`)
	s.must("umount", "one")
	s.must("volume", "snapshot", "create", "disk", "s1")
	if m := mountsBelow(s.root); len(m) > 0 {
		t.Errorf("still mounted after a snapshot: %v", m)
	}
	s.must("start", "one")
	mustShell(t, mnt+"/d", `echo two > f; rmdir d; mkdir other; chmod 755 .`)
	s.must("umount", "one")
	s.must("volume", "restore", "disk@s1")
	s.must("volume", "create", "copy", "--from", "disk@s1")
	wantListing(t, s.data("copy", ""), "d", "f", "l", "lost+found")
	s.must("start", "one")
	wantListing(t, mnt+"/d", "d", "f", "l", "lost+found")
	wantContent(t, mnt+"/d/f", "one\n")
	if st := lstat(t, mnt+"/d"); st.Uid != 5 || st.Gid != 6 || st.Mode&0o7777 != 0o710 {
		t.Errorf("the root is %d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	s.must("umount", "one")
	if m := mountsBelow(s.root); len(m) > 0 {
		t.Errorf("still mounted: %v", m)
	}
}

// TestServeCreateFrom: a client of the plugin makes a volume of a snapshot by an option.
func TestServeCreateFrom(t *testing.T) {
	s := newSite(t, 1)
	s.must("volume", "create", "db")
	write(t, s.data("db", "f"), "kept\n")
	s.must("volume", "snapshot", "create", "db", "s1")
	write(t, s.data("db", "f"), "changed\n")
	socket := s.dir + "/s.sock"
	s.serve(socket)
	for body, want := range map[string]string{
		`{"Name":"fromsnap","Opts":{"from":"db@s1"}}`: "kept\n",
		`{"Name":"fromdb","Opts":{"from":"db"}}`:      "changed\n",
	} {
		if status, answer := ask(t, socket, "VolumeDriver.Create", body); status != 200 || strings.Contains(answer, "Err\":\"") && !strings.Contains(answer, `"Err":""`) {
			t.Errorf("%s: %d %s", body, status, answer)
			continue
		}
		var q struct{ Name string }
		must(t, json.Unmarshal([]byte(body), &q))
		wantContent(t, s.data(q.Name, "f"), want)
	}
	if _, answer := ask(t, socket, "VolumeDriver.Create", `{"Name":"other","Opts":{"from":"db@nope"}}`); !strings.Contains(answer, "no such snapshot") {
		t.Errorf("from no snapshot: %s", answer)
	}
}
