// Package main_test holds the black-box tests: they know the binary, the
// command line and what a file system has to do, nothing of the code.
package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	tests "github.com/unionmount/unionmount/unionfs/suite"
)

const (
	// commandDeadline bounds every external command: a stuck mount fails a test, it doesn't hang it.
	commandDeadline = 180 * time.Second
	// testDeadline bounds a test's own system calls: after it the connections are aborted.
	testDeadline = 6 * time.Minute
	// patience bounds everything that is waited for.
	patience = 30 * time.Second
)

// suite is what TestMain prepares once; nothing changes it afterwards.
var suite struct {
	dir    string // everything the tests make lies below it
	binary string // the unionmount under test
	self   string // a copy of the test binary that every user can run
	module string // the module's root
}

func TestMain(m *testing.M) {
	if action := os.Getenv("UNIONMOUNT_TEST_CHILD"); action != "" {
		os.Exit(childMain(action, os.Args[1:]))
	}
	os.Exit(suiteMain(m))
}

func suiteMain(m *testing.M) int {
	unix.Umask(0o022)
	dir, err := os.MkdirTemp("", "unionmount-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		suite.dir, err = filepath.EvalSymlinks(dir)
	}
	if err == nil {
		err = tests.WatchRaces(suite.dir + "/races")
	}
	if err == nil {
		err = buildBinary()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot prepare the tests:", err)
		return 1
	}
	code := m.Run()
	if left := survivors(suite.dir); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: left behind by the tests:\n\t%s\n", strings.Join(left, "\n\t"))
		removeSurvivors(suite.dir)
		code = 1
	}
	if tests.Raced(suite.dir + "/races") {
		code = 1
	}
	if err := os.RemoveAll(suite.dir); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: cannot remove the tests' directory:", err)
		code = 1
	}
	return code
}

func buildBinary() error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list -m: %w", err)
	}
	suite.module = strings.TrimSpace(string(out))
	suite.binary = filepath.Join(suite.dir, "unionmount")
	args := []string{"build", "-o", suite.binary}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	suite.self = filepath.Join(suite.dir, "self")
	return os.WriteFile(suite.self, self, 0o755)
}

// need skips a test whose tools are missing; in CI everything must be there.
func need(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			absent(t, "the command "+c+" is not installed")
		}
	}
}

// absent ends a test that this machine can't run: a skip, but a failure in CI.
func absent(t *testing.T, why string) {
	t.Helper()
	tests.Absent(t, why)
}

// result is what a command left.
type result struct {
	stdout, stderr string
	code           int
	err            error // why there is no exit code
}

func (r result) String() string {
	return fmt.Sprintf("exit %d (%v)\nstdout: %s\nstderr: %s", r.code, r.err, r.stdout, r.stderr)
}

// command prepares a command that dies at its deadline.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandDeadline)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// finish runs a prepared command. Output that stays open after the command's
// end (a daemon that kept its caller's pipe) shows as exec.ErrWaitDelay.
func finish(cmd *exec.Cmd) result {
	var out, errs bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &errs
	}
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errs.String(), err: err}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		r.code, r.err = exit.ExitCode(), nil
	default:
		r.code = -1
	}
	return r
}

func run(t *testing.T, name string, args ...string) result {
	t.Helper()
	return finish(command(t, name, args...))
}

// mustRun runs a command that must succeed and returns its standard output.
func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	r := run(t, name, args...)
	if r.code != 0 {
		t.Fatalf("%s %s: %s", name, strings.Join(args, " "), r)
	}
	return r.stdout
}

// mustShell runs a script in dir with sh -e.
func mustShell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := command(t, "sh", "-e", "-c", script)
	cmd.Dir = dir
	r := finish(cmd)
	if r.code != 0 {
		t.Fatalf("in %s: %s\n%s", dir, script, r)
	}
	return r.stdout
}

