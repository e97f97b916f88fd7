package bench

import (
	"os"
	"strings"
)

// peer is one way to have a tree of files.
type peer struct {
	name  string
	about string
	// missing says why it can't be measured here; "" if it can.
	missing func(Config) string
	// mount makes the tree and sets the site's view.
	mount   func(*site) error
	unmount func(*site) error
	volume  bool // the client works in a volume: no layers, no copy-up
	ours    bool
	device  bool // mounted with io_uring off, also in a run that enables it
	user    bool // mounted by a plain user: measured with a plain client only
	slow    bool // left out of a quick run unless asked for
}

// Names of the peers that others are compared with.
const (
	Plain   = "plain"
	Overlay = "overlayfs"
)

// peers is everyone, in the order of the tables.
func peers() []peer {
	all := []peer{
		{name: Plain, about: "a directory of the same file system", mount: mountPlain, unmount: nothing},
		{name: Overlay, about: "the kernel's overlayfs", missing: kernelOverlay, mount: mountOverlay, unmount: umount},
		{name: "fuse-overlayfs", about: "fuse-overlayfs, by root", missing: needs("fuse-overlayfs"), mount: mountFuseOverlay(false), unmount: umount},
		{name: "fuse-overlayfs-user", about: "fuse-overlayfs, by a plain user", missing: needs("fuse-overlayfs", "fusermount3"),
			mount: mountFuseOverlay(true), unmount: fusermount, user: true},
		{name: "unionfs-fuse", about: "unionfs-fuse, by root", missing: needs("unionfs"), mount: mountUnionfs, unmount: umount, slow: true},
	}
	for _, w := range []struct {
		name, about, io, way string
		user                 bool
		flags                []string // more of mount's: for a comparison of its own
	}{
		{name: "cached", about: "unionmount --io cached", io: "cached"},
		{name: "volatile", about: "unionmount --io cached --volatile: no copy-up waits for the disk, as with fuse-overlayfs", io: "cached", flags: []string{"--volatile"}},
		{name: "metacopy", about: "unionmount --io cached -o metacopy=on: chmod and the like copy no data", io: "cached", flags: []string{"-o", "metacopy=on"}},
		{name: "open", about: "unionmount --io open", io: "open"},
		{name: "user", about: "unionmount by a plain user", io: "auto", user: true},
		{name: "user-volatile", about: "unionmount --volatile by a plain user", io: "auto", user: true, flags: []string{"--volatile"}},
		{name: "volume-bind", about: "a volume of unionmount, bound", io: "auto", way: "bind"},
		{name: "volume-fuse", about: "a volume of unionmount, routed", io: "auto", way: "fuse"}, // forwards locks: never by io_uring
	} {
		p := peer{name: w.name, about: w.about, ours: true, user: w.user, volume: w.way != "", slow: w.flags != nil}
		p.mount = mountOurs(w.io, w.way, w.user, w.flags)
		p.unmount = unmountOurs(w.user)
		if w.user {
			p.missing = needs("fusermount3")
		}
		all = append(all, p)
		if w.way == "" && w.flags == nil {
			all = append(all, byDevice(p))
		}
	}
	return all
}

// byDevice is a peer of ours whose requests arrive by /dev/fuse while io_uring is on for the others. A quick run
// has it of what the kernel caches only.
func byDevice(p peer) peer {
	p.slow = p.name != "cached"
	p.name, p.about, p.device = p.name+"-device", p.about+", io_uring off", true
	had := p.missing
	p.missing = func(c Config) string {
		if why := withoutUring(c); why != "" || had == nil {
			return why
		}
		return had(c)
	}
	return p
}

// flat tells whether a peer's clients work in a plain copy of the layers.
func (p *peer) flat() bool { return p.volume || p.name == Plain }

func needs(programs ...string) func(Config) string {
	return func(Config) string { return executable(programs...) }
}

func kernelOverlay(Config) string {
	known, err := os.ReadFile("/proc/filesystems")
	if err == nil && !strings.Contains(string(known), "\toverlay\n") {
		return "the kernel has no overlayfs"
	}
	return ""
}

func nothing(*site) error { return nil }

func umount(s *site) error { return s.run(0, "umount", s.merged) }

func fusermount(s *site) error { return s.run(plainUser, "fusermount3", "-u", s.merged) }

func mountPlain(s *site) error {
	s.view = s.flat
	return nil
}

func mountOverlay(s *site) error {
	s.view = s.merged
	return s.run(0, "mount", "-t", "overlay", "overlay", s.merged, "-o",
		"index=on,redirect_dir=on,lowerdir="+s.lowerdir()+",upperdir="+s.upper+",workdir="+s.work)
}

func mountFuseOverlay(user bool) func(*site) error {
	return func(s *site) error {
		s.view = s.merged
		words, uid := "lowerdir="+s.lowerdir()+",upperdir="+s.upper+",workdir="+s.work, plainUser
		if !user {
			words, uid = words+",allow_other", 0
		}
		return s.run(uid, "fuse-overlayfs", "-o", words, s.merged)
	}
}

func mountUnionfs(s *site) error {
	s.view = s.merged
	branches := s.upper + "=RW"
	for _, l := range s.lowers {
		branches += ":" + l + "=RO"
	}
	return s.run(0, "unionfs", "-o", "cow,allow_other,use_ino", branches, s.merged)
}

// mountOurs mounts unionmount. With a way the client works in a volume that
// holds the plain copy, else in the union.
func mountOurs(io, way string, user bool, flags []string) func(*site) error {
	return func(s *site) error {
		s.view = s.merged
		args := []string{"mount", "--name", "bench", "--io", io, "--upper", s.upper, "--work", s.work}
		if way != "" {
			args = append(args, "--volume-io", way, "-v", s.flat+":/volume")
			s.view = s.merged + "/volume"
		}
		uid := 0
		if user {
			uid = plainUser
		}
		return s.unionmount(uid, append(append(append(args, flags...), s.lowers...), s.merged)...)
	}
}

// unmountOurs leaves the record behind: all that the site's root holds goes with the site.
func unmountOurs(user bool) func(*site) error {
	return func(s *site) error {
		uid := 0
		if user {
			uid = plainUser
		}
		return s.unionmount(uid, "umount", "bench")
	}
}
