package main_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// volumeRecord is what volume inspect prints.
type volumeRecord struct {
	CreatedAt, Driver, Mountpoint, Name, Scope string
	Labels, Options                            map[string]string
	Status                                     map[string]any
	UsedBy, LastUsed                           []struct {
		Mount, Since, Path string
		Pid                int
		ReadOnly           bool
	}
}

func (s *site) volume(name string) volumeRecord {
	s.t.Helper()
	var all []volumeRecord
	out := s.must("volume", "inspect", name)
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		s.t.Fatalf("inspect of %s: %v\n%s", name, err, out)
	}
	return all[0]
}

func (s *site) volumes(flags ...string) []string {
	s.t.Helper()
	return strings.Fields(s.must(append([]string{"volume", "ls", "-q"}, flags...)...))
}

// at makes a mountpoint more.
func (s *site) at(name string) string {
	at := s.dir + "/" + name
	mkdir(s.t, at)
	return at
}

var anonymousName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// TestVolumeCreate: Docker's rules for names, existing volumes, drivers and labels, in Docker's words.
func TestVolumeCreate(t *testing.T) {
	s := newSite(t, 1)
	if out := s.must("volume", "create", "db", "--label", "tier=data", "--label", "keep"); out != "db\n" {
		t.Errorf("create printed %q", out)
	}
	if out := s.must("volume", "create", "db", "--label", "other=1"); out != "db\n" {
		t.Errorf("the second create printed %q", out)
	}
	v := s.volume("db")
	if v.Name != "db" || v.Driver != "local" || v.Scope != "local" || v.Mountpoint != s.data("db", "") ||
		len(v.Labels) != 2 || v.Labels["tier"] != "data" || v.Options == nil || len(v.Options) > 0 || v.UsedBy == nil || v.LastUsed == nil {
		t.Errorf("inspect: %+v", v)
	}
	s.must("volume", "create", "bare")
	var raw []map[string]json.RawMessage
	must(t, json.Unmarshal([]byte(s.must("volume", "inspect", "bare")), &raw))
	s.must("volume", "rm", "bare")
	keys := []string{"CreatedAt", "Driver", "Labels", "LastUsed", "Mountpoint", "Name", "Options", "Scope", "UsedBy"}
	if got := slices.Sorted(maps.Keys(raw[0])); !slices.Equal(got, keys) {
		t.Errorf("inspect has the keys %v, want %v", got, keys)
	}
	for key, want := range map[string]string{"Labels": "{}", "Options": "{}", "UsedBy": "[]", "LastUsed": "[]"} {
		if got := string(raw[0][key]); got != want {
			t.Errorf("%s of a volume with none is %s", key, got)
		}
	}
	if at, err := time.Parse(time.RFC3339, v.CreatedAt); err != nil || time.Since(at) > time.Minute {
		t.Errorf("CreatedAt %q", v.CreatedAt)
	}
	if st := lstat(t, s.data("db", "")); st.Mode&0o7777 != 0o755 {
		t.Errorf("_data has mode %o", st.Mode&0o7777)
	}
	anonymous := strings.TrimSpace(s.must("volume", "create"))
	if !anonymousName.MatchString(anonymous) {
		t.Errorf("an anonymous volume is called %q", anonymous)
	}
	if _, ok := s.volume(anonymous).Labels["com.docker.volume.anonymous"]; !ok {
		t.Error("it has no mark")
	}
	s.must("volume", "create", "owned", "-o", "o=uid=1234,gid=4321,mode=0750")
	if st := lstat(t, s.data("owned", "")); st.Uid != 1234 || st.Gid != 4321 || st.Mode&0o7777 != 0o750 {
		t.Errorf("o=uid=,gid=,mode= gave %d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
	}
	for _, c := range []struct {
		code  int
		words []string
		args  []string
	}{
		{2, []string{"volume name is too short, names should be at least two alphanumeric characters"}, []string{"a"}},
		{2, []string{`includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`}, []string{"a/b"}},
		{2, []string{"invalid characters"}, []string{"--", "_x"}},
		{2, []string{"--name and as a positional"}, []string{"--name", "one", "two"}},
		{4, []string{"create db: volume name must be unique", `"local"`}, []string{"db", "-d", "btrfs"}},
		{3, []string{"no-such-driver"}, []string{"xx", "-d", "no-such-driver"}},
		{2, []string{"device"}, []string{"xx", "-o", "type=nfs"}},
		{2, []string{"invalid option"}, []string{"xx", "-o", "odd=1"}},
	} {
		s.refused(c.code, c.words, append([]string{"volume", "create"}, c.args...)...)
	}
	if got := s.volumes(); len(got) != 3 {
		t.Errorf("volumes: %v", got)
	}
	s.refused(3, []string{"get none: no such volume"}, "volume", "inspect", "none")
}

// TestVolumeLs: formats and filters as docker volume ls has them.
func TestVolumeLs(t *testing.T) {
	s := newSite(t, 1)
	s.must("volume", "create", "alpha", "--label", "tier=data")
	s.must("volume", "create", "beta", "--label", "tier=web", "--label", "keep")
	s.must("volume", "create", "ram", "-o", "type=tmpfs", "-o", "device=tmpfs")
	s.mount("-v", "beta:/b", "-v", "beta:/again:ro")
	write(t, s.root+"/volumes/README", "no volume\n")
	for _, c := range []struct {
		want  []string
		flags []string
	}{
		{[]string{"alpha", "beta", "ram"}, nil},
		{[]string{"alpha"}, []string{"--filter", "name=lph"}},
		{[]string{"alpha", "ram"}, []string{"--filter", "name=lph", "-f", "name=ram"}},
		{[]string{"beta"}, []string{"--filter", "label=keep"}},
		{[]string{"alpha"}, []string{"--filter", "label=tier=data"}},
		{[]string{"alpha", "ram"}, []string{"--filter", "label!=keep"}},
		{[]string{"alpha", "ram"}, []string{"--filter", "dangling=true"}},
		{[]string{"beta"}, []string{"--filter", "dangling=false"}},
		{nil, []string{"--filter", "driver=btrfs"}},
	} {
		if got := s.volumes(c.flags...); !slices.Equal(got, c.want) {
			t.Errorf("ls %v: %v, want %v", c.flags, got, c.want)
		}
	}
	s.refused(2, []string{"odd"}, "volume", "ls", "--filter", "odd=1")
	if out := s.must("volume", "ls"); !strings.HasPrefix(out, "DRIVER  VOLUME NAME\nlocal   alpha\n") {
		t.Errorf("the table is\n%s", out)
	}
	write(t, s.in("b/file"), strings.Repeat("x", 36))
	if out := s.must("volume", "ls", "--size", "--format", "{{.Name}} {{.Links}} {{.Size}} {{.Label \"tier\"}}", "-f", "name=beta"); out != "beta 1 36B web\n" {
		t.Errorf("with --size: %q", out)
	}
	var line map[string]string
	if err := json.Unmarshal([]byte(s.must("volume", "ls", "--format", "json", "-f", "name=alpha")), &line); err != nil || line["Labels"] != "tier=data" || line["Size"] != "N/A" || line["Links"] != "N/A" {
		t.Errorf("json: %v, %v", line, err)
	}
	if out := s.must("volume", "inspect", "-f", "{{.Name}} {{.Options.type}}", "ram", "alpha"); out != "ram tmpfs\nalpha <no value>\n" && out != "ram tmpfs\nalpha \n" {
		t.Errorf("inspect -f: %q", out)
	}
	r := s.cli("volume", "inspect", "alpha", "none", "beta")
	if r.code != 3 || !strings.Contains(r.stdout, `"beta"`) {
		t.Errorf("inspect goes on over errors: %s", r)
	}
}

// TestVolumeInUse: rm, also forced, is refused for running, dead and stopped mounts, which are named;
// inspect tells who has it where.
func TestVolumeInUse(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "db:/srv/db", "db:/again:ro")
		pid := s.inspect().Pid
		refused := func() {
			t.Helper()
			for _, flags := range [][]string{{"db"}, {"-f", "db"}} {
				s.refused(4, []string{"remove db: volume is in use - [m]"}, append([]string{"volume", "rm"}, flags...)...)
			}
			s.must("volume", "prune", "-a", "-f")
		}
		write(t, s.in("srv/db/row"), "row\n")
		v := s.volume("db")
		if len(v.UsedBy) != 2 || v.UsedBy[0].Mount != "m" || v.UsedBy[0].Pid != pid || v.UsedBy[0].Path != "/again" || !v.UsedBy[0].ReadOnly ||
			v.UsedBy[1].Path != "/srv/db" || v.UsedBy[1].ReadOnly || v.UsedBy[1].Since == "" {
			t.Errorf("used by %+v", v.UsedBy)
		}
		refused()
		must(t, unix.Kill(pid, unix.SIGKILL))
		s.gone(pid)
		if v := s.volume("db"); len(v.UsedBy) != 2 || v.UsedBy[0].Pid != 0 {
			t.Errorf("after the kill used by %+v", v.UsedBy)
		}
		refused()
		s.must("umount", "m")
		refused()
		wantContent(t, s.data("db", "row"), "row\n")
		s.must("start", "m")
		wantContent(t, s.in("srv/db/row"), "row\n")
		s.umount()
		s.must("rm", "m")
		v = s.volume("db")
		if len(v.UsedBy) != 0 || len(v.LastUsed) != 4 || v.LastUsed[0].Mount != "m" {
			t.Errorf("at the end used by %+v, last used %+v", v.UsedBy, v.LastUsed)
		}
		if out := s.must("volume", "rm", "db"); out != "db\n" {
			t.Errorf("rm printed %q", out)
		}
		s.refused(3, []string{"get db: no such volume"}, "volume", "rm", "db")
		s.must("volume", "rm", "-f", "db")
	})
}

