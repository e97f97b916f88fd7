package engine

import (
	"strconv"
	"strings"

	"github.com/unionmount/unionmount/volumes"
)

// volumeFilter is what Docker's filters say together.
type volumeFilter struct {
	dangling       *bool
	names, drivers []string // one of them must fit
	labels, absent []string // all must hold
	all            bool     // of prune: named volumes too
}

func parseVolumeFilters(filters []string) (f volumeFilter, err error) {
	for _, s := range filters {
		key, want, ok := strings.Cut(s, "=")
		if !ok {
			return f, fail(ErrUsage, "filter "+s, "want KEY=VALUE")
		}
		switch key {
		case "name":
			f.names = append(f.names, want)
		case "driver":
			f.drivers = append(f.drivers, want)
		case "label":
			f.labels = append(f.labels, want)
		case "label!":
			f.absent = append(f.absent, want)
		case "dangling", "all":
			b, err := strconv.ParseBool(want)
			if err != nil {
				return f, fail(ErrUsage, "filter "+s, "want true or false")
			}
			if key == "all" {
				f.all = b
			} else {
				f.dangling = &b
			}
		default:
			return f, fail(ErrUsage, "filter "+s, "unknown: want dangling, driver, label, label! or name")
		}
	}
	return f, nil
}

// keeps tells whether a volume passes; used: a mount refers to it.
func (f *volumeFilter) keeps(v *volumes.Volume, used bool) bool {
	if f.dangling != nil && *f.dangling == used || !fits(f.drivers, func(d string) bool { return d == v.Driver }) ||
		!fits(f.names, func(n string) bool { return strings.Contains(v.Name, n) }) {
		return false
	}
	for _, l := range f.labels {
		if !hasLabel(v, l) {
			return false
		}
	}
	for _, l := range f.absent {
		if hasLabel(v, l) {
			return false
		}
	}
	return true
}

func fits(wants []string, fits func(string) bool) bool {
	for _, w := range wants {
		if fits(w) {
			return true
		}
	}
	return len(wants) == 0
}

// hasLabel takes KEY or KEY=VALUE.
func hasLabel(v *volumes.Volume, want string) bool {
	key, value, valued := strings.Cut(want, "=")
	have, ok := v.Labels[key]
	return ok && (!valued || have == value)
}
