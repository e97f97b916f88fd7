package driver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"strings"
)

// lvm mounts a logical volume that the user made, plain or thin, whatever file
// system is on it. Its snapshots are logical volumes that we made and tagged.
type lvm struct {
	filesystem
	group, logical string
}

// lvmTag marks what we made: nothing else is ever deleted.
const lvmTag = "unionmount"

var lvmDevice = regexp.MustCompile(`^/dev/([a-zA-Z0-9+_.][a-zA-Z0-9+_.-]*)/([a-zA-Z0-9+_.][a-zA-Z0-9+_.-]*)$`)

func openLVM(v Volume, w words) (Driver, error) {
	name := lvmDevice.FindStringSubmatch(v.Options["device"])
	if name == nil || name[1] == "mapper" {
		return nil, fail(ErrBadOption, "invalid option: device %q: type=lvm wants /dev/GROUP/VOLUME, as lvs -o lv_path prints it", v.Options["device"])
	}
	f := filesystem{v, "", name[0], w} // mount(8) finds out what is on it
	return lvm{f, name[1], name[2]}, nil
}

func (l lvm) Create(ctx context.Context) error {
	if _, err := os.Stat(l.device); err != nil {
		return fail(ErrUnsupported, "%w: make it first: lvcreate -n %s -L SIZE %s, and mkfs", err, l.logical, l.group)
	}
	return l.filesystem.Create(ctx)
}

// Remove deletes a snapshot or clone. What the user made stays, with its data.
func (l lvm) Remove(ctx context.Context) error {
	if err := l.filesystem.Remove(ctx); err != nil {
		return err
	}
	tags, err := l.report(ctx, "lv_tags")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !words(strings.Split(tags, ",")).has(lvmTag) {
		return err
	}
	_, err = tools(ctx, "lvremove", "--yes", l.group+"/"+l.logical)
	return err
}

// report asks lvs for one field; fs.ErrNotExist if there is no such volume.
func (l lvm) report(ctx context.Context, field string) (string, error) {
	if _, err := os.Stat(l.device); err != nil {
		return "", err
	}
	return tools(ctx, "lvs", "--noheadings", "-o", field, l.group+"/"+l.logical)
}

func (l lvm) Method() Method {
	return Method{"lvm snapshot", "no data is copied: what changes later is kept twice; " +
		"for a volume that isn't thin as much of the group is set aside as the volume is large"}
}

// Snapshot never makes the device itself read-only: mounting a file system
// that was in use may take a look at its journal.
func (l lvm) Snapshot(ctx context.Context, to Volume, readOnly bool) (map[string]string, error) {
	pool, err := l.report(ctx, "pool_lv")
	if err != nil {
		return nil, err
	}
	origin, err := l.report(ctx, "origin")
	if err != nil {
		return nil, err
	}
	if pool == "" && origin != "" {
		return nil, fail(ErrUnsupported, "%s is a snapshot itself, and only a thin one can be copied by lvm", l.device)
	}
	suffix := rand.Text()[:8]
	name := fmt.Sprintf("%.100s-%s", l.logical, strings.ToLower(suffix))
	args := []string{"--snapshot", "--name", name, "--addtag", lvmTag, "--setactivationskip", "n"}
	if pool == "" {
		args = append(args, "--extents", "100%ORIGIN")
	}
	w := l.words.without("ro", "rw")
	if kind, err := tools(ctx, "blkid", "-o", "value", "-s", "TYPE", l.device); err == nil && kind == "xfs" && !w.has("nouuid") {
		w = append(w, "nouuid") // xfs refuses to mount two of one UUID
	}
	if readOnly {
		w = append(w, "ro")
	}
	if err := (filesystem{Volume: to}).Create(ctx); err != nil {
		return nil, err
	}
	if _, err := tools(ctx, "lvcreate", append(args, l.group+"/"+l.logical)...); err != nil {
		return nil, err
	}
	options := maps.Clone(l.Options)
	options["device"] = "/dev/" + l.group + "/" + name
	delete(options, "o")
	if len(w) > 0 {
		options["o"] = strings.Join(w, ",")
	}
	return options, nil
}

// tools are those of lvm(8).
func tools(ctx context.Context, command string, args ...string) (string, error) {
	return external(ctx, command, "lvm2", args...)
}
