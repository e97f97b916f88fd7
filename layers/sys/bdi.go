package sys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// CanLimitWriteback tells whether LimitWriteback works here: not in a user
// namespace, nor where sysfs is read-only, nor before Linux 6.2.
func CanLimitWriteback() bool {
	files, _ := filepath.Glob("/sys/class/bdi/*/max_bytes") // fails for a bad pattern only
	for _, f := range files {
		if fd, err := Open(f, O_WRONLY); err == nil {
			_ = Close(fd)
			return true
		}
	}
	return false
}

// LimitWriteback bounds what the kernel holds back of the writes to the filesystem
// with the device number dev, in bytes; a bound above the one for all filesystems
// leaves only that. Needs root and Linux 6.2: see
// Documentation/ABI/testing/sysfs-class-bdi.
func LimitWriteback(dev uint64, bytes int64) error {
	dir := fmt.Sprintf("/sys/class/bdi/%d:%d/", Major(dev), Minor(dev))
	set := func(file, value string) error { return os.WriteFile(dir+file, []byte(value), 0) }
	err := set("max_bytes", strconv.FormatInt(bytes, 10))
	if errors.Is(err, EINVAL) { // more than all may hold back together (bdi_check_pages_limit)
		return errors.Join(set("max_ratio", "100"), set("strict_limit", "0"))
	}
	if err != nil {
		return err
	}
	return set("strict_limit", "1")
}

// ReadAhead says how many bytes the kernel reads ahead, at most, in the filesystem with
// the device number dev. Needs root: see Documentation/ABI/testing/sysfs-class-bdi.
func ReadAhead(dev uint64, bytes int64) error {
	file := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", Major(dev), Minor(dev))
	return os.WriteFile(file, []byte(strconv.FormatInt(bytes>>10, 10)), 0)
}
