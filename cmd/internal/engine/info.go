package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// Fact is one thing that kernel, file system or privileges allow or not, with
// its reason or, where something is missing, the remedy.
type Fact struct{ Name, Value, Remedy string }

// FactMap turns facts into an object for json and templates.
func FactMap(facts []Fact) map[string]map[string]string {
	m := make(map[string]map[string]string)
	for _, f := range facts {
		m[f.Name] = map[string]string{"Value": f.Value, "Remedy": f.Remedy}
	}
	return m
}

// Facts probes what this process could do; it changes nothing.
func (e *Engine) Facts(version string) []Fact {
	facts := []Fact{
		{"Version", version, ""},
		{"Kernel", firstLine("/proc/sys/kernel/osrelease"), ""},
		{"Root", e.Root, ""},
		e.rootFact(),
		deviceFact(),
		mountFact(),
		allowOtherFact(),
		capsFact(),
		namespaceFact(),
		yes("UmountHelper", helperInstalled(), "make install: umount(8) then takes away bind volumes too"),
		yes("KernelOverlay", kernelHas("overlay"), "not needed: only the kernel's own overlay of an upper is"),
		passthroughFact(),
		uringFact(),
	}
	return append(facts, chosenFacts()...)
}

// chosenFacts is what auto would choose here and now.
func chosenFacts() []Fact {
	with := &Record{Volumes: []VolumeRef{{}}}
	way, err := chooseVolumeIO(with)
	remedy := "volumes are bind mounts, with the route underneath"
	switch {
	case err != nil || way == WayBind:
	case !sys.HasCap(sys.CAP_SYS_ADMIN):
		remedy = "mount as root for bind mounts"
	case inUserNamespace():
		remedy = "mount as root outside a user namespace for bind mounts, or ask with --volume-io bind"
	default:
		remedy = "make install for bind mounts that umount(8) can undo, or ask with --volume-io bind"
	}
	facts := []Fact{chosen("VolumeIO", way, err, remedy)}
	io, err := chooseIO(&Record{}, "")
	remedy = "everything in the union is ours alone: the kernel may remember it for ever"
	if !sys.HasCap(sys.CAP_DAC_OVERRIDE) {
		remedy = "CAP_DAC_OVERRIDE is missing: mount as root for io cached"
	}
	facts = append(facts, chosen("IO", string(io), err, remedy))
	io, err = chooseIO(with, way)
	return append(facts, chosen("IOWithVolumes", string(io), err, "as IO if the volumes are bind mounts, else open"))
}

func chosen(name, value string, err error, remedy string) Fact {
	if err != nil {
		return Fact{name, "none", err.Error()}
	}
	return Fact{name, value, remedy}
}

func yes(name string, is bool, remedy string) Fact {
	if is {
		return Fact{name, "yes", ""}
	}
	return Fact{name, "no", remedy}
}

// firstLine is "" for a file that can't be read.
func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

func (e *Engine) rootFact() Fact {
	p, err := nearest("root", e.Root)
	if err != nil {
		return Fact{"RootFileSystem", "unknown", err.Error()}
	}
	if mounts, err := mountTable(); err == nil {
		for _, m := range mounts {
			if _, ok := below(p.path, m.Target); ok && m.Dev == p.fs {
				return Fact{"RootFileSystem", m.Type, ""}
			}
		}
	}
	return Fact{"RootFileSystem", "unknown", ""}
}

func kernelHas(fs string) bool {
	text, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(text), "\t"+fs+"\n")
}

func deviceFact() Fact {
	fd, err := sys.Open(fuseDevice, sys.O_RDWR)
	if err != nil {
		return Fact{"DevFuse", err.Error(), "modprobe fuse; chmod 666 " + fuseDevice + " for plain users"}
	}
	_ = sys.Close(fd) // never used
	return Fact{"DevFuse", "yes", ""}
}

func mountFact() Fact {
	if sys.HasCap(sys.CAP_SYS_ADMIN) {
		return Fact{"MountBy", "mount(2)", ""}
	}
	if path, err := exec.LookPath("fusermount3"); err == nil {
		return Fact{"MountBy", path, ""}
	}
	return Fact{"MountBy", "nothing", "install fuse3, or run as root of a user namespace"}
}

// allowOtherFact: fusermount3 lets a plain user's mount be entered by others only if fuse.conf says so.
func allowOtherFact() Fact {
	if sys.HasCap(sys.CAP_SYS_ADMIN) {
		return Fact{"AllowOther", "always", ""}
	}
	const conf = "/etc/fuse.conf"
	text, err := os.ReadFile(conf)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Fact{"AllowOther", "unknown", bare(err).Error()}
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return Fact{"AllowOther", "yes", ""}
		}
	}
	return Fact{"AllowOther", "no", "user_allow_other in " + conf}
}

func capsFact() Fact {
	var have []string
	for _, c := range []struct {
		name   string
		number uint
	}{{"CAP_SYS_ADMIN", sys.CAP_SYS_ADMIN}, {"CAP_DAC_OVERRIDE", sys.CAP_DAC_OVERRIDE}, {"CAP_CHOWN", sys.CAP_CHOWN}, {"CAP_MKNOD", sys.CAP_MKNOD}} {
		if sys.HasCap(c.number) {
			have = append(have, c.name)
		}
	}
	if len(have) == 0 {
		return Fact{"Capabilities", "none", "as a plain user: marks in user.overlay.*, owners as they can be"}
	}
	return Fact{"Capabilities", strings.Join(have, " "), ""}
}

func namespaceFact() Fact {
	if inUserNamespace() {
		return Fact{"UserNamespace", "inside", "marks in user.overlay.*"}
	}
	switch firstLine("/proc/sys/user/max_user_namespaces") {
	case "":
		return Fact{"UserNamespace", "no", "a kernel with CONFIG_USER_NS"}
	case "0":
		return Fact{"UserNamespace", "no", "sysctl user.max_user_namespaces"}
	}
	return Fact{"UserNamespace", "available", ""}
}

// passthroughFact goes by the kernel's version: only a connection could tell for sure.
func passthroughFact() Fact {
	var major, minor int
	_, err := fmt.Sscanf(firstLine("/proc/sys/kernel/osrelease"), "%d.%d", &major, &minor)
	switch {
	case err != nil || major < 6 || major == 6 && minor < 9:
		return Fact{"KernelPassthrough", "no", "Linux 6.9 or later with CONFIG_FUSE_PASSTHROUGH"}
	case !sys.HasCap(sys.CAP_SYS_ADMIN) || inUserNamespace():
		return Fact{"KernelPassthrough", "no", "mount as root outside a user namespace"}
	}
	return Fact{"KernelPassthrough", "yes", ""}
}

// uringFact: how requests reach a mount that starts now. The switch is the whole system's, so it is only named.
func uringFact() Fact {
	const param = "/sys/module/fuse/parameters/enable_uring"
	switch on := firstLine(param); {
	case on == "":
		return Fact{"KernelUring", "no", "Linux 6.14 or later with CONFIG_FUSE_IO_URING"}
	case firstLine("/proc/sys/kernel/io_uring_disabled") == "2":
		return Fact{"KernelUring", "no", "sysctl kernel.io_uring_disabled=0"}
	case on != "Y":
		return Fact{"KernelUring", "off", "as root: echo Y >" + param + ", for quicker answers in every mount that starts after it"}
	}
	return Fact{"KernelUring", "yes", ""}
}