// TestAnonymousVolumes: 64 digits, kept over stop and start, gone with rm -v, with --rm, but never while another mount has them.
func TestAnonymousVolumes(t *testing.T) {
	s := newSite(t, 1)
	s.mount("-v", "/anon", "-v", "named:/named")
	name := s.inspect().Volumes[0].Name
	if !anonymousName.MatchString(name) {
		t.Fatalf("volumes: %+v", s.inspect().Volumes)
	}
	write(t, s.in("anon/f"), "f\n")
	s.remount()
	wantContent(t, s.in("anon/f"), "f\n")
	other := s.at("other")
	s.must("mount", "--name", "other", "--volumes-from", "m:ro", s.lowers[0], other)
	wantContent(t, other+"/anon/f", "f\n")
	wantErrno(t, "write to a volume from :ro", os.WriteFile(other+"/anon/f", nil, 0o644), unix.EROFS)
	s.umount()
	s.must("rm", "-v", "m")
	if got := s.volumes(); !slices.Contains(got, name) {
		t.Fatalf("an anonymous volume that another mount has is gone: %v", got)
	}
	s.must("umount", "other")
	s.must("rm", "-v", "other")
	if got := s.volumes(); !slices.Equal(got, []string{"named"}) {
		t.Errorf("after rm -v: %v", got)
	}
	at := s.at("once")
	s.must("mount", "--name", "once", "--rm", "-v", "/anon", "-v", "named:/n", s.lowers[0], at)
	write(t, at+"/anon/f", "f\n")
	s.must("umount", "once")
	if got := s.volumes(); !slices.Equal(got, []string{"named"}) {
		t.Errorf("after --rm: %v", got)
	}
	if out := s.must("ls", "-aq"); out != "" {
		t.Errorf("mounts: %q", out)
	}
	s.must("mount", "--name", "killed", "--rm", "-v", "/anon", s.lowers[0], at)
	s.name = "killed"
	pid := s.inspect().Pid
	must(t, unix.Kill(pid, unix.SIGKILL))
	s.gone(pid)
	s.must("umount", "killed")
	s.recorded("volume", "named") // before any listing mends it
	s.recorded("mount")
	if got := s.volumes(); !slices.Equal(got, []string{"named"}) {
		t.Errorf("after a kill and umount: %v", got)
	}
	s.must("mount", "--name", "kept", "-v", "/anon", s.lowers[0], at)
	s.must("umount", "kept")
	s.must("rm", "kept")
	if got := s.volumes(); len(got) != 2 {
		t.Errorf("rm without -v: %v", got)
	}
}

