package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// shell runs a program in the client's tree and counts it as ops operations.
func (c *client) shell(ops int64, env []string, name string, args ...string) (int64, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, commandError(name, err, out)
	}
	return ops, nil
}

// makeArchive packs the tree the client sees; what is timed is the unpacking.
func makeArchive(c *client) error {
	_, err := c.shell(1, nil, "tar", "-cf", filepath.Join(c.Scratch, "tree.tar"), ".")
	return err
}

func untar(c *client) (int64, error) {
	into := filepath.Join(c.Dir, "unpacked")
	if err := os.Mkdir(into, 0o755); err != nil {
		return 0, err
	}
	return c.shell(1, nil, "tar", "-xf", filepath.Join(c.Scratch, "tree.tar"), "-C", into)
}

// fillGo makes a repository of the Go tree that runs this; its index goes by
// size and time of modification alone, since a union shows its own inode numbers.
func fillGo(dir string, _ int, _ float64) error {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	from := strings.TrimSpace(string(goroot))
	for _, part := range []string{"src", "pkg", "bin", "VERSION", "go.env"} {
		if out, err := exec.Command("cp", "-a", "--no-preserve=ownership", filepath.Join(from, part), dir).CombinedOutput(); err != nil {
			return commandError("copy the Go tree", err, out)
		}
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"config", "core.checkStat", "minimal"}, {"config", "core.trustctime", "false"},
		{"config", "gc.auto", "0"}, {"add", "src"},
		{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "the Go tree"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return commandError("git "+args[0], err, out)
		}
	}
	return os.WriteFile(filepath.Join(dir, ".git/info/exclude"), []byte("pkg\nbin\nVERSION\ngo.env\n.cache\n"), 0o644)
}

func gitStatus(c *client) (int64, error) {
	return c.shell(1, nil, "git", "-c", "safe.directory=*", "status", "--short")
}

// goBuild compiles a package of the standard library and all it needs, with tools, sources and cache in the tree.
func goBuild(c *client) (int64, error) {
	env := []string{"GOROOT=" + c.Dir, "GOCACHE=" + c.Dir + "/.cache", "GOTOOLCHAIN=local", "GOFLAGS=", "GOENV=off",
		"GOPATH=" + c.Dir + "/.cache/path", "CGO_ENABLED=0", "GOWORK=off", "GO111MODULE=off"}
	return c.shell(1, env, c.Dir+"/bin/go", "build", "encoding/json")
}

// firstWrite changes one byte of a large lower file: the price of a copy-up.
func firstWrite(c *client) (int64, error) {
	f, err := os.OpenFile(filepath.Join(c.Dir, dataFile), os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	_, err = f.WriteAt([]byte("x"), 4096)
	return 1, errors.Join(err, f.Close())
}

// sqliteInserts commits rows one by one, each a transaction with its own syncs.
func sqliteInserts(c *client) (int64, error) {
	const rows = 200
	var sql strings.Builder
	sql.WriteString("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);\n")
	for i := range rows {
		fmt.Fprintf(&sql, "INSERT INTO t(v) VALUES('row %d');\n", i)
	}
	return c.shell(rows, nil, "sqlite3", filepath.Join(c.Dir, "bench.db"), sql.String())
}

// PostgreSQL refuses root: its programs run as the plain user then.
func (c *client) postgres(ops int64, program string, args ...string) (int64, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(dirs) == 0 {
		return 0, errors.New("PostgreSQL is not installed")
	}
	line := append([]string{filepath.Join(dirs[len(dirs)-1], program)}, args...)
	if os.Getuid() == 0 {
		line = append([]string{"setpriv", "--reuid", uidWord(plainUser), "--regid", uidWord(plainUser), "--clear-groups"}, line...)
	}
	return c.shell(ops, []string{"LC_ALL=C"}, line[0], line[1:]...)
}

func (c *client) pgData() string   { return filepath.Join(c.Dir, "pgdata") }
func (c *client) pgSocket() string { return filepath.Join(c.Scratch, "pgsocket") }

func startPostgres(c *client) error {
	for _, dir := range []string{c.pgData(), c.pgSocket()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if os.Getuid() != 0 {
			continue
		}
		if err := os.Chown(dir, plainUser, plainUser); err != nil {
			return err
		}
	}
	if _, err := c.postgres(1, "initdb", "-D", c.pgData(), "-U", "bench", "-A", "trust", "-N"); err != nil {
		return err
	}
	options := "-c listen_addresses='' -k " + c.pgSocket()
	if _, err := c.postgres(1, "pg_ctl", "-D", c.pgData(), "-o", options, "-l", c.pgData()+"/log", "-w", "start"); err != nil {
		return err
	}
	_, err := c.postgres(1, "pgbench", "-h", c.pgSocket(), "-U", "bench", "-i", "-q", "-s", "2", "postgres")
	return errors.Join(err)
}

// pgbench runs a fixed number of transactions, two clients at a time.
func pgbench(c *client) (int64, error) {
	const each = 500
	return c.postgres(2*each, "pgbench", "-h", c.pgSocket(), "-U", "bench", "-n", "-c", "2", "-t", fmt.Sprint(each), "postgres")
}

func stopPostgres(c *client) (int64, error) {
	return c.postgres(1, "pg_ctl", "-D", c.pgData(), "-m", "immediate", "-w", "stop")
}
