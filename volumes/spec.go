package volumes

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Errors of this package that callers tell apart.
var (
	ErrBadSpec     = errors.New("bad volume")
	ErrNotFound    = errors.New("no such volume")
	ErrConflict    = errors.New("conflict")
	ErrUnsupported = errors.New("not supported yet")
)

// Spec is what -v says: SOURCE:TARGET[:OPTION,...].
type Spec struct {
	Name     string // of a named volume; "" for a host path
	Path     string // a host path; "" for a named volume
	Target   string // absolute and clean
	ReadOnly bool
	NoCopy   bool
}

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// CheckName applies Docker's rule for volume names, in Docker's words.
func CheckName(name string) error {
	switch {
	case len(name) == 1:
		return fmt.Errorf("%w: volume name is too short, names should be at least two alphanumeric characters", ErrBadSpec)
	case !nameForm.MatchString(name) || len(name) > 255:
		return fmt.Errorf("%w: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", ErrBadSpec, name)
	}
	return nil
}

// ParseSpec reads a -v value with Docker's grammar (linux_parser.go).
func ParseSpec(s string) (Spec, error) {
	parts := strings.Split(s, ":")
	bad := func(format string, a ...any) (Spec, error) {
		return Spec{}, fmt.Errorf("%w: invalid specification %q: %s", ErrBadSpec, s, fmt.Sprintf(format, a...))
	}
	switch {
	case len(parts) == 1 && strings.HasPrefix(s, "/"):
		return Spec{}, fmt.Errorf("%w: anonymous volume %q: name it, as in NAME:%s", ErrUnsupported, s, s)
	case len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "":
		return bad("want NAME:/path[:ro] or /host/path:/path[:ro]")
	}
	v := Spec{Target: path.Clean(parts[1])}
	if !strings.HasPrefix(parts[1], "/") {
		return bad("mount path must be absolute")
	}
	if v.Target == "/" {
		return bad("destination can't be '/'")
	}
	if strings.HasPrefix(parts[0], "/") {
		v.Path = path.Clean(parts[0])
	} else {
		v.Name = parts[0]
		if err := CheckName(v.Name); err != nil {
			return Spec{}, err
		}
	}
	if len(parts) == 3 {
		if err := v.options(parts[2]); err != nil {
			return bad("%s", err)
		}
	}
	return v, nil
}

// options reads the third part: at most one word of each class.
func (v *Spec) options(s string) error {
	class := make(map[string]string)
	for word := range strings.SplitSeq(s, ",") {
		var c string
		switch word {
		case "ro", "rw":
			c = "mode"
			v.ReadOnly = word == "ro"
		case "nocopy":
			c = "copy"
			if v.Name == "" {
				return fmt.Errorf("nocopy is for named volumes")
			}
			v.NoCopy = true
		case "z", "Z", "consistent", "cached", "delegated":
			c = word // no meaning here
		default:
			return fmt.Errorf("invalid mode: %s", word)
		}
		if was, ok := class[c]; ok {
			return fmt.Errorf("%s and %s exclude each other", was, word)
		}
		class[c] = word
	}
	return nil
}
