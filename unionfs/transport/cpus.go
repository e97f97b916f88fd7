package transport

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// processors lists the numbers of the processors that are "possible" or "online"
// (Documentation/admin-guide/cputopology.rst).
func processors(which string) ([]int, error) {
	path := "/sys/devices/system/cpu/" + which
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cpus, err := parseCPUs(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cpus, nil
}

// parseCPUs reads the kernel's form of a list: "0-3,8".
func parseCPUs(list string) (cpus []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(to)
		}
		if err != nil || a < 0 || b < a {
			return nil, fmt.Errorf("not a list of processors: %q", list)
		}
		for c := a; c <= b; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus, nil
}
