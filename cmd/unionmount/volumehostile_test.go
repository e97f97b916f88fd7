package main_test

import (
	"os"
	"testing"
)

// TestNamesInAVolumeCommandNothing: who may write to a volume's root could make the names
// of an interrupted fill or restore. The next mount moved what a link of that name led to,
// on the host, into the volume, or deleted all the rest. Now they are names like any other.
func TestNamesInAVolumeCommandNothing(t *testing.T) {
	for _, name := range []string{".unionmount.fill", ".unionmount.filled", ".unionmount.restore", ".unionmount.restored"} {
		for _, kind := range []string{"a link", "a directory"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				s := newSite(t, 1)
				write(t, s.lowers[0]+"/data/from-layer", "layer\n")
				host := s.at("host")
				write(t, host+"/precious", "precious\n")
				s.must("volume", "create", "vol")
				write(t, s.data("vol", "kept"), "kept\n")
				if kind == "a link" {
					must(t, os.Symlink(host, s.data("vol", name)))
				} else {
					write(t, s.data("vol", name+"/in"), "in\n")
				}
				before := describe(t, s.data("vol", ""), nil)
				s.mountVolumes("fuse", "vol:/data")
				if d := differences(before, describe(t, s.in("data"), nil)); d != "" {
					t.Errorf("the mount changed the volume:\n%s", d)
				}
				s.umount()
				s.must("volume", "snapshot", "create", "vol", "snap")
				s.must("volume", "restore", "vol@snap")
				if d := differences(before, describe(t, s.data("vol", ""), nil)); d != "" {
					t.Errorf("a restore changed the volume:\n%s", d)
				}
				wantContent(t, host+"/precious", "precious\n")
				wantListing(t, host, "precious")
			})
		}
	}
}
