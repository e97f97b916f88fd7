package engine

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
)

// Fact is one thing that kernel, file system or privileges allow or not, and
// the remedy where they don't.
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
		{"Kernel", readLine("/proc/sys/kernel/osrelease"), ""},
		{"Root", e.Root, ""},
		deviceFact(),
		mountFact(),
		yes("KernelOverlay", kernelHas("overlay"), "not needed: only for reading an upper with the kernel's overlay"),
		yes("UmountHelper", helperInstalled(), "make install: umount(8) then takes away bind volumes too"),
		uringFact(),
	}
	r := &Record{Volumes: []VolumeRef{{}}}
	way, err := chooseVolumeIO(r)
	facts = append(facts, chosen("VolumeIO", way, err, "bind where mount(2) is allowed and umount(8) can undo it, else fuse"))
	io, err := chooseIO(&Record{}, "")
	facts = append(facts, chosen("IO", string(io), err, "cached unless a volume goes through the connection or CAP_DAC_OVERRIDE is missing"))
	io, err = chooseIO(r, way)
	return append(facts, chosen("IOWithVolumes", string(io), err, ""))
}

func chosen(name, value string, err error, rule string) Fact {
	if err != nil {
		return Fact{name, "none", err.Error()}
	}
	return Fact{name, value, rule}
}

func yes(name string, is bool, remedy string) Fact {
	if is {
		return Fact{name, "yes", ""}
	}
	return Fact{name, "no", remedy}
}

func readLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

func kernelHas(fs string) bool {
	text, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(text), "\t"+fs+"\n")
}

func deviceFact() Fact {
	fd, err := sys.Open("/dev/fuse", sys.O_RDWR)
	if err != nil {
		return Fact{"DevFuse", err.Error(), "modprobe fuse, and chmod 666 /dev/fuse for plain users"}
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

func uringFact() Fact {
	const param = "/sys/module/fuse/parameters/enable_uring"
	v := readLine(param)
	if v == "unknown" {
		return Fact{"KernelUring", "no", "Linux 6.14 or later; not used yet"}
	}
	return Fact{"KernelUring", v, fmt.Sprintf("%s; not used yet", param)}
}
