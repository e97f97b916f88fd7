package main_test

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestExportImport(t *testing.T) {
	need(t, "setfacl", "setfattr", "setcap", "tar")
	s := newSite(t, 1)
	want := s.fullVolume("db")
	file := s.dir + "/db.tar.zst"
	r := s.cli("volume", "export", "db", "-o", file)
	if r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, "sha256 ") || !strings.Contains(r.stderr, "--devices") {
		t.Fatalf("export: %s", r)
	}
	wantListing(t, s.dir, "db.tar.zst", "lower0", "mnt", "root", "upper", "work")
	r = s.cli("volume", "import", "new", "--devices", file)
	if r.code != 0 || r.stdout != "new\n" || !strings.Contains(r.stderr, "sha256 ") {
		t.Fatalf("import: %s", r)
	}
	s.wantHolds("new", want)
	if st := lstat(t, s.data("new", "sparse")); st.Blocks*512 > 1<<20 {
		t.Errorf("the hole was filled: %d blocks", st.Blocks)
	}
	// through a pipe, into an empty volume that is there, its labels kept
	s.must("volume", "create", "empty", "--label", "k=v")
	mustShell(t, s.dir, `"`+suite.binary+`" --root "`+s.root+`" volume export db | "`+suite.binary+`" --root "`+s.root+`" volume import empty - --devices`)
	s.wantHolds("empty", want)
	if l := s.volume("empty").Labels["k"]; l != "v" {
		t.Errorf("the label is %q", l)
	}
	// of a snapshot
	s.must("volume", "snapshot", "create", "db", "s1")
	write(t, s.data("db", "later"), "later\n")
	s.must("volume", "export", "db@s1", "-o", file)
	s.must("volume", "import", "old", "--devices", file)
	s.wantHolds("old", want)
	s.noRests()
	events := s.must("events", "--since", "1h", "--until", "0s", "--filter", "type=volume", "--format", "{{.Action}} {{.Actor.ID}}")
	for _, e := range []string{"export db", "import new", "create new"} {
		if !strings.Contains(events, e+"\n") {
			t.Errorf("no event %q in\n%s", e, events)
		}
	}
}

// TestImportOtherTars: those of tar have no checksum, and import says so.
func TestImportOtherTars(t *testing.T) {
	need(t, "setfacl", "setfattr", "setcap", "tar")
	s := newSite(t, 1)
	want := s.fullVolume("db")
	mustRun(t, "tar", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-S", "-c", "-z", "-f", s.dir+"/t.tgz", "-C", s.data("db", ""), ".")
	r := s.cli("volume", "import", "new", "--devices", s.dir+"/t.tgz")
	if r.code != 0 || !strings.Contains(r.stderr, "no checksum") {
		t.Fatalf("import of a tar: %s", r)
	}
	s.wantHolds("new", want)
}

// TestImportRefusals: nothing of what is refused is left, in a new volume or in one that was there.
func TestImportRefusals(t *testing.T) {
	s := newSite(t, 1)
	s.must("volume", "create", "empty")
	s.must("volume", "create", "full")
	write(t, s.data("full", "f"), "mine\n")
	write(t, s.dir+"/victim", "whole\n")
	good := forged(t)
	s.must("volume", "export", "full", "-o", s.dir+"/ok.zst")
	ours, err := os.ReadFile(s.dir + "/ok.zst")
	must(t, err)
	for name, c := range map[string]struct {
		archive []byte
		words   []string
	}{
		"dots":          {forged(t, tar.Header{Name: "../victim", Typeflag: tar.TypeReg}), []string{"leads out"}},
		"absolute":      {forged(t, tar.Header{Name: s.dir + "/victim", Typeflag: tar.TypeReg}), []string{"absolute"}},
		"symlink":       {forged(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), []string{"--outward-links"}},
		"hard link":     {forged(t, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "../../full/_data/f"}), []string{"hard link out"}},
		"device":        {forged(t, tar.Header{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}), []string{"--devices"}},
		"through links": {forged(t, tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "ours"}, tar.Header{Name: "s/f", Typeflag: tar.TypeReg}), []string{"no directory"}},
		"twice":         {forged(t, tar.Header{Name: "ours", Typeflag: tar.TypeReg}), []string{"twice"}},
		"cut":           {ours[:len(ours)-20], []string{"cut short"}},
		"cut tar":       {good[:len(good)-1024], []string{"cut short"}},
		"changed":       {append(append([]byte{}, ours[:len(ours)/2]...), append([]byte{ours[len(ours)/2] ^ 1}, ours[len(ours)/2+1:]...)...), nil},
		"garbage":       {bytes.Repeat([]byte("garbage "), 500), []string{"no tar"}},
		"nothing":       {nil, []string{"empty"}},
	} {
		file := s.dir + "/archive"
		must(t, os.WriteFile(file, c.archive, 0o600))
		for _, volume := range []string{"new", "empty"} {
			r := s.cli("volume", "import", volume, file)
			checkRefusal(t, r, 1, append(c.words, "nothing of it was kept"), []string{"import", name})
		}
		wantAbsent(t, s.root+"/volumes/new")
		wantListing(t, s.data("empty", ""))
		wantContent(t, s.dir+"/victim", "whole\n")
		wantContent(t, s.data("full", "f"), "mine\n")
		s.noRests()
	}
	must(t, os.WriteFile(s.dir+"/archive", good, 0o600))
	s.refused(4, []string{"isn't empty"}, "volume", "import", "full", s.dir+"/archive")
	wantListing(t, s.data("full", ""), "f")
	s.refused(2, []string{"--max-size"}, "volume", "import", "new", "--max-size", "much", s.dir+"/archive")
	s.refused(2, nil, "volume", "import", "../x", s.dir+"/archive")
	s.refused(1, []string{"no such file"}, "volume", "import", "new", s.dir+"/missing")
	s.refused(3, []string{"no such volume"}, "volume", "export", "nope", "-o", s.dir+"/out")
	wantAbsent(t, s.dir+"/out")
	s.refused(1, []string{"no such file"}, "volume", "export", "full", "-o", s.dir+"/missing/out")
	s.mount("-v", "empty:/e:nocopy")
	s.refused(4, []string{"in use - [m]"}, "volume", "import", "empty", s.dir+"/archive")
}

