package driver

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// group makes a volume group of one sparse disk.
func group(t *testing.T, name string) {
	t.Helper()
	image := in(t.TempDir(), "disk")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 2<<30))
	loop := runCommand(t, "losetup", "--find", "--show", image)
	runCommand(t, "pvcreate", "--yes", loop)
	runCommand(t, "vgcreate", name, loop)
}

// TestGuestLVM: a logical volume's life; a snapshot of it while it is written to;
// what we made goes with Remove and what the user made stays.
func TestGuestLVM(t *testing.T) {
	needGuest(t)
	group(t, "vg")
	runCommand(t, "lvcreate", "--yes", "-n", "thick", "-L", "64m", "vg")
	runCommand(t, "mkfs.ext4", "-q", "/dev/vg/thick")
	runCommand(t, "lvcreate", "--yes", "--type", "thin-pool", "-n", "pool", "-L", "800m", "vg")
	runCommand(t, "lvcreate", "--yes", "-n", "thin", "-V", "400m", "--thinpool", "pool", "vg")
	runCommand(t, "mkfs.xfs", "-q", "/dev/vg/thin")
	for _, name := range []string{"thick", "thin"} {
		t.Run(name, func(t *testing.T) {
			v, d := created(t, Local, map[string]string{"type": "lvm", "device": "/dev/vg/" + name})
			unmounted(t, d)
			file := in(mounted(t, d), "file")
			must(t, os.WriteFile(file, []byte("before"), 0o644))
			open1, err := os.OpenFile(file, os.O_RDWR, 0)
			must(t, err)
			defer open1.Close()

			snap := Volume{Name: "snap", Driver: Local, Dir: t.TempDir()}
			must(t, taken(t, d.(Snapshotter), &snap, true))
			_, err = open1.WriteString("after!")
			must(t, err)
			s := open(t, snap)
			unmounted(t, s)
			frozen := mounted(t, s)
			if text, err := os.ReadFile(in(frozen, "file")); string(text) != "before" {
				t.Errorf("the snapshot has %q, %v", text, err)
			}
			if err := os.WriteFile(in(frozen, "new"), nil, 0o644); err == nil {
				t.Error("the snapshot was written to")
			}
			if err := open(t, Volume{Dir: t.TempDir(), Options: snap.Options}).Create(t.Context()); !errors.Is(err, ErrInUse) {
				t.Errorf("a volume of the snapshot's device = %v", err)
			}
			clone := Volume{Name: "clone", Driver: Local, Dir: t.TempDir()}
			err = taken(t, s.(Snapshotter), &clone, false)
			if name == "thick" {
				if !errors.Is(err, ErrUnsupported) {
					t.Errorf("a snapshot of a snapshot = %v", err)
				}
			} else {
				must(t, err)
				c := open(t, clone)
				path := mounted(t, c)
				must(t, os.WriteFile(in(path, "file"), []byte("cloned"), 0o644))
				must(t, c.Remove(t.Context()))
			}
			must(t, s.Remove(t.Context()))
			must(t, s.Remove(t.Context()))
			must(t, open1.Close())
			runCommand(t, "lvchange", "--addtag", lvmTag, "vg/"+name) // a person's tag proves nothing
			must(t, d.Remove(t.Context()))
			if left := runCommand(t, "lvs", "--noheadings", "-o", "lv_name", "vg"); !strings.Contains(left, name) || strings.Contains(left, name+"-") {
				t.Errorf("left: %s", left)
			}
			if text, err := os.ReadFile(in(mounted(t, open(t, v)), "file")); string(text) != "after!" {
				t.Errorf("the volume has %q, %v", text, err)
			}
		})
	}
	if err := open(t, Volume{Dir: t.TempDir(), Options: map[string]string{"type": "lvm", "device": "/dev/vg/none"}}).Create(t.Context()); !errors.Is(err, ErrUnsupported) ||
		!strings.Contains(err.Error(), "lvcreate -n none") {
		t.Errorf("Create without a device = %v", err)
	}
}

// NFSServer exports a directory by the kernel's server, as ":/" of any address of this host.
func NFSServer(t *testing.T) (export string) {
	t.Helper()
	export = t.TempDir()
	must(t, os.Chmod(export, 0o777))
	runCommand(t, "mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
	runCommand(t, "exportfs", "-o", "rw,no_root_squash,insecure,fsid=0", "127.0.0.1:"+export)
	runCommand(t, "rpc.mountd", "-N", "2", "-N", "3")
	runCommand(t, "rpc.nfsd", "-N", "3", "-G", "10", "-L", "10", "2")
	t.Cleanup(func() {
		must(t, os.WriteFile("/proc/fs/nfsd/threads", []byte("0"), 0o644))
		for _, args := range [][]string{{"busybox", "killall", "rpc.mountd"}, {"exportfs", "-au"}, {"umount", "/proc/fs/nfsd"}} { // the guest has no other
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v: %s", args, err, out)
			}
		}
	})
	return export
}

// TestGuestNFS: the kernel's server and client; the address is looked up, since mount(2) takes numbers only.
func TestGuestNFS(t *testing.T) {
	needGuest(t)
	export := NFSServer(t)
	for kind, options := range map[string]map[string]string{
		"nfs":     {"type": "nfs", "device": ":/", "o": "addr=server,rw,vers=4.2"},
		"nfs4":    {"type": "nfs4", "device": "server:/"}, // no addr=: the device has it
		"nfs, ro": {"type": "nfs", "device": ":/", "o": "addr=127.0.0.1,ro,vers=4.1"},
	} {
		t.Run(kind, func(t *testing.T) { onServer(t, "nfs", export, options, kind == "nfs, ro") })
	}
}

