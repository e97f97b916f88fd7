package transport

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// plain is a file system that does next to nothing, so that what is measured is
// the way to it: a root with one file, nothing of which the kernel may keep.
type plain struct{ fuse.RawFileSystem }

const plainSize = 1 << 20

func (plain) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if name != "file" {
		return fuse.ENOENT
	}
	out.NodeId = 2
	out.SetEntryTimeout(1e15)
	out.Attr = attrOf(2)
	return fuse.OK
}

func attrOf(id uint64) fuse.Attr {
	if id == 1 {
		return fuse.Attr{Ino: 1, Mode: unix.S_IFDIR | 0o755, Nlink: 2}
	}
	return fuse.Attr{Ino: id, Mode: unix.S_IFREG | 0o644, Nlink: 1, Size: plainSize}
}

func (plain) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Attr = attrOf(in.NodeId)
	return fuse.OK
}

func (plain) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

func (plain) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	return fuse.ReadResultData(buf), fuse.OK
}

func (plain) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return uint32(len(data)), fuse.OK
}

func (plain) Init(*fuse.Server) {}
func (plain) OnUnmount()        {}

func TestMain(m *testing.M) {
	if spec := os.Getenv("TRANSPORT_TEST_SERVER"); spec != "" {
		if err := servePlain(spec); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func options() fuse.MountOptions {
	return fuse.MountOptions{MaxWrite: plainSize, MaxBackground: 64, DisableSplice: true, ExplicitDataCacheControl: true, EnableLocks: true,
		Logger: log.New(io.Discard, "", 0), PanicHandler: func(any) fuse.Status { return fuse.EIO }}
}

// switchRing switches FUSE over io_uring on for the time of a test.
func switchRing(t testing.TB) {
	t.Helper()
	const param = "/sys/module/fuse/parameters/enable_uring"
	old, err := os.ReadFile(param)
	if err != nil {
		suite.Absent(t, "needs FUSE over io_uring: Linux 6.14 or later with CONFIG_FUSE_IO_URING")
	}
	if err := os.WriteFile(param, []byte("Y"), 0); err != nil {
		suite.Absent(t, "needs root to switch FUSE over io_uring on: "+err.Error())
	}
	t.Cleanup(func() {
		if err := os.WriteFile(param, old, 0); err != nil {
			t.Error(err)
		}
	})
}

// servePlain serves plain at "WAY:MOUNTPOINT" until it is unmounted.
func servePlain(spec string) error {
	way, mountpoint, _ := strings.Cut(spec, ":")
	o := options()
	fd, err := sys.MountFUSE(mountpoint, "plain", "transport-test", nil, plainSize)
	if err != nil {
		return err
	}
	fs := plain{fuse.NewDefaultRawFileSystem()}
	if way == "go-fuse" {
		server, err := fuse.NewServer(fs, fmt.Sprintf("/dev/fd/%d", fd), &o)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		server.Serve()
		return nil
	}
	s, err := Open(fd, Config{FS: fs, Options: o, Ring: way == string(Ring), Fault: func(what string, err error) { fmt.Fprintln(os.Stderr, what, err) },
		Read: func(_ *fuse.ReadIn, buf []byte, _ bool) (int, fuse.Status) { return len(buf), fuse.OK }})
	if err == nil {
		err = s.Serve()
	}
	if err != nil {
		return err
	}
	if string(s.Kind()) != way {
		return fmt.Errorf("asked for %s, got %s", way, s.Kind())
	}
	fmt.Println("ready")
	s.Wait()
	return nil
}

// peer is plain, served by a process of its own.
func peer(t testing.TB, way string) (mountpoint string, pid int) {
	t.Helper()
	mountpoint = t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "TRANSPORT_TEST_SERVER="+way+":"+mountpoint)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s: not ready: %q %v; %v", way, line, err, cmd.Wait())
	}
	t.Cleanup(func() {
		if err := suite.Unmount(mountpoint); err != nil {
			t.Error(err)
			_ = sys.DetachMount(mountpoint)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return mountpoint, cmd.Process.Pid
}

// ways are what is compared. The ring needs the kernel's parameter.
func ways(t testing.TB) []string {
	w := []string{"go-fuse", string(Device)}
	if on, err := os.ReadFile("/sys/module/fuse/parameters/enable_uring"); err == nil && on[0] == 'Y' {
		w = append(w, string(Ring))
	}
	return w
}

// BenchmarkRoundTrip is one request and its answer, from a client on a thread of its own.
func BenchmarkRoundTrip(b *testing.B) {
	for _, way := range ways(b) {
		m, _ := peer(b, way)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var st unix.Stat_t
		fd, err := unix.Open(m+"/file", unix.O_RDWR, 0)
		if err != nil {
			b.Fatal(err)
		}
		small, big := make([]byte, 4096), make([]byte, plainSize)
		for name, call := range map[string]func() error{
			"lookup":  func() error { _ = unix.Stat(m+"/none", &st); return nil },
			"getattr": func() error { return unix.Fstat(fd, &st) },
			"read4k":  func() error { _, err := unix.Pread(fd, small, 0); return err },
			"write4k": func() error { _, err := unix.Pwrite(fd, small, 0); return err },
			"read1m":  func() error { _, err := unix.Pread(fd, big, 0); return err },
			"write1m": func() error { _, err := unix.Pwrite(fd, big, 0); return err },
		} {
			b.Run(way+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if err := call(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		_ = unix.Close(fd)
	}
}
