package volumes

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Spec is one volume as -v or --mount asks for it. Named, anonymous, a host path
// or a tmpfs: Name, nothing, Path or Tmpfs.
type Spec struct {
	Name     string // of a named volume
	Path     string // of the host: absolute and clean
	Tmpfs    *Tmpfs
	Target   string // absolute and clean
	ReadOnly bool
	NoCopy   bool

	Driver       string            // of a volume that is yet to be made; "": local
	Labels       map[string]string // the same
	Options      map[string]string // the same
	Subpath      string            // of the volume: relative and local
	CreateSource bool              // make the host directory if it is missing
	Ignored      []string          // words that have no meaning here
}

// Tmpfs is a file system in memory that goes with the mount.
type Tmpfs struct {
	Size int64  // bytes; 0: the kernel's default
	Mode uint32 // of its root; 0: 1777
}

// Anonymous tells whether the volume is to be made under a name that nobody gave.
func (s *Spec) Anonymous() bool { return s.Name == "" && s.Path == "" && s.Tmpfs == nil }

// ParseSpec reads a -v value with Docker's grammar (daemon/volume/mounts, linux_parser.go).
func ParseSpec(s string) (v Spec, err error) {
	parts := strings.Split(s, ":")
	const forms = "want NAME:/path[:MODE], /host/path:/path[:MODE] or /path"
	bad := func(why string) (Spec, error) {
		return Spec{}, fail(ErrBadSpec, "invalid volume specification: '%s': %s", s, why)
	}
	var mode string
	switch {
	case parts[0] == "" || len(parts) > 3:
		return bad(forms)
	case len(parts) == 1:
		v.Target = parts[0]
	case len(parts) == 2 && isMode(parts[1]):
		return bad("an anonymous volume takes no mode: want NAME:/path:" + parts[1])
	case parts[1] == "":
		return bad("no path in the union after the colon: " + forms)
	default:
		v.Target = parts[1]
		v.setSource(parts[0])
	}
	if len(parts) == 3 {
		mode = parts[2]
	}
	switch v.Target, err = cleanTarget(v.Target); {
	case err != nil:
		err = fmt.Errorf("%w: %s", err, forms)
	case v.Name != "":
		err = CheckName(v.Name)
	}
	if err == nil {
		err = v.setMode(mode)
	}
	if err != nil {
		return Spec{}, &failure{kindOf(err), fmt.Errorf("invalid volume specification: '%s': %w", s, err)}
	}
	return v, nil
}

func (s *Spec) setSource(source string) {
	if path.IsAbs(source) {
		s.Path = path.Clean(source)
	} else {
		s.Name = source
	}
}

func cleanTarget(p string) (string, error) {
	switch {
	case !path.IsAbs(p):
		return "", fail(ErrBadSpec, "invalid mount path: '%s' mount path must be absolute", p)
	case path.Clean(p) == "/":
		return "", fail(ErrBadSpec, "invalid specification: destination can't be '/'")
	}
	return path.Clean(p), nil
}

// modes are the words of the third part, by class: one of each at most.
var modes = [...]struct {
	class string
	words []string
}{
	{"access", []string{"ro", "rw"}},
	{"label", []string{"z", "Z"}},
	{"propagation", []string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}},
	{"copy", []string{"nocopy"}},
	{"consistency", []string{"consistent", "cached", "delegated"}},
}

func classOf(word string) string {
	for _, m := range modes {
		if slices.Contains(m.words, word) {
			return m.class
		}
	}
	return ""
}

func isMode(s string) bool {
	for word := range strings.SplitSeq(s, ",") {
		if classOf(word) == "" {
			return false
		}
	}
	return true
}

// setMode reads the third part.
func (s *Spec) setMode(mode string) error {
	if mode == "" {
		return nil
	}
	seen := make(map[string]string)
	for word := range strings.SplitSeq(mode, ",") {
		class := classOf(word)
		switch was, twice := seen[class]; {
		case class == "":
			return fail(ErrBadSpec, "invalid mode: %s: want ro or rw, nocopy, private, z or Z", word)
		case twice:
			return fail(ErrBadSpec, "invalid mode: %s: %s and %s exclude each other", mode, was, word)
		}
		seen[class] = word
		switch class {
		case "access":
			s.ReadOnly = word == "ro"
		case "copy":
			if s.Path != "" {
				return fail(ErrBadSpec, "invalid mode: nocopy is for volumes, not for host paths")
			}
			s.NoCopy = true
		case "propagation":
			if s.Path == "" {
				return fail(ErrBadSpec, "invalid mode: %s is for host paths, not for volumes", word)
			}
			if err := checkPropagation(word); err != nil {
				return err
			}
		default:
			s.Ignored = append(s.Ignored, word)
		}
	}
	return nil
}

// checkPropagation takes the one way in which mounts are bound here.
func checkPropagation(word string) error {
	switch word {
	case "", "private", "rprivate":
		return nil
	case "shared", "rshared", "slave", "rslave":
		return fail(ErrUnsupported, "propagation %s is not built: mounts below a volume stay as they are at the mount (rprivate)", word)
	}
	return fail(ErrBadSpec, "invalid propagation mode: %s", word)
}

// kindOf keeps the kind of an error that is wrapped by text.
func kindOf(err error) error {
	if f, ok := err.(*failure); ok {
		return f.kind
	}
	return ErrBadSpec
}
