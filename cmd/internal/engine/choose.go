package engine

import (
	"os"
	"strings"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/unionfs"
)

// Ways into a volume.
const (
	WayBind = "bind"
	WayFuse = "fuse"
	Auto    = "auto"
)

// umountHelpers are what umount(8) calls for our mounts: where it is installed, umount can undo binds.
// By the mount's type it looks for the first name, by our line in utab for the second.
var umountHelpers = [...]string{"/sbin/umount.fuse.unionmount", "/sbin/umount.unionmount"}

func helperInstalled() bool {
	for _, p := range umountHelpers {
		if _, err := os.Stat(p); err != nil {
			return false
		}
	}
	return true
}

// inUserNamespace tells whether root here is a plain user of the machine.
func inUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(text))
	return err == nil && (len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295")
}

// chooseVolumeIO decides the way of all volumes of a mount: bind where the
// kernel lets us and umount can undo it, else through the connection. The helper
// finds the binds by a file in /run, which root of a user namespace can't write.
func chooseVolumeIO(r *Record) (string, error) {
	can := sys.HasCap(sys.CAP_SYS_ADMIN)
	switch r.VolumeIO {
	case WayFuse:
		return WayFuse, nil
	case WayBind:
		if !can {
			return "", fail(ErrUnsupported, "volume-io bind", "needs CAP_SYS_ADMIN: use --volume-io fuse")
		}
		return WayBind, nil
	case Auto, "":
		if can && !r.Helper && helperInstalled() && !inUserNamespace() {
			return WayBind, nil
		}
		return WayFuse, nil
	}
	return "", fail(ErrUsage, "volume-io "+r.VolumeIO, "want auto, bind or fuse")
}

// chooseIO decides the contract of the connection: cached where everything in
// it is ours alone and a descriptor can be opened again whatever its mode says.
func chooseIO(r *Record, way string) (unionfs.IO, error) {
	routed := len(r.Volumes) > 0 && way == WayFuse
	switch r.IO {
	case string(unionfs.IOOpen):
		return unionfs.IOOpen, nil
	case string(unionfs.IOCached):
		if routed {
			return "", fail(ErrUnsupported, "io cached", "volumes go through this connection: use --io open or --volume-io bind")
		}
		if !sys.HasCap(sys.CAP_DAC_OVERRIDE) {
			return "", fail(ErrUnsupported, "io cached", "needs CAP_DAC_OVERRIDE: use --io open")
		}
		return unionfs.IOCached, nil
	case Auto, "":
		if routed || !sys.HasCap(sys.CAP_DAC_OVERRIDE) {
			return unionfs.IOOpen, nil
		}
		return unionfs.IOCached, nil
	}
	return "", fail(ErrUsage, "io "+r.IO, "want auto, open or cached")
}
