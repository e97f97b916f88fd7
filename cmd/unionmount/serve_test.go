package main_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pluginSocket names a socket in Docker's folder, which is there for the test.
func pluginSocket(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/run/docker", "/run/docker/plugins"} {
		if err := os.Mkdir(dir, 0o755); err == nil {
			t.Cleanup(func() { os.Remove(dir) })
		}
	}
	socket := "/run/docker/plugins/" + name + ".sock"
	t.Cleanup(func() { os.Remove(socket) })
	return socket
}

// serve starts `volume serve` for this site's root and waits until it answers.
func (s *site) serve(socket string) *exec.Cmd {
	s.t.Helper()
	return s.serving(socket, exec.Command(suite.binary, "--root", s.root, "volume", "serve", "--socket", socket))
}

// serving starts a server that shall answer at the socket.
func (s *site) serving(socket string, cmd *exec.Cmd) *exec.Cmd {
	s.t.Helper()
	log, err := os.OpenFile(s.dir+"/serve.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	must(s.t, err)
	must(s.t, cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGCONT)
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait() // an error if the test did so
		if s.t.Failed() {
			text, _ := os.ReadFile(s.dir + "/serve.log")
			s.t.Logf("serve: %s", text)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != socket+"\n" {
		text, _ := os.ReadFile(s.dir + "/serve.log")
		s.t.Fatalf("serve printed %q, %v: %s", line, err, text)
	}
	return cmd
}

// ask posts a request of the protocol.
func ask(t *testing.T, socket, method, body string) (status int, answer string) {
	t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	resp, err := c.Post("http://plugin/"+method, "application/json", strings.NewReader(body))
	if err != nil {
		t.Errorf("%s: %v", method, err)
		return 0, ""
	}
	defer resp.Body.Close()
	line, _ := bufio.NewReader(resp.Body).ReadString('\n')
	return resp.StatusCode, line
}

// TestServeProtocol: each method, as a client sees it on the wire.
func TestServeProtocol(t *testing.T) {
	s := newSite(t, 0)
	socket := s.dir + "/p.sock"
	p := s.serve(socket)
	st := lstat(t, socket)
	if st.Mode&0o777 != 0o600 || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		t.Errorf("the socket's mode is %o", st.Mode)
	}
	s.refused(4, []string{"another process serves"}, "volume", "serve", "--socket", s.dir+"/other.sock")
	data := s.root + "/volumes/vol/_data"
	for _, c := range []struct {
		method, body string
		status       int
		has          string
	}{
		{"Plugin.Activate", "", 200, `{"Implements":["VolumeDriver"],"Err":""}`},
		{"VolumeDriver.Capabilities", "{}", 200, `"Scope":"local"`},
		{"VolumeDriver.List", "{}", 200, `{"Err":""}`},
		{"VolumeDriver.Create", `{"Name":"vol","Opts":null}`, 200, `{"Err":""}`},
		{"VolumeDriver.Create", `{"Name":"vol","Opts":{}}`, 200, `{"Err":""}`},
		{"VolumeDriver.Create", `{"Name":"bad/name"}`, 500, `invalid characters`},
		{"VolumeDriver.Create", `{"Name":""}`, 500, `"Err":"`},
		{"VolumeDriver.Create", `{"Name":"v2","Opts":{"colour":"red"}}`, 500, `invalid option`},
		{"VolumeDriver.Get", `{"Name":"vol"}`, 200, `"Mountpoint":"` + data + `"`},
		{"VolumeDriver.Get", `{"Name":"none"}`, 500, `no such volume`},
		{"VolumeDriver.Path", `{"Name":"vol"}`, 200, `{"Mountpoint":"` + data + `","Err":""}`},
		{"VolumeDriver.List", "{}", 200, `"Name":"vol"`},
		{"VolumeDriver.Mount", `{"Name":"vol","ID":"one"}`, 200, `{"Mountpoint":"` + data + `","Err":""}`},
		{"VolumeDriver.Mount", `{"Name":"vol","ID":"one"}`, 200, `{"Mountpoint":"` + data + `","Err":""}`},
		{"VolumeDriver.Mount", `{"Name":"vol","ID":"../two"}`, 200, `{"Mountpoint":"` + data + `","Err":""}`},
		{"VolumeDriver.Mount", `{"Name":"none","ID":"one"}`, 500, `no such volume`},
		{"VolumeDriver.Mount", `{"Name":"../etc","ID":"one"}`, 500, `invalid characters`},
		{"VolumeDriver.Remove", `{"Name":"vol"}`, 500, `volume is in use`},
		{"VolumeDriver.Unmount", `{"Name":"vol","ID":"one"}`, 200, `{"Err":""}`},
		{"VolumeDriver.Unmount", `{"Name":"vol","ID":"one"}`, 200, `{"Err":""}`},
		{"VolumeDriver.Remove", `{"Name":"vol"}`, 500, `volume is in use`},
		{"VolumeDriver.Unmount", `{"Name":"vol","ID":"../two"}`, 200, `{"Err":""}`},
		{"VolumeDriver.Remove", `{"Name":"vol"}`, 200, `{"Err":""}`},
		{"VolumeDriver.Remove", `{"Name":"vol"}`, 500, `no such volume`},
		{"VolumeDriver.Get", `garbage`, 400, `not of the protocol`},
		{"VolumeDriver.Nonsense", `{}`, 404, ``},
	} {
		if status, answer := ask(t, socket, c.method, c.body); status != c.status || !strings.Contains(answer, c.has) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.body, status, answer, c.status, c.has)
		}
	}
	wantListing(t, s.root+"/volumes", ".locks")
	must(t, p.Process.Signal(unix.SIGTERM))
	must(t, p.Wait()) // exit 0
	wantAbsent(t, socket)
}

