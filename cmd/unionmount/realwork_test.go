package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// git runs a git command that depends on nobody's configuration.
const git = `git() { command git -c safe.directory='*' -c user.name=tester -c user.email=t@example.org -c protocol.file.allow=always -c gc.auto=0 "$@"; }
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
`

// gitWork works on the clone "base", gitAfterwards looks at it after a remount.
const (
	gitWork = `
cd base
git status --porcelain > ../status; test ! -s ../status
git checkout -q -b work
echo changed >> go.mod; git mv go.sum moved.sum; git add -A; git commit -q -m change
git checkout -q HEAD~1; test -e go.sum; git checkout -q work; test -e moved.sum
git clone -q . ../second
cd ../second
echo more > new; git add new; git commit -q -m more
git push -q origin HEAD:refs/heads/pushed
cd ../base
git merge -q pushed; test -e new
git gc -q --prune=now; git fsck --full --strict
git status --porcelain > ../status; test ! -s ../status
cd ..; rm -rf second; git -C base log --oneline > /dev/null`
	gitAfterwards = "cd base; git fsck --full; git status --porcelain > ../status; test ! -s ../status; rm -rf base"
)

// cloneBase makes the clone in a layer.
func cloneBase(t *testing.T, lower string) {
	t.Helper()
	need(t, "git")
	if _, err := os.Stat(suite.module + "/.git"); err != nil {
		absent(t, "the tests do not run in a clone of the project")
	}
	mustShell(t, lower, git+"git clone -q --no-hardlinks "+suite.module+" base")
}

// TestGit: clone of this project from a lower layer, commits, checkouts, gc and fsck in the union.
func TestGit(t *testing.T) {
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		cloneBase(t, s.lowers[0])
		s.mount("--io", io)
		mustShell(t, s.mnt, git+gitWork)
		s.remount()
		mustShell(t, s.mnt, git+gitAfterwards)
	})
}

// TestGoBuild: this project is built in the union, from a lower layer, and what was built runs there.
func TestGoBuild(t *testing.T) {
	eachIOInTurn(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		mustShell(t, suite.module, `tar -cf - --exclude=./.git --exclude=./bin . | tar -xf - -C `+s.lowers[0])
		s.mount("--io", io)
		mustShell(t, s.mnt, `mkdir tmp; TMPDIR=$PWD/tmp GOFLAGS=-buildvcs=false go build -o bin/built ./cmd/unionmount; bin/built version; go vet ./layers`)
	})
}

// TestSQLite: four writers at once, in both journal modes, on a database that begins in a lower, and on one in a volume,
// which the host reads meanwhile; no row is lost.
func TestSQLite(t *testing.T) {
	need(t, "sqlite3")
	const table = "create table rows(writer, n, text); insert into rows values(-1, 0, 'from the layer');"
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			eachIO(t, func(t *testing.T, io string) {
				s := newSite(t, 1)
				mustRun(t, "sqlite3", s.lowers[0]+"/db", table)
				s.mount("--io", io)
				writers(t, s.in("db"), s.in("db"), mode)
				s.remount()
				wantRows(t, "after a remount", s.in("db"))
			})
			eachWay(t, func(t *testing.T, way string) {
				s := volumeSite(t, way, "data:/srv/data")
				mustRun(t, "sqlite3", s.in("srv/data/db"), table)
				writers(t, s.in("srv/data/db"), s.data("data", "db"), mode)
				s.remount()
				wantRows(t, "after a remount", s.in("srv/data/db"))
				wantListing(t, s.upper)
			})
		})
	}
}

const sqliteWriters, sqliteRows = 4, 50

// writers has four at once write to a database, every other by the second of its names.
func writers(t *testing.T, db, alias, mode string) {
	t.Helper()
	if got := mustRun(t, "sqlite3", "-cmd", ".timeout 120000", db, "pragma journal_mode="+mode); strings.TrimSpace(got) != mode {
		t.Fatalf("journal mode %q", got)
	}
	done := make(chan result, sqliteWriters)
	for w := range sqliteWriters {
		var script strings.Builder
		for n := range sqliteRows {
			fmt.Fprintf(&script, "begin immediate; insert into rows values(%d, %d, hex(randomblob(500))); commit;\n", w, n)
		}
		cmd := command(t, "sqlite3", "-bail", "-cmd", ".timeout 120000", []string{db, alias}[w%2])
		cmd.Stdin = strings.NewReader(script.String())
		go func() { done <- finish(cmd) }()
	}
	for range sqliteWriters {
		if r := <-done; r.code != 0 || r.stderr != "" {
			t.Error(r)
		}
	}
	wantRows(t, "after", db)
	if alias != db {
		wantRows(t, "on the host", alias)
	}
}

