package volumes

import (
	"encoding/csv"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/unionmount/unionmount/volumes/driver"
)

// mountSpec is a --mount value while it is being read.
type mountSpec struct {
	Spec
	kind, source, target string
	tmpfs                Tmpfs
	propagation          string
	recursive            string
	used                 map[string]string // group of options ("volume" ...) to the first of them
}

// ParseMountSpec reads a --mount value: Docker's CSV (cli/opts/mount.go). What Docker
// knows and isn't built here is refused by name with ErrUnsupported.
func ParseMountSpec(value string) (Spec, error) {
	m := mountSpec{kind: "volume", used: make(map[string]string)}
	err := m.read(value)
	if err == nil {
		err = m.finish()
	}
	if err != nil {
		return Spec{}, &failure{kindOf(err), fmt.Errorf("invalid argument %q: %w", HideMountSpec(value), err)}
	}
	return m.Spec, nil
}

// HideMountSpec is a --mount value as a person may see it, without passwords.
func HideMountSpec(value string) string {
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil && strings.Contains(value, "volume-opt") {
		return "(no CSV)" // what of it is a password can't be told
	}
	if err != nil {
		return value
	}
	for i := range fields {
		fields[i] = hideField(fields[i])
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(fields) // to memory
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

func hideField(field string) string {
	key, option, _ := strings.Cut(field, "=")
	name, value, ok := strings.Cut(option, "=")
	if !ok || strings.TrimSpace(strings.ToLower(key)) != "volume-opt" {
		return field
	}
	name = strings.TrimSpace(name)
	return key + "=" + name + "=" + driver.Hide(map[string]string{name: value})[name]
}

func (m *mountSpec) read(value string) error {
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return fail(ErrBadSpec, "%w", err)
	}
	for _, field := range fields {
		key, val, valued := strings.Cut(field, "=")
		if strings.TrimSpace(key) != key {
			return fail(ErrBadSpec, "invalid option '%s' in '%s': option should not have whitespace", key, hideField(field))
		}
		if valued && strings.TrimSpace(val) != val {
			return fail(ErrBadSpec, "invalid value for '%s' in '%s': value should not have whitespace", key, hideField(field))
		}
		key = strings.ToLower(key)
		if group, _, ok := strings.Cut(key, "-"); ok && m.used[group] == "" {
			m.used[group] = key
		}
		if !valued {
			switch key {
			case "readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src":
				val = "true"
			default:
				return fail(ErrBadSpec, "invalid field '%s' must be a key=value pair", field)
			}
		}
		if err := m.set(key, val, field); err != nil {
			return err
		}
	}
	return nil
}

func (m *mountSpec) set(key, val, field string) (err error) {
	switch key {
	case "type":
		m.kind = strings.ToLower(val)
	case "source", "src":
		m.source = val
		if val == "." || strings.HasPrefix(val, "./") || val == ".." || strings.HasPrefix(val, "../") {
			m.source, err = filepath.Abs(val)
		}
	case "target", "dst", "destination":
		m.target = val
	case "readonly", "ro":
		m.ReadOnly, err = parseBool(key, val)
	case "consistency":
		switch val = strings.ToLower(val); val {
		case "", "default", "consistent", "cached", "delegated":
			m.Ignored = append(m.Ignored, field)
		default:
			err = fail(ErrBadSpec, "invalid value for %s: %s", key, val)
		}
	case "volume-subpath":
		m.Subpath = val
	case "volume-nocopy":
		m.NoCopy, err = parseBool(key, val)
	case "volume-driver":
		m.Driver = val
	case "volume-label":
		m.Labels = setPair(m.Labels, val)
	case "volume-opt":
		m.Options = setPair(m.Options, val)
	default:
		return m.setRest(key, val, field)
	}
	return err
}

func (m *mountSpec) setRest(key, val, field string) (err error) {
	switch key {
	case "bind-propagation":
		m.propagation = strings.ToLower(val)
		return checkPropagation(m.propagation)
	case "bind-nonrecursive":
		non, err := parseBool(key, val)
		if non {
			m.recursive = "disabled"
		}
		return err
	case "bind-recursive":
		switch val {
		case "enabled", "disabled", "writable", "readonly":
			m.recursive = val
			return nil
		}
		return fail(ErrBadSpec, `invalid value for %s: %s (must be "enabled", "disabled", "writable", or "readonly")`, key, val)
	case "bind-create-src":
		m.CreateSource, err = parseBool(key, val)
		return err
	case "tmpfs-size":
		m.tmpfs.Size, err = units.RAMInBytes(val)
		if err != nil || m.tmpfs.Size < 0 {
			return fail(ErrBadSpec, "invalid value for %s: %s", key, val)
		}
		return nil
	case "tmpfs-mode":
		mode, err := strconv.ParseUint(val, 8, 32)
		if err != nil || mode > 0o7777 {
			return fail(ErrBadSpec, "invalid value for %s: %s", key, val)
		}
		m.tmpfs.Mode = uint32(mode)
		return nil
	case "image-subpath":
		return fail(ErrUnsupported, "image-subpath is not built: give the image's directory as a layer")
	}
	return fail(ErrBadSpec, "unexpected key '%s' in '%s'", key, field)
}

func parseBool(key, val string) (bool, error) {
	b, err := strconv.ParseBool(val)
	if err != nil {
		return false, fail(ErrBadSpec, "invalid value for %s: %s", key, val)
	}
	return b, nil
}

func setPair(m map[string]string, pair string) map[string]string {
	if m == nil {
		m = make(map[string]string)
	}
	k, v, _ := strings.Cut(pair, "=")
	m[k] = v
	return m
}

// finish checks what belongs together (cli/opts/mount.go, daemon/volume/mounts/linux_parser.go).
func (m *mountSpec) finish() (err error) {
	switch m.kind {
	case "volume", "bind", "tmpfs":
	case "image", "npipe", "cluster":
		return fail(ErrUnsupported, "mount type %s is not built: want volume, bind or tmpfs", m.kind)
	case "":
		return fail(ErrBadSpec, "type is required")
	default:
		return fail(ErrBadSpec, "mount type unknown: %q: want volume, bind or tmpfs", m.kind)
	}
	for _, group := range []string{"volume", "bind", "tmpfs"} {
		if m.used[group] != "" && group != m.kind {
			return fail(ErrBadSpec, "cannot mix '%s-*' options with mount type '%s'", group, m.kind)
		}
	}
	if m.target == "" {
		return fail(ErrBadSpec, "target is required")
	}
	if m.Target, err = cleanTarget(m.target); err != nil {
		return err
	}
	switch m.kind {
	case "bind":
		return m.finishBind()
	case "tmpfs":
		if m.source != "" {
			return fail(ErrBadSpec, "field Source must not be specified: a tmpfs has none")
		}
		m.Tmpfs = &m.tmpfs
		return nil
	}
	return m.finishVolume()
}

func (m *mountSpec) finishBind() error {
	switch {
	case m.source == "":
		return fail(ErrBadSpec, "field Source must not be empty")
	case !filepath.IsAbs(m.source):
		return fail(ErrBadSpec, "invalid mount path: '%s' mount path must be absolute", m.source)
	case m.recursive == "disabled":
		return fail(ErrUnsupported, "a bind without the mounts below its source is not built")
	case m.recursive == "writable" && !m.ReadOnly:
		return fail(ErrBadSpec, "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
	case m.recursive == "writable":
		return fail(ErrUnsupported, "bind-recursive=writable is not built: read-only holds for the mounts below the source too")
	case m.recursive == "readonly" && !m.ReadOnly:
		return fail(ErrBadSpec, "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
	case m.recursive == "readonly" && m.propagation != "rprivate":
		return fail(ErrBadSpec, "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
	}
	m.Path = filepath.Clean(m.source)
	return nil
}

func (m *mountSpec) finishVolume() error {
	switch {
	case m.source == "" && m.Subpath != "":
		return fail(ErrBadSpec, "must not set Subpath when using anonymous volumes")
	case m.source == "" && m.ReadOnly:
		return fail(ErrBadSpec, "must not set ReadOnly mode when using anonymous volumes")
	case m.used["volume"] != "" && m.Subpath != "" && !filepath.IsLocal(m.Subpath):
		return fail(ErrBadSpec, "subpath must be a relative path within the volume: '%s'", m.Subpath)
	}
	m.Name = m.source
	if m.Name == "" {
		return nil
	}
	return CheckName(m.Name)
}
