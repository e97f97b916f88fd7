package driver

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// needGuest ends a test that this kernel has no driver for: it runs in the guest of TestInGuest.
func needGuest(t *testing.T) {
	t.Helper()
	if os.Getenv("UNIONMOUNT_GUEST") == "" {
		t.Skip("make test-vm runs it in a guest")
	}
}

// What the guest has: programs, with the libraries they need, and modules of Debian's kernel.
var (
	guestPrograms = strings.Fields(`busybox mount umount losetup blkid mkfs.ext4 mkfs.xfs modprobe dmsetup
		lvm lvchange lvcreate lvremove lvs vgcreate pvcreate pdata_tools thin_check
		rpc.nfsd rpc.mountd exportfs mount.nfs smbd smbpasswd`)
	guestModules = strings.Fields("loop dm-mod dm-snapshot dm-thin-pool xfs nfsv4 nfs nfsd quota_v2 cifs cmac ccm gcm ctr ghash-generic sha512_generic")
)

const guestInit = `#!/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets
/busybox mkdir -p /applets /proc /sys /dev /tmp /run /var/lib/nfs /root
/busybox --install -s /applets
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
touch /etc/exports /var/lib/nfs/etab /var/lib/nfs/rmtab
for m in MODULES; do modprobe $m || echo "no module $m"; done
ip link set lo up
UNIONMOUNT_GUEST=1 CI=true HOME=/root /driver.test -test.v -test.timeout 25m -test.run '^TestGuest' 2>&1
echo "guest: exit $?"
poweroff -f
`

// TestInGuest boots Debian's kernel, in software if there is no KVM, and runs in it
// the tests named TestGuest*: this machine's kernel need not have what they mount.
func TestInGuest(t *testing.T) {
	kernel := os.Getenv("UNIONMOUNT_VM") // an unpacked linux-image package
	if kernel == "" {
		t.Skip("make test-vm runs it")
	}
	needRoot(t, append(guestPrograms[:len(guestPrograms):len(guestPrograms)], "qemu-system-x86_64", "depmod")...)
	images, err := filepath.Glob(in(kernel, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("kernels in %s: %v, %v", kernel, images, err)
	}
	initrd := guestRoot(t, kernel, strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	args := []string{"-kernel", images[0], "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1",
		// Not by KVM where there is one: nested in a virtual machine it may be there and stop the guest for good.
		"-accel", "tcg", "-m", "3G", "-smp", "2", "-nographic", "-no-reboot", "-nic", "none"}
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).CombinedOutput()
	t.Logf("%s", bytes.ReplaceAll(out, []byte("\r"), nil))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("guest: exit 0")) || bytes.Contains(out, []byte("no tests to run")) || bytes.Contains(out, []byte("--- SKIP")) {
		t.Error("the guest's tests failed, or some didn't run")
	}
}

// guestRoot packs the guest's root: this test, the programs, the modules.
func guestRoot(t *testing.T, kernel, release string) (initrd string) {
	t.Helper()
	root := in(t.TempDir(), "root")
	for _, dir := range []string{"etc/lvm", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"} {
		must(t, os.MkdirAll(in(root, dir), 0o755))
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		must(t, os.Symlink("usr/"+dir, in(root, dir)))
	}
	self, err := os.Executable()
	must(t, err)
	files := map[string]string{self: "/driver.test"}
	for _, p := range guestPrograms {
		path, err := exec.LookPath(p)
		must(t, err)
		files[path] = path
		real, err := filepath.EvalSymlinks(path)
		must(t, err)
		files[real] = real
	}
	files["/bin/busybox"] = "/busybox"
	for program := range files {
		out, err := exec.Command("ldd", program).Output()
		if err != nil {
			continue // it is static
		}
		for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
			files[lib] = lib
		}
	}
	for from, to := range files {
		text, err := os.ReadFile(from)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(root+to), 0o755))
		must(t, os.WriteFile(root+to, text, 0o755))
	}
	runCommand(t, "depmod", "-b", kernel, release)
	for _, m := range guestModules {
		for line := range strings.Lines(runCommand(t, "modprobe", "-d", kernel, "-S", release, "--show-depends", m)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "insmod" {
				text, err := os.ReadFile(f[1])
				must(t, err)
				to := in(root, strings.TrimPrefix(f[1], kernel))
				must(t, os.MkdirAll(filepath.Dir(to), 0o755))
				must(t, os.WriteFile(to, text, 0o644))
			}
		}
	}
	runCommand(t, "depmod", "-b", root, release)
	for path, text := range map[string]string{
		"init":             strings.ReplaceAll(guestInit, "MODULES", strings.Join(guestModules, " ")),
		"etc/hosts":        "127.0.0.1 localhost server\n",
		"etc/passwd":       "root:x:0:0::/root:/busybox\nnobody:x:65534:65534::/:/busybox\n",
		"etc/group":        "root:x:0:\nnogroup:x:65534:\n",
		"etc/protocols":    "tcp 6 TCP\nudp 17 UDP\n",
		"etc/services":     "nfs 2049/tcp\n",
		"etc/netconfig":    "tcp tpi_cots_ord v inet tcp - -\nudp tpi_clts v inet udp - -\n",
		"etc/lvm/lvm.conf": "activation { udev_sync=0 udev_rules=0 monitoring=0 }\nglobal { use_lvmpolld=0 }\n",
	} {
		must(t, os.WriteFile(in(root, path), []byte(text), 0o755))
	}
	initrd = root + ".cpio"
	runCommand(t, "sh", "-c", "cd "+root+" && find . | busybox cpio -o -H newc >"+initrd)
	return initrd
}