// TestServeDefaultSocket: without --socket it listens where Docker looks for plugins,
// and for root alone.
func TestServeDefaultSocket(t *testing.T) {
	if _, err := os.Lstat("/run/docker/plugins/unionmount.sock"); err == nil {
		absent(t, "a plugin of this machine has the socket")
	}
	socket := pluginSocket(t, "unionmount")
	s := newSite(t, 0)
	p := s.serving(socket, exec.Command(suite.binary, "--root", s.root, "volume", "serve"))
	if st := lstat(t, socket); st.Mode != unix.S_IFSOCK|0o600 {
		t.Errorf("the socket's mode is %o", st.Mode)
	}
	if status, answer := ask(t, socket, "Plugin.Activate", ""); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	must(t, p.Process.Signal(unix.SIGTERM))
	must(t, p.Wait())
	wantAbsent(t, socket)
}

// TestServeAtOnce: many clients create, mount, unmount and remove the same volumes.
func TestServeAtOnce(t *testing.T) {
	s := newSite(t, 0)
	socket := s.dir + "/p.sock"
	s.serve(socket)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			name := fmt.Sprintf("vol%d", i%3)
			for round := range 3 {
				body := fmt.Sprintf(`{"Name":%q,"ID":"c%d.%d"}`, name, i, round)
				if status, answer := ask(t, socket, "VolumeDriver.Create", body); status != 200 {
					t.Errorf("create: %s", answer)
				}
				status, answer := ask(t, socket, "VolumeDriver.Mount", body)
				if status != 200 && !strings.Contains(answer, "no such volume") { // another client removed it just now
					t.Errorf("mount: %s", answer)
				}
				if status == 200 {
					if err := os.WriteFile(s.data(name, fmt.Sprint("f", i)), nil, 0o600); err != nil {
						t.Errorf("a mounted volume: %v", err)
					}
					if _, answer := ask(t, socket, "VolumeDriver.Remove", body); !strings.Contains(answer, "in use") {
						t.Errorf("a mounted volume was removed: %s", answer)
					}
				}
				if status, answer := ask(t, socket, "VolumeDriver.Unmount", body); status != 200 {
					t.Errorf("unmount: %s", answer)
				}
				_, _ = ask(t, socket, "VolumeDriver.Remove", body)
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		_, _ = ask(t, socket, "VolumeDriver.Remove", fmt.Sprintf(`{"Name":"vol%d"}`, i))
	}
	if out := s.must("volume", "ls", "-q"); out != "" {
		t.Errorf("left: %s", out)
	}
}

// killedServer is a server that was killed while its client c1 had the tmpfs mem, with a file in it.
func killedServer(t *testing.T) (s *site, socket string) {
	t.Helper()
	s = newSite(t, 0)
	socket = s.dir + "/p.sock"
	p := s.serve(socket)
	s.must("volume", "create", "mem", "-o", "type=tmpfs", "-o", "device=tmpfs")
	if status, answer := ask(t, socket, "VolumeDriver.Mount", `{"Name":"mem","ID":"c1"}`); status != 200 {
		t.Fatal(answer)
	}
	write(t, s.data("mem", "file"), "in memory\n")
	must(t, p.Process.Kill())
	_ = p.Wait()
	return s, socket
}