// TestRecordsOfMountsThatWent: a mount with --rm goes with its end, and so do its anonymous
// volumes. Their records stayed in the database, more with each, until somebody asked for a list.
func TestRecordsOfMountsThatWent(t *testing.T) {
	s := newSite(t, 1)
	for range 3 {
		s.must("mount", "--name", "once", "--rm", "-v", "/anon", s.lowers[0], s.mnt)
		must(t, os.WriteFile(s.in("anon/f"), nil, 0o600))
		s.must("umount", "once")
	}
	s.must("mount", "--name", "last", "--rm", "-v", "named:/n", s.lowers[0], s.mnt)
	s.recorded("mount", "last")
	s.recorded("volume", "named")
	s.must("umount", "last")
}

// TestVolumeDriverIsMountedWhileUsed: the first use mounts, the last unmounts. What a killed
// daemon had is used as long as its mount is mounted: then the next command unmounts.
func TestVolumeDriverIsMountedWhileUsed(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := newSite(t, 1)
		s.must("volume", "create", "ram", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m")
		mounted := func() bool { return len(mountsBelow(s.root+"/volumes")) > 0 }
		if mounted() {
			t.Fatal("mounted before its first use")
		}
		s.mountVolumes(way, "ram:/ram")
		other := s.at("other")
		s.must("mount", "--name", "other", "--volume-io", way, "-v", "ram:/r", s.lowers[0], other)
		write(t, s.in("ram/f"), "f\n")
		wantContent(t, other+"/r/f", "f\n")
		s.umount()
		if !mounted() {
			t.Error("unmounted while another has it")
		}
		s.must("umount", "other")
		if mounted() {
			t.Error("mounted after its last use")
		}
		s.must("start", "m")
		pid := s.inspect().Pid
		must(t, unix.Kill(pid, unix.SIGKILL))
		s.gone(pid)
		if !mounted() {
			t.Error("a kill can't unmount")
		}
		s.must("volume", "ls")
		if !mounted() {
			t.Error("unmounted while a dead mount has it")
		}
		s.must("umount", "m")
		if mounted() {
			t.Error("mounted after the umount of the dead mount")
		}
		s.must("start", "m")
		pid = s.inspect().Pid
		must(t, unix.Kill(pid, unix.SIGKILL))
		s.gone(pid)
		mustRun(t, "umount", "-l", s.mnt)
		s.must("volume", "ls")
		if mounted() {
			t.Error("the next command left mounted what nobody has any more")
		}
		s.must("umount", "m")
		s.must("rm", "m", "other")
		s.must("volume", "rm", "ram")
	})
}

