package sys

import (
	"fmt"
	"os"
)

// WidenWriteback lifts the limits that a filesystem of its own device number has on
// what the kernel holds back of its writes: the share (max_ratio, percent) and, where
// the kernel has that file (Linux 6.2), that it is kept below the limit of all
// (strict_limit). Needs root; see Documentation/ABI/testing/sysfs-class-bdi.
func WidenWriteback(dev uint64) error {
	dir := fmt.Sprintf("/sys/class/bdi/%d:%d/", Major(dev), Minor(dev))
	if err := os.WriteFile(dir+"max_ratio", []byte("100"), 0); err != nil {
		return err
	}
	err := os.WriteFile(dir+"strict_limit", []byte("0"), 0)
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