// TestServeKilled: a server that is started again after a kill -9 knows its
// clients' holders; what was mounted for them stayed mounted.
func TestServeKilled(t *testing.T) {
	s, socket := killedServer(t)
	s.serve(socket)
	wantContent(t, s.data("mem", "file"), "in memory\n")
	s.refused(4, []string{"in use", "plugin.c1"}, "volume", "rm", "mem")
	if status, answer := ask(t, socket, "VolumeDriver.Unmount", `{"Name":"mem","ID":"c1"}`); status != 200 {
		t.Error(answer)
	}
	if m := mountsBelow(s.root); len(m) > 0 {
		t.Errorf("still mounted: %v", m)
	}
	s.must("volume", "rm", "mem")
}

// TestServeKilledKeepsWhatIsHeld: a container outlives the server, and goes on writing. While
// none ran, rm and prune deleted the volume under it.
func TestServeKilledKeepsWhatIsHeld(t *testing.T) {
	s := newSite(t, 0)
	socket := s.dir + "/p.sock"
	p := s.serve(socket)
	s.must("volume", "create", "vol")
	if status, answer := ask(t, socket, "VolumeDriver.Mount", `{"Name":"vol","ID":"c1"}`); status != 200 {
		t.Fatal(answer)
	}
	must(t, p.Process.Kill())
	_ = p.Wait()
	write(t, s.data("vol", "file"), "by the container\n")
	s.refused(4, []string{"in use", "plugin.c1"}, "volume", "rm", "vol")
	s.refused(4, []string{"in use", "plugin.c1"}, "volume", "rm", "-f", "vol")
	s.must("volume", "prune", "-a", "-f")
	s.copiedLiveOnly("vol", "plugin.c1")
	wantContent(t, s.data("vol", "file"), "by the container\n")
	if used := s.volume("vol").UsedBy; len(used) != 1 || used[0].Mount != "plugin.c1" || used[0].Pid != 0 {
		t.Errorf("UsedBy: %+v", used)
	}
	s.serve(socket)
	if used := s.volume("vol").UsedBy; len(used) != 1 || used[0].Mount != "plugin.c1" || used[0].Pid == 0 {
		t.Errorf("UsedBy of the new server: %+v", used)
	}
	if status, answer := ask(t, socket, "VolumeDriver.Unmount", `{"Name":"vol","ID":"c1"}`); status != 200 {
		t.Error(answer)
	}
	s.must("volume", "rm", "vol")
}

// TestServeCannotResume: what a server that is started again can't have is its holder's
// still. It was forgotten, and rm took it from under the container.
func TestServeCannotResume(t *testing.T) {
	s := newSite(t, 0)
	socket := s.dir + "/p.sock"
	p := s.serve(socket)
	options := map[string][]byte{}
	for _, name := range []string{"again", "never"} {
		s.must("volume", "create", name)
		if status, answer := ask(t, socket, "VolumeDriver.Mount", `{"Name":"`+name+`","ID":"c1"}`); status != 200 {
			t.Fatal(answer)
		}
		var err error
		options[name], err = os.ReadFile(s.root + "/volumes/" + name + "/options.json")
		must(t, err)
	}
	must(t, p.Process.Kill())
	_ = p.Wait()
	for name := range options {
		write(t, s.root+"/volumes/"+name+"/options.json", "garbage")
	}
	s.serve(socket)
	if status, answer := ask(t, socket, "VolumeDriver.Mount", `{"Name":"again","ID":"c1"}`); status != 500 || !strings.Contains(answer, "untouched") {
		t.Errorf("it can't be had: %d %s", status, answer)
	}
	for name, text := range options {
		write(t, s.root+"/volumes/"+name+"/options.json", string(text))
		s.refused(4, []string{"in use", "plugin.c1"}, "volume", "rm", name)
	}
	s.must("volume", "prune", "-a", "-f")
	if status, answer := ask(t, socket, "VolumeDriver.Mount", `{"Name":"again","ID":"c1"}`); status != 200 || !strings.Contains(answer, s.data("again", "")) {
		t.Errorf("the second try: %d %s", status, answer)
	}
	if used := s.volume("again").UsedBy; len(used) != 1 || used[0].Mount != "plugin.c1" || used[0].Pid == 0 {
		t.Errorf("UsedBy: %+v", used)
	}
	for name := range options {
		if status, answer := ask(t, socket, "VolumeDriver.Unmount", `{"Name":"`+name+`","ID":"c1"}`); status != 200 {
			t.Errorf("%s: %s", name, answer)
		}
		if leases, _ := os.ReadDir(s.root + "/volumes/" + name + "/leases"); len(leases) > 0 {
			t.Errorf("a lease of %s is left: %v", name, leases)
		}
		s.must("volume", "rm", name)
	}
}