func wantRows(t *testing.T, when, db string) {
	t.Helper()
	got := mustRun(t, "sqlite3", "-cmd", ".timeout 120000", db, "pragma integrity_check; select count(*) from rows;")
	if want := fmt.Sprintf("ok\n%d\n", sqliteWriters*sqliteRows+1); got != want {
		t.Errorf("%s: %q, want %q", when, got, want)
	}
}

// fioJob is the command that writes, then reads back and verifies checksums.
func fioJob(dir, engine string) []string {
	size := "8m"
	if os.Getenv("UNIONMOUNT_LONG") != "" {
		size = "512m"
	}
	return []string{"--name=verify", "--directory=" + dir, "--size=" + size, "--numjobs=2", "--rw=randrw", "--bsrange=512-64k", "--ioengine=" + engine,
		"--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--randrepeat=1", "--group_reporting", "--output=" + dir + "/report"}
}

func TestFio(t *testing.T) {
	need(t, "fio")
	for _, engine := range []string{"psync", "mmap"} {
		t.Run("union "+engine, func(t *testing.T) {
			eachIO(t, func(t *testing.T, io string) {
				s := newSite(t, 1)
				s.mount("--io", io)
				mkdir(t, s.in("fio"))
				mustRun(t, "fio", fioJob(s.in("fio"), engine)...)
			})
		})
		t.Run("volume "+engine, func(t *testing.T) {
			eachWay(t, func(t *testing.T, way string) {
				s := volumeSite(t, way, "data:/data")
				mustRun(t, "fio", fioJob(s.in("data"), engine)...)
				wantListing(t, s.upper)
			})
		})
	}
}

// stressors are those of stress-ng's file system class that end soon and say what fails; at full length all of the
// class, for three seconds each.
func stressors(t *testing.T) (names []string, seconds string) {
	t.Helper()
	if os.Getenv("UNIONMOUNT_LONG") == "" {
		return []string{"dentry", "dir", "fallocate", "flock", "fstat", "getdent", "lease", "link", "lockf", "rename", "seek", "symlink", "utime", "xattr"}, "1"
	}
	r := run(t, "stress-ng", "--class", "filesystem?") // prints them and exits with 1
	_, list, ok := strings.Cut(r.stdout+r.stderr, "stressors:")
	if !ok {
		t.Fatalf("stress-ng does not say what the class has: %s", r)
	}
	return strings.Fields(strings.SplitN(list, "\n", 2)[0]), "3"
}

// stressJob is the command that runs one.
func stressJob(dir, stressor, seconds string) []string {
	return []string{"--temp-path", dir, "--verify", "--timeout", seconds, "--" + stressor, "1", "--oom-avoid"}
}

// stress fails the test for what fails in the union and not below.
func stress(t *testing.T, names []string, union, below string, run func(stressor, dir string) result) {
	t.Helper()
	for _, stressor := range names {
		r := run(stressor, union)
		if r.code == 0 {
			continue
		}
		plain := run(stressor, below)
		t.Logf("%s fails in the union with %d, below with %d", stressor, r.code, plain.code)
		if plain.code == 0 {
			t.Errorf("%s fails in the union only: %s", stressor, r)
		}
	}
}

// TestStress: no stressor of stress-ng fails in the union, or in a volume, that does not fail below.
func TestStress(t *testing.T) {
	need(t, "stress-ng")
	names, seconds := stressors(t)
	in := func(t *testing.T, s *site, dir string) {
		mkdir(t, s.dir+"/plain")
		stress(t, names, dir, s.dir+"/plain", func(stressor, dir string) result {
			return run(t, "stress-ng", stressJob(dir, stressor, seconds)...)
		})
	}
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		s.atimes = false // getdent walks the whole machine, the layers themselves too
		s.mount("--io", io)
		in(t, s, s.mnt)
	})
	for _, way := range []string{"bind", "fuse"} {
		aside(t, "volume "+way, func(t *testing.T) {
			s := newSite(t, 1)
			s.atimes = false
			s.mountVolumes(way, "data:/srv/data")
			in(t, s, s.in("srv/data"))
			wantListing(t, s.upper)
		})
	}
}

