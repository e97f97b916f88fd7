package startree

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// finish gives all objects of the layer owner, mode, attributes and times; the last ones made first, so that a
// directory's times stay.
func (b *builder) finish() error {
	done := map[uint64]bool{} // objects with several names come several times
	for i := len(b.own) - 1; i >= 0; i-- {
		n := b.own[i]
		var st unix.Stat_t
		if err := unix.Lstat(b.at(n.path), &st); err != nil {
			return err
		}
		if done[st.Ino] {
			continue
		}
		done[st.Ino] = true
		if err := b.attributes(n.path, &st); err != nil {
			return fmt.Errorf("%q: %w", n.path, err)
		}
	}
	// Making an object's attributes reads and changes its directory no more: the times come last of all.
	for i := len(b.own) - 1; i >= 0; i-- {
		ts := []unix.Timespec{b.past(), b.past()}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, b.at(b.own[i].path), ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	return nil
}

// past is a time that no kernel will set again.
func (b *builder) past() unix.Timespec {
	return unix.Timespec{Sec: b.rng.Int63n(1_500_000_000), Nsec: b.rng.Int63n(1_000_000_000)}
}

func (b *builder) attributes(p string, st *unix.Stat_t) error {
	full, kind := b.at(p), st.Mode&unix.S_IFMT
	if b.opt.Root && p != "" {
		owners := []int{0, 0, 1000, 1001}
		if err := os.Lchown(full, owners[b.rng.Intn(4)], owners[b.rng.Intn(4)]); err != nil {
			return err
		}
	}
	foreign := b.opt.User != 0 && p != "" && b.rng.Intn(5) == 0
	if b.opt.User != 0 && !foreign {
		if err := os.Lchown(full, b.opt.User, b.opt.User); err != nil {
			return err
		}
	}
	if b.rng.Intn(3) == 0 && (kind == unix.S_IFREG || kind == unix.S_IFDIR) {
		if err := unix.Lsetxattr(full, "user.a", b.bytes(b.rng.Int63n(200)), 0); err != nil {
			return err
		}
	}
	if err := b.privileged(full, kind); err != nil {
		return err
	}
	if kind != unix.S_IFLNK { // the mode may forbid to set attributes
		mode := b.mode(kind, p)
		if foreign {
			mode &^= 0o022
		}
		if err := unix.Chmod(full, mode); err != nil {
			return err
		}
	}
	if b.opt.ACL && !foreign && b.rng.Intn(6) == 0 && (kind == unix.S_IFREG || kind == unix.S_IFDIR) {
		return b.acl(full, kind)
	}
	return nil
}

// privileged adds what only root can set.
func (b *builder) privileged(full string, kind uint32) error {
	if !b.opt.Root {
		return nil
	}
	if b.rng.Intn(6) == 0 {
		if err := unix.Lsetxattr(full, "trusted.a", b.bytes(b.rng.Int63n(200)), 0); err != nil {
			return err
		}
	}
	if kind == unix.S_IFREG && b.rng.Intn(8) == 0 {
		return unix.Lsetxattr(full, "security.capability", []byte(Capability()), 0)
	}
	return nil
}

// mode draws permissions. Where root doesn't clean up all directories can be used by their owner, or no test could.
func (b *builder) mode(kind uint32, p string) uint32 {
	if kind == unix.S_IFDIR {
		modes := []uint32{0o755, 0o755, 0o777, 0o700, 0o775, 0o2775, 0o1777}
		if p == "" {
			return 0o755
		}
		if b.opt.Root || b.opt.User != 0 {
			modes = append(modes, 0o555)
		}
		return modes[b.rng.Intn(len(modes))]
	}
	modes := []uint32{0o644, 0o644, 0o666, 0o600, 0o755, 0o444, 0o4755, 0o2755, 0o400}
	return modes[b.rng.Intn(len(modes))]
}

// Capability is a value of security.capability: cap_net_raw, permitted and effective.
func Capability() string {
	return "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
}
