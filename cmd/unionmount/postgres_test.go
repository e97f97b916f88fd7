package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// postgresBinaries finds the server's programs, which distributions keep off the PATH.
func postgresBinaries(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/local/bin/postgres", "/usr/bin/postgres"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return filepath.Dir(found[len(found)-1])
		}
	}
	absent(t, "PostgreSQL is not installed")
	return ""
}

// database is a PostgreSQL server that runs as nobody on a data directory.
type database struct {
	t               *testing.T
	s               *site
	bin, data, sock string
	server          *exec.Cmd
}

func (d *database) command(name string, args ...string) *exec.Cmd {
	cmd := command(d.t, "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", d.bin + "/" + name}, args...)...)
	cmd.Dir, cmd.Env = d.sock, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.sock, "LC_ALL=C"}
	return cmd
}

func (d *database) start() {
	d.t.Helper()
	d.server = d.command("postgres", "-D", d.data, "-k", d.sock, "-c", "listen_addresses=")
	log, err := os.OpenFile(d.s.dir+"/postgres.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(d.t, err)
	defer log.Close()
	d.server.Stdout, d.server.Stderr = log, log
	must(d.t, d.server.Start())
	d.t.Cleanup(d.kill)
	eventually(d.t, "PostgreSQL answers", func() bool { return finish(d.psqlCommand("select 1")).code == 0 })
}

func (d *database) psqlCommand(query string) *exec.Cmd {
	return d.command("psql", "-X", "-q", "-t", "-A", "-h", d.sock, "-U", "nobody", "-d", "postgres", "-c", query)
}

func (d *database) query(query string) string {
	d.t.Helper()
	r := finish(d.psqlCommand(query))
	if r.code != 0 {
		d.t.Fatalf("%s: %s", query, r)
	}
	return strings.TrimSpace(r.stdout)
}

// kill ends the server and all that it started, without warning.
func (d *database) kill() {
	children := processesOf(d.data)
	for _, pid := range append(children, d.server.Process.Pid) {
		if p, err := os.FindProcess(pid); err == nil {
			p.Kill()
		}
	}
	d.server.Wait()
}

// newDatabase is a server on a directory that is its user's already.
func newDatabase(s *site, data string) *database {
	s.t.Helper()
	need(s.t, "setpriv")
	d := &database{t: s.t, s: s, bin: postgresBinaries(s.t), data: data, sock: s.at("sock")}
	must(s.t, os.Chown(d.sock, plainUser, plainGroup))
	must(s.t, os.Chmod(d.sock, 0o700))
	return d
}

// fill makes the database and rows in it, and kills the server.
func (d *database) fill() {
	d.t.Helper()
	if r := finish(d.command("initdb", "-D", d.data, "-U", "nobody", "-A", "trust", "--no-sync")); r.code != 0 {
		d.t.Fatal(r)
	}
	d.start()
	d.query("create table t(n int, text text); insert into t select i, repeat('x', 500) from generate_series(1, 5000) i")
	d.query("update t set text = 'y' where n % 3 = 0")
	d.kill()
}

// wantRows starts the server on data, where it lies now, and finds what fill left.
func (d *database) wantRows(data string) {
	d.t.Helper()
	d.data = data
	d.start()
	if got := d.query("select count(*), count(*) filter (where text = 'y') from t"); got != "5000|1666" {
		d.t.Errorf("the rows are %s, want 5000|1666", got)
	}
	d.kill()
}

// TestPostgresOnAVolume: kill everything, drop the mount, its upper and its layers, mount others, and find the rows.
func TestPostgresOnAVolume(t *testing.T) {
	eachWay(t, func(t *testing.T, way string) {
		s := volumeSite(t, way, "pg:/var/lib/pg")
		d := newDatabase(s, s.in("var/lib/pg/data"))
		mkdir(t, d.data)
		must(t, os.Chown(d.data, plainUser, plainGroup))
		must(t, os.Chmod(d.data, 0o700))
		d.fill()
		pid := s.inspect().Pid
		must(t, unix.Kill(pid, unix.SIGKILL))
		s.gone(pid)
		s.must("umount", s.name)
		s.must("rm", s.name)
		s.forget(s.lowers[0])
		for _, gone := range []string{s.lowers[0], s.upper, s.work} {
			must(t, os.RemoveAll(gone))
			mkdir(t, gone)
		}
		write(t, s.lowers[0]+"/other-layer", "x")
		s.name = "other"
		s.mountVolumes(way, "pg:/srv/elsewhere")
		d.wantRows(s.in("srv/elsewhere/data"))
		wantListing(t, s.upper)
	})
}

// TestPostgresAsPlainUser: the same in his own mount, through fusermount3, his own volume and his own server.
func TestPostgresAsPlainUser(t *testing.T) {
	need(t, "fusermount3")
	s := userSite(t)
	s.guard()
	mount := func(name, path string) (at string) {
		at = s.at("at-" + name)
		must(t, os.Chown(at, plainUser, plainGroup))
		s.userMust(suite.binary, "mount", "--name", name, "-v", "pg:"+path, s.lowers[0], s.lowers[1], at)
		t.Cleanup(func() { s.asPlainUser(suite.binary, "umount", name) })
		return at + path
	}
	data := mount("first", "/var/lib/pg") + "/data"
	s.userMust("mkdir", "-m", "700", data)
	d := newDatabase(s, data)
	d.fill()
	pid := decode(t, s.userMust(suite.binary, "inspect", "first"))[0].Pid
	must(t, unix.Kill(pid, unix.SIGKILL))
	s.gone(pid)
	s.userMust(suite.binary, "umount", "first")
	s.userMust(suite.binary, "rm", "first") // with its upper
	d.wantRows(mount("second", "/srv/elsewhere") + "/data")
}