// TestServePodman: podman uses us as a volume driver: it creates, mounts into a
// container, shows and removes. A container's volume is refused to rm.
func TestServePodman(t *testing.T) {
	need(t, "podman", "runc", "busybox")
	s := newSite(t, 0)
	socket := s.dir + "/p.sock"
	s.serve(socket)
	fs := s.dir + "/fs"
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "etc", "data"} {
		mkdir(t, fs+"/"+d)
	}
	busybox, err := exec.LookPath("busybox")
	must(t, err)
	mustRun(t, "cp", busybox, fs+"/bin/busybox")
	config := fmt.Sprintf(`[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
[engine.volume_plugins]
unionmount = %q
`, socket)
	write(t, s.dir+"/containers.conf", config)
	podman := func(args ...string) result {
		cmd := command(t, "podman", append([]string{"--root", s.dir + "/podman", "--runroot", s.dir + "/run", "--tmpdir", s.dir + "/tmp",
			"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"}, args...)...)
		cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+s.dir+"/containers.conf")
		return finish(cmd)
	}
	mustPodman := func(args ...string) string {
		t.Helper()
		r := podman(args...)
		if r.code != 0 {
			t.Fatalf("podman %s: %s", strings.Join(args, " "), r)
		}
		return r.stdout
	}
	t.Cleanup(func() { podman("rm", "-f", "-a", "-t", "0"); podman("volume", "rm", "-a", "-f") })
	if out := mustPodman("volume", "create", "--driver", "unionmount", "vol"); out != "vol\n" {
		t.Errorf("create printed %q", out)
	}
	s.must("volume", "inspect", "vol")
	if out := mustPodman("volume", "ls", "--format", "{{.Driver}} {{.Name}}"); out != "unionmount vol\n" {
		t.Errorf("podman volume ls: %q", out)
	}
	mustRun(t, "tar", "-C", fs, "-cf", s.dir+"/fs.tar", ".")
	mustPodman("import", s.dir+"/fs.tar", "busy:1") // podman gives no volume back that a container with --rootfs had
	container := func(args ...string) []string {
		return append(append([]string{"run", "--pull", "never", "-v", "vol:/data"}, args...), "busy:1", "/bin/busybox")
	}
	mustPodman(append(container("--rm"), "sh", "-c", "echo by podman >/data/file")...)
	wantContent(t, s.data("vol", "file"), "by podman\n")
	mustPodman(append(container("-d", "--name", "c"), "sleep", "600")...)
	if used := s.inspectVolume("vol").UsedBy; len(used) != 1 || !strings.HasPrefix(used[0].Mount, "plugin.") {
		t.Errorf("UsedBy: %+v", used)
	}
	s.refused(4, []string{"in use", "plugin."}, "volume", "rm", "vol")
	if out := mustPodman("exec", "c", "/bin/busybox", "cat", "/data/file"); out != "by podman\n" {
		t.Errorf("a second container reads %q", out)
	}
	mustPodman("rm", "-f", "-t", "0", "c")
	if used := s.inspectVolume("vol").UsedBy; len(used) > 0 {
		t.Errorf("after the container's end: %+v", used)
	}
	if r := podman("volume", "create", "--driver", "unionmount", "-o", "colour=red", "bad"); r.code == 0 || !strings.Contains(r.stderr, "invalid option") {
		t.Errorf("a bad option: %s", r)
	}
	mustPodman("volume", "rm", "vol")
	wantAbsent(t, s.root+"/volumes/vol")
}

// TestServeInTheWay: what is no plugin's is left alone; a socket that nobody listens on is replaced.
func TestServeInTheWay(t *testing.T) {
	s := newSite(t, 0)
	write(t, s.dir+"/file", "kept\n")
	s.refused(4, []string{"no socket"}, "volume", "serve", "--socket", s.dir+"/file")
	wantContent(t, s.dir+"/file", "kept\n")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.dir + "/taken.sock"})
	must(t, err)
	s.refused(4, []string{"another plugin listens"}, "volume", "serve", "--socket", s.dir+"/taken.sock")
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	s.serve(s.dir + "/taken.sock")
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if status, _ := ask(t, s.dir+"/taken.sock", "Plugin.Activate", ""); status == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody answers")
		}
	}
}
