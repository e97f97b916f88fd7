package driver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
)

// lvm mounts a logical volume that the user made, plain or thin, whatever file
// system is on it. Its snapshots are logical volumes that we made and tagged.
type lvm struct {
	filesystem
	group, logical string
}

// lvmTag marks what we made, for lvs @unionmount to list it.
const lvmTag = "unionmount"

// proof is a tag that only what we made under this very name has: nothing else is ever
// deleted, whatever else a person tagged.
func (l lvm) proof() string { return lvmTag + "=" + l.logical }

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
	switch ours, err := l.ours(ctx); {
	case err != nil:
		return err
	case ours:
		return fail(ErrInUse, "%s is a snapshot or clone of another volume: volume create --from makes one of that", l.device)
	}
	return l.filesystem.Create(ctx)
}

// Remove deletes a snapshot or clone. What the user made stays, with its data.
func (l lvm) Remove(ctx context.Context) error {
	if err := l.filesystem.Remove(ctx); err != nil {
		return err
	}
	ours, err := l.ours(ctx)
	if err != nil || !ours {
		return err
	}
	_, err = tools(ctx, "lvremove", "--yes", l.group+"/"+l.logical)
	return err
}

// ours tells whether there is a logical volume of that name which we made, also one
// that nobody activated yet.
func (l lvm) ours(ctx context.Context) (bool, error) {
	tags, err := tools(ctx, "lvs", "--noheadings", "-o", "lv_tags", "--select", fmt.Sprintf(`vg_name="%s" && lv_name="%s"`, l.group, l.logical))
	return words(strings.Split(tags, ",")).has(l.proof()), err
}

// report asks lvs for one field.
func (l lvm) report(ctx context.Context, field string) (string, error) {
	return tools(ctx, "lvs", "--noheadings", "-o", field, l.group+"/"+l.logical)
}

func (l lvm) Method() Method {
	return Method{"lvm snapshot", "no data is copied: what changes later is kept twice; " +
		"for a volume that isn't thin as much of the group is set aside as the volume is large"}
}

// Plan draws the name of the logical volume. The device itself is never read-only:
// mounting a file system that was in use may take a look at its journal.
func (l lvm) Plan(ctx context.Context, _ Volume, readOnly bool) (map[string]string, error) {
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
	w := l.words.without("ro", "rw")
	if kind, err := tools(ctx, "blkid", "-o", "value", "-s", "TYPE", l.device); err == nil && kind == "xfs" && !w.has("nouuid") {
		w = append(w, "nouuid") // xfs refuses to mount two of one UUID
	}
	if readOnly {
		w = append(w, "ro")
	}
	options := maps.Clone(l.Options)
	options["device"] = fmt.Sprintf("/dev/%s/%.100s-%s", l.group, l.logical, strings.ToLower(rand.Text()[:16]))
	delete(options, "o")
	if len(w) > 0 {
		options["o"] = strings.Join(w, ",")
	}
	return options, nil
}

func (l lvm) Snapshot(ctx context.Context, to Volume, _ bool) error {
	opened, err := Open(to)
	made, ok := opened.(lvm)
	if err != nil || !ok || made.group != l.group {
		return errors.Join(err, fmt.Errorf("snapshot of %s: device %q is not as planned", l.device, to.Options["device"]))
	}
	args := []string{"--snapshot", "--name", made.logical, "--addtag", lvmTag, "--addtag", made.proof(), "--setactivationskip", "n"}
	pool, err := l.report(ctx, "pool_lv")
	if err != nil {
		return err
	}
	if pool == "" {
		args = append(args, "--extents", "100%ORIGIN")
	}
	if err := made.filesystem.Create(ctx); err != nil {
		return err
	}
	if _, err := tools(ctx, "lvcreate", append(args, l.group+"/"+l.logical)...); err != nil {
		return errors.Join(err, made.Remove(context.WithoutCancel(ctx)))
	}
	return nil
}

// tools are those of lvm(8). They are asked to end, never killed: lvcreate could leave
// its origin suspended. Until it has the lock of the group it ends, and has made nothing;
// from then on it finishes, also if this process is killed, and who looks waits for it.
func tools(ctx context.Context, command string, args ...string) (string, error) {
	runtime.LockOSThread() // Pdeathsig comes when the thread ends
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return output(cmd, "lvm2")
}