// forged makes a tar: "ours", then the entries.
func forged(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range append([]tar.Header{{Name: "ours", Typeflag: tar.TypeReg}}, entries...) {
		h.Mode = 0o644
		must(t, w.WriteHeader(&h))
	}
	must(t, w.Close())
	return b.Bytes()
}

// TestMoveByPlainUser: below his own root a plain user takes snapshots and moves volumes.
func TestMoveByPlainUser(t *testing.T) {
	s := userSite(t)
	s.userMust(suite.binary, "volume", "create", "db")
	s.userMust("sh", "-ec", `cd "$1"; mkdir d; echo one > d/f; ln d/f h; ln -s d l; chmod 640 h; truncate -s 3M hole; setfattr -n user.a -v b d`, "sh", s.data("db", ""))
	want := s.holds("db")
	s.userMust(suite.binary, "volume", "snapshot", "create", "db", "s1")
	s.userMust("sh", "-ec", `echo two > "$1/d/f"; rm "$1/h"`, "sh", s.data("db", ""))
	s.userMust(suite.binary, "volume", "restore", "db@s1")
	s.wantHolds("db", want)
	s.userMust(suite.binary, "volume", "create", "copy", "--from", "db")
	s.wantHolds("copy", want)
	s.userMust(suite.binary, "volume", "export", "db", "-o", s.dir+"/x.zst")
	s.userMust(suite.binary, "volume", "import", "new", s.dir+"/x.zst")
	s.wantHolds("new", want)
	// what root packed: the content is his, and he hears that the owners are lost
	root := newSite(t, 1)
	root.must("volume", "create", "db")
	write(t, root.data("db", "f"), "of root\n")
	root.must("volume", "export", "db", "-o", s.dir+"/root.zst")
	must(t, os.Chmod(s.dir+"/root.zst", 0o644))
	r := s.asPlainUser(suite.binary, "volume", "import", "roots", s.dir+"/root.zst")
	if r.code != 0 || !strings.Contains(r.stderr, "not kept: 2 owners") {
		t.Errorf("import of root's: %s", r)
	}
	wantContent(t, s.data("roots", "f"), "of root\n")
	s.noRests()
}

// TestExportShowsProgress: on a terminal, and no archive goes to one.
func TestExportShowsProgress(t *testing.T) {
	need(t, "script")
	s := newSite(t, 1)
	s.must("volume", "create", "db")
	mustRun(t, "dd", "if=/dev/urandom", "of="+s.data("db", "f"), "bs=1M", "count=32", "status=none")
	terminal := func(args ...string) (string, error) {
		line := "'" + strings.Join(append([]string{suite.binary, "--root", s.root, "volume"}, args...), "' '") + "'"
		out, err := exec.Command("script", "-q", "-e", "-c", line, "/dev/null").CombinedOutput()
		return string(out), err
	}
	if out, err := terminal("export", "db", "-o", s.dir+"/x"); err != nil || !strings.Contains(out, "exporting") || !strings.Contains(out, "objects") {
		t.Errorf("export on a terminal: %v\n%q", err, out)
	}
	if out, err := terminal("import", "new", s.dir+"/x"); err != nil || !strings.Contains(out, "importing") || !strings.Contains(out, "%") {
		t.Errorf("import on a terminal: %v\n%q", err, out)
	}
	if out, err := terminal("export", "db"); err == nil || !strings.Contains(out, "-o FILE") {
		t.Errorf("an archive to a terminal: %v\n%.300q", err, out)
	}
}