// onServer writes to a volume that a server has, and looks there.
func onServer(t *testing.T, kind, export string, options map[string]string, readOnly bool) {
	t.Helper()
	_, d := created(t, Local, options)
	unmounted(t, d)
	path := mounted(t, d)
	err := os.WriteFile(in(path, "file"), []byte(t.Name()), 0o644)
	if readOnly {
		if err == nil {
			t.Error("written to ro")
		}
	} else if text, readErr := os.ReadFile(in(export, "file")); err != nil || string(text) != t.Name() {
		t.Errorf("write: %v; the server has %q, %v", err, text, readErr)
	}
	if m, found, err := mountAt(path); err != nil || !found || !strings.HasPrefix(m.Type, kind) {
		t.Errorf("mounted: %+v, %v, %v", m, found, err)
	}
	must(t, d.Remove(t.Context()))
}

// CIFSPassword is root's on the server of CIFSServer, whom the share "share" lets in.
const CIFSPassword = "s3cret-of-root"

// CIFSServer runs Samba's server on the loopback, which shares a directory.
func CIFSServer(t *testing.T) (shared string) {
	t.Helper()
	dir := t.TempDir()
	shared = in(dir, "shared")
	must(t, os.Mkdir(shared, 0o755))
	config := in(dir, "smb.conf")
	must(t, os.WriteFile(config, []byte(strings.ReplaceAll(`[global]
server role = standalone server
interfaces = lo
bind interfaces only = yes
disable netbios = yes
smb ports = 445
load printers = no
disable spoolss = yes
passdb backend = smbpasswd:DIR/passwords
private dir = DIR
lock directory = DIR
state directory = DIR
cache directory = DIR
pid directory = DIR
ncalrpc dir = DIR/ncalrpc
log file = DIR/log
[share]
path = DIR/shared
read only = no
valid users = root
`, "DIR", dir)), 0o600))
	add := exec.Command("smbpasswd", "-c", config, "-s", "-a", "root")
	add.Stdin = strings.NewReader(CIFSPassword + "\n" + CIFSPassword + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("smbpasswd: %v: %s", err, out)
	}
	server := exec.Command("smbd", "--foreground", "--no-process-group", "--configfile="+config)
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, server.Start())
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(in(dir, "log"))
			t.Logf("smbd: %s", log)
		}
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL)
		_ = server.Wait() // it was killed
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:445")
		if err == nil {
			must(t, c.Close())
			return shared
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestGuestCIFS: Samba's server and the kernel's client, by mount(2): the password is
// in nobody's command line, nor in what goes wrong.
func TestGuestCIFS(t *testing.T) {
	needGuest(t)
	shared := CIFSServer(t)
	login := "username=root,password=" + CIFSPassword
	for name, options := range map[string]map[string]string{
		"addr":        {"type": "cifs", "device": "//127.0.0.1/share", "o": "addr=server," + login},
		"host, smb3":  {"type": "smb3", "device": "//server/share", "o": login + ",vers=3.1.1"}, // no addr=: the device has it
		"ro":          {"type": "cifs", "device": "//127.0.0.1/share", "o": "ro," + login},
		"vers=2.1":    {"type": "cifs", "device": "//127.0.0.1/share", "o": login + ",vers=2.1"},
		"sealed, 3.0": {"type": "cifs", "device": "//127.0.0.1/share", "o": login + ",vers=3.0,seal"},
	} {
		t.Run(name, func(t *testing.T) {
			onServer(t, options["type"], shared, options, name == "ro")
		})
	}
	for o, says := range map[string]string{
		"username=root,password=wrong-" + CIFSPassword: "permission denied",
		login + ",nonsense=1":                          "invalid argument",
	} {
		_, d := created(t, Local, map[string]string{"type": "cifs", "device": "//127.0.0.1/share", "o": o})
		unmounted(t, d)
		_, err := d.Mount(t.Context(), "m")
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "password="+hidden) || strings.Contains(err.Error(), CIFSPassword) {
			t.Errorf("Mount = %v, want %q and no password", err, says)
		}
	}
}

// TestGuestQuota: a plain volume's size where the file system has project quotas.
func TestGuestQuota(t *testing.T) {
	needGuest(t)
	for kind, mkfs := range map[string][]string{"ext4": {"mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"}, "xfs": {"mkfs.xfs", "-q"}} {
		t.Run(kind, func(t *testing.T) {
			_, d := created(t, Local, map[string]string{"type": kind, "device": disk(t, mkfs...), "o": "prjquota"})
			unmounted(t, d)
			root := mounted(t, d)
			for _, name := range []string{"one", "two"} {
				must(t, os.Mkdir(in(root, name), 0o701))
				v := Volume{Name: name, Dir: in(root, name), Options: map[string]string{"size": "8m"}}
				p := open(t, v)
				must(t, p.Create(t.Context()))
				must(t, os.Mkdir(in(v.data(), "deep"), 0o755))
				file, err := os.Create(in(v.data(), "deep/file"))
				must(t, err)
				cmd := exec.Command("dd", "if=/dev/zero", "bs=1M", "count=16", "conv=fsync")
				cmd.Stdout = file
				// ext4 holds everybody to it but CAP_SYS_RESOURCE.
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
				err = cmd.Run()
				st, statErr := file.Stat()
				must(t, errors.Join(statErr, file.Close()))
				if err == nil || st.Size() < 6<<20 || st.Size() > 8<<20 {
					t.Errorf("%s: %d bytes fit: %v", name, st.Size(), err)
				}
				must(t, p.Remove(t.Context()))
				must(t, os.WriteFile(in(v.data(), "deep/file"), make([]byte, 12<<20), 0o644)) // the limit is given back
			}
		})
	}
}