// TestVolumeRecover: the database is deleted; every volume is back with all that it was.
func TestVolumeRecover(t *testing.T) {
	s := newSite(t, 1)
	s.must("volume", "create", "db", "--label", "k=v")
	s.must("volume", "create", "ram", "-o", "type=tmpfs", "-o", "device=tmpfs")
	anonymous := strings.TrimSpace(s.must("volume", "create"))
	write(t, s.data("db", "row"), "row\n")
	s.mount("-v", "db:/db")
	s.umount()
	before := s.must("volume", "ls", "--format", "json")
	inspected := s.must("volume", "inspect", "db", "ram", anonymous)
	for _, damage := range []func(){
		func() { must(t, os.RemoveAll(s.root+"/catalog")) },
		func() { write(t, s.root+"/catalog/MANIFEST", "garbage") },
		func() {},
	} {
		damage()
		if out := s.must("volume", "recover"); !strings.HasPrefix(out, "recovered 3 volumes and 1 mounts\n") {
			t.Errorf("recover printed %q", out)
		}
		if recorded, want := s.records("volume"), s.directories(); !slices.Equal(recorded, want) {
			t.Errorf("the database has %v, the directories are %v", recorded, want)
		}
		if recorded := s.records("mount"); !slices.Equal(recorded, []string{"m"}) {
			t.Errorf("the database has the mounts %v", recorded)
		}
		if after := s.must("volume", "ls", "--format", "json"); after != before {
			t.Errorf("after:\n%swas:\n%s", after, before)
		}
		if after := s.must("volume", "inspect", "db", "ram", anonymous); after != inspected {
			t.Errorf("after:\n%swas:\n%s", after, inspected)
		}
	}
	// A directory that somebody put there by hand is a volume; one that was taken away isn't.
	must(t, os.RemoveAll(s.root+"/volumes/ram"))
	mustRun(t, "cp", "-a", s.root+"/volumes/db", s.root+"/volumes/copied")
	if got := s.volumes("-f", "label=k"); !slices.Equal(got, []string{"copied", "db"}) {
		t.Errorf("volumes: %v", got)
	}
	if got := s.volumes(); slices.Contains(got, "ram") {
		t.Errorf("volumes: %v", got)
	}
	write(t, s.root+"/volumes/db/options.json", "garbage")
	s.refused(1, []string{"db", "options.json", "untouched"}, "volume", "inspect", "db")
	s.refused(1, []string{"db", "options.json", "untouched"}, "volume", "recover")
	if err := os.RemoveAll(s.root + "/volumes/db/options.json"); err != nil {
		t.Fatal(err)
	}
	s.must("volume", "recover")
	wantContent(t, filepath.Join(s.data("db", "row")), "row\n")
	if got := s.volumes(); !slices.Contains(got, "db") {
		t.Errorf("data without its options is no volume: %v", got)
	}
}