// TestChrootAndPackages: a small root is lived in, and a package is installed from outside, upgraded and removed by the
// dpkg within.
func TestChrootAndPackages(t *testing.T) {
	need(t, "busybox", "dpkg", "dpkg-deb", "dpkg-split", "tar", "ldconfig", "ldd")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 2)
		root := s.lowers[1]
		mustShell(t, root, `
mkdir -p bin sbin dev etc tmp var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers usr/share
cp "$(command -v busybox)" bin/busybox
for a in $(bin/busybox --list); do test -e bin/$a || ln -s busybox bin/$a; done
mknod -m 666 dev/null c 1 3
for p in dpkg dpkg-deb dpkg-split dpkg-query tar ldconfig; do
	at="$(command -v $p)"; mkdir -p usr/bin; cp -L "$at" usr/bin/
	for l in $(ldd "$at" | grep -o '/[^ :]*lib[^ :]*' | sort -u); do mkdir -p ".${l%/*}"; cp -L "$l" ".$l"; done
done
touch var/lib/dpkg/status var/lib/dpkg/available; echo root:x:0:0::/:/bin/sh > etc/passwd`)
		for _, version := range []string{"1", "2"} {
			mustShell(t, s.dir, `
v=`+version+`; p=pkg$v; mkdir -p $p/DEBIAN $p/usr/share/greeting $p/etc
printf 'Package: greeting\nVersion: %s\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: test\n' $v > $p/DEBIAN/control
printf '#!/bin/sh\necho configured %s >> /var/log-of-package\n' $v > $p/DEBIAN/postinst; chmod 755 $p/DEBIAN/postinst
echo /etc/greeting.conf > $p/DEBIAN/conffiles; echo conf > $p/etc/greeting.conf
for i in 1 2 3 4 5 6 7 8 9; do echo $v-$i > $p/usr/share/greeting/file$i; done
test $v = 1 && echo old > $p/usr/share/greeting/only-old; ln $p/usr/share/greeting/file1 $p/usr/share/greeting/hard
dpkg-deb --root-owner-group -b $p greeting$v.deb`)
		}
		s.mount("--io", io)
		mustRun(t, "dpkg", "--root="+s.mnt, "-i", s.dir+"/greeting1.deb")
		within := func(args ...string) string {
			return mustRun(t, "chroot", append([]string{s.mnt, "/bin/env", "PATH=/usr/bin:/sbin:/bin", "dpkg"}, args...)...)
		}
		wantContent(t, s.in("usr/share/greeting/only-old"), "old\n")
		s.remount()
		mustRun(t, "cp", s.dir+"/greeting2.deb", s.in("tmp/"))
		within("-i", "/tmp/greeting2.deb")
		if out := within("--verify", "greeting"); out != "" {
			t.Errorf("dpkg --verify: %q", out)
		}
		wantContent(t, s.in("usr/share/greeting/hard"), "2-1\n")
		wantContent(t, s.in("var/log-of-package"), "configured 1\nconfigured 2\n")
		wantAbsent(t, s.in("usr/share/greeting/only-old"))
		out := mustRun(t, "chroot", s.mnt, "/bin/sh", "-ec", `
cd /tmp; mkdir a; cp -a /etc a/; find / -xdev -type f | wc -l > count; test $(cat count) -gt 10
tar cf t.tar /usr/share 2>/dev/null; mkdir x; tar xf t.tar -C x; diff -r x/usr/share /usr/share
mv /usr/share /usr/moved; mv /usr/moved /usr/share; rm -rf a x; cat /usr/share/greeting/file9`)
		if out != "2-9\n" {
			t.Errorf("the chroot printed %q", out)
		}
		within("-P", "greeting")
		wantAbsent(t, s.in("usr/share/greeting"))
		s.remount()
		wantAbsent(t, s.in("usr/share/greeting"))
		wantAbsent(t, s.in("etc/greeting.conf"))
	})
}
