package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// userWork is a site whose layers are root's, but for the directory "owned", the plain user's, which fill fills;
// he has mounted it and may write to its root.
func userWork(t *testing.T, fill func(owned string)) *site {
	t.Helper()
	need(t, "fusermount3")
	s := userSite(t)
	fill(s.lowers[0] + "/owned")
	mustShell(t, s.lowers[0], fmt.Sprintf("chown -R %d:%d owned", plainUser, plainGroup))
	s.guard()
	s.userMust(suite.binary, "mount", "--name", "m", "-u", s.upper, "--work", s.work, "-v", "vol:/vol", s.lowers[0], s.lowers[1], s.mnt)
	t.Cleanup(func() { s.userMust(suite.binary, "umount", "m") })
	return s
}

func (s *site) userRemount() {
	s.t.Helper()
	s.userMust(suite.binary, "umount", "m")
	s.userMust(suite.binary, "start", "m")
}

// TestGitAsPlainUser: what TestGit does, in a plain user's mount of layers that are root's but for the clone.
func TestGitAsPlainUser(t *testing.T) {
	s := userWork(t, func(owned string) { cloneBase(t, owned) })
	s.userMust("sh", "-ec", "cd "+s.in("owned")+"\n"+git+gitWork)
	s.userRemount()
	s.userMust("sh", "-ec", "cd "+s.in("owned")+"\n"+git+gitAfterwards)
}

// TestGoBuildAsPlainUser: what TestGoBuild does, from a lower of his; what was built runs after a remount, too. Go's caches
// are root's: he has links to what is in them.
func TestGoBuildAsPlainUser(t *testing.T) {
	need(t, "go")
	s := userWork(t, func(owned string) {
		mustShell(t, suite.module, `tar -cf - --exclude=./.git --exclude=./bin . | tar -xf - -C `+owned)
	})
	mustShell(t, s.dir, fmt.Sprintf(`cp -al "$(go env GOCACHE)" cache || { rm -rf cache; mkdir cache; }
cp -al "$(go env GOMODCACHE)" mod || cp -a "$(go env GOMODCACHE)" mod
find cache -type d -exec chown %d:%d {} +`, plainUser, plainGroup))
	s.userMust("sh", "-ec", `
export GOCACHE=$1/cache GOMODCACHE=$1/mod GOPROXY=off GOFLAGS=-buildvcs=false TMPDIR=$2/tmp
cd "$2"; mkdir tmp; go build -o bin/built ./cmd/unionmount; bin/built version`, "sh", s.dir, s.in("owned"))
	s.userRemount()
	if out := s.userMust(s.in("owned/bin/built"), "version"); out != "unionmount dev\n" {
		t.Errorf("what was built prints %q", out)
	}
}

// TestSQLiteAsPlainUser: four writers at once, in both journal modes, in the union from a lower and in a volume.
func TestSQLiteAsPlainUser(t *testing.T) {
	need(t, "sqlite3")
	const table = "create table rows(writer, n, text); insert into rows values(-1, 0, 'first');"
	s := userWork(t, func(owned string) { mustRun(t, "sqlite3", owned+"/db", table) })
	var rows strings.Builder
	for n := range 50 {
		fmt.Fprintf(&rows, "begin immediate; insert into rows values(1, %d, hex(randomblob(500))); commit;\n", n)
	}
	write(t, s.dir+"/rows", rows.String())
	must(t, os.Chmod(s.dir+"/rows", 0o644))
	s.userMust("sqlite3", s.in("vol/db"), table)
	for i, mode := range []string{"wal", "delete"} {
		for _, db := range []string{s.in("owned/db"), s.in("vol/db")} {
			s.userMust("sh", "-ec", `
db=$1 rows=$2
sql() { sqlite3 -bail -cmd '.timeout 120000' "$db" "$@"; }
test "$(sql "pragma journal_mode=$3")" = "$3"
pids=; for w in 1 2 3 4; do sql < "$rows" & pids="$pids $!"; done
for p in $pids; do wait $p; done
test "$(sql 'pragma integrity_check')" = ok
test "$(sql 'select count(*) from rows')" = "$4"`, "sh", db, s.dir+"/rows", mode, fmt.Sprint(1+200*(i+1)))
		}
	}
	s.userRemount()
	for _, db := range []string{s.in("owned/db"), s.in("vol/db")} {
		if got := s.userMust("sqlite3", db, "pragma integrity_check; select count(*) from rows;"); got != "ok\n401\n" {
			t.Errorf("%s after a remount: %q", db, got)
		}
	}
}

// TestFioAsPlainUser: by read(2)/write(2) and by mappings, in the union and in a volume.
func TestFioAsPlainUser(t *testing.T) {
	need(t, "fio")
	s := userWork(t, func(string) {})
	for _, engine := range []string{"psync", "mmap"} {
		for _, dir := range []string{s.in("owned"), s.in("vol")} {
			s.userMust("fio", fioJob(dir, engine)...)
		}
	}
}

// TestStressAsPlainUser: no stressor fails in the plain user's union that does not fail for him below.
func TestStressAsPlainUser(t *testing.T) {
	need(t, "stress-ng")
	s := userWork(t, func(string) {})
	mkdir(t, s.dir+"/plain")
	must(t, os.Chown(s.dir+"/plain", plainUser, plainGroup))
	names, seconds := stressors(t)
	stress(t, names, s.in("owned"), s.dir+"/plain", func(stressor, dir string) result {
		return s.asPlainUser("stress-ng", stressJob(dir, stressor, seconds)...)
	})
}