// eventually polls until done says so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// record is what inspect prints of a mount.
type record struct {
	Name, State string
	Pid         int
	StartedAt   string
	Mountpoint  string
	Layers      []string
	Upper, Work string
	ReadOnly    bool
	IO          string
	Volumes     []recordVolume
}

type recordVolume struct {
	Name, Driver, Source, Destination string
	RW                                bool
	IO                                string
}

// mountsBelow lists the mount points at or below dir, innermost last.
func mountsBelow(dir string) []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 4 {
			if p := unescapeMount(f[4]); p == dir || strings.HasPrefix(p, dir+"/") {
				found = append(found, p)
			}
		}
	}
	return found
}

func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// processesOf lists the processes whose program or arguments name dir, and the
// daemons whose log lies in it: they have neither.
func processesOf(dir string) []int {
	var found []int
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		pid, _ := strconv.Atoi(filepath.Base(p))
		if pid == os.Getpid() {
			continue
		}
		exe, _ := os.Readlink(p + "/exe")
		args, _ := os.ReadFile(p + "/cmdline")
		log, _ := os.Readlink(p + "/fd/2")
		named := strings.HasPrefix(exe, dir+"/") || bytes.Contains(args, []byte(dir+"/")) || strings.HasPrefix(log, dir+"/")
		if named && !ended(pid) {
			found = append(found, pid)
		}
	}
	return found
}

// ended says whether a process is gone, or a zombie that nobody has waited for yet.
func ended(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, ok := strings.Cut(string(data), ") ")
	if !ok || rest[0] != 'Z' && rest[0] != 'X' {
		return false
	}
	// A killed process's other threads may still have its files, and their locks.
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return err != nil || len(threads) <= 1
}

func loopsOf(dir string) []string {
	out, err := exec.Command("losetup", "-l", "-n", "-O", "NAME,BACK-FILE").Output()
	if err != nil {
		return nil
	}
	var found []string
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			found = append(found, f[0])
		}
	}
	return found
}

// survivors says what outlived the tests. Daemons and loop devices go a moment after their mount, so it is patient.
func survivors(dir string) []string {
	var left []string
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		left = nil
		for _, m := range mountsBelow(dir) {
			left = append(left, "mount "+m)
		}
		for _, l := range loopsOf(dir) {
			left = append(left, "loop device "+l)
		}
		for _, p := range processesOf(dir) {
			args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
			left = append(left, fmt.Sprintf("process %d: %s", p, bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

func removeSurvivors(dir string) {
	abortConnections(dir)
	for _, p := range processesOf(dir) {
		unix.Kill(p, unix.SIGKILL)
	}
	detachBelow(dir)
	for _, l := range loopsOf(dir) {
		exec.Command("losetup", "-d", l).Run()
	}
}

// unmount unmounts what the kernel serves; for what is ours there is unionmount umount.
func unmount(t *testing.T, at string) {
	t.Helper()
	must(t, tests.Unmount(at))
}

// detachBelow unmounts everything below dir, in the end lazily.
func detachBelow(dir string) {
	mounts := mountsBelow(dir)
	slices.Reverse(mounts)
	for _, m := range mounts {
		if unix.Unmount(m, unix.UMOUNT_NOFOLLOW) != nil {
			unix.Unmount(m, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
	}
}

// abortConnections ends every FUSE connection below dir: calls that wait for an answer return.
func abortConnections(dir string) {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 5 || !strings.Contains(line, " - fuse") || !strings.HasPrefix(unescapeMount(f[4]), dir+"/") {
			continue
		}
		_, minor, _ := strings.Cut(f[2], ":")
		os.WriteFile("/sys/fs/fuse/connections/"+minor+"/abort", []byte("1"), 0)
	}
}

// decode reads the JSON array that inspect prints.
func decode(t *testing.T, text string) []record {
	t.Helper()
	var records []record
	if err := json.Unmarshal([]byte(text), &records); err != nil {
		t.Fatalf("inspect printed no JSON array: %v\n%s", err, text)
	}
	return records
}
