package main_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestInfoAndVersion: info says what a mount then gets, and gives a remedy with each no.
func TestInfoAndVersion(t *testing.T) {
	s := userSite(t)
	if out := s.must("version"); !strings.HasPrefix(out, "unionmount ") || strings.Count(out, "\n") != 1 {
		t.Errorf("version: %q", out)
	}
	type facts map[string]struct{ Value, Remedy string }
	check := func(who, text string, mount func(flags ...string) record) {
		var info facts
		must(t, json.Unmarshal([]byte(text), &info))
		for _, key := range []string{"Version", "Kernel", "Root", "RootFileSystem", "DevFuse", "MountBy", "AllowOther", "Capabilities", "UserNamespace",
			"UmountHelper", "KernelPassthrough", "VolumeIO", "IO", "IOWithVolumes"} {
			if info[key].Value == "" {
				t.Errorf("%s: info has no %s", who, key)
			}
		}
		for key, f := range info {
			if f.Value == "no" && f.Remedy == "" {
				t.Errorf("%s: %s is no, without a remedy", who, key)
			}
		}
		if got := mount(); got.IO != info["IO"].Value {
			t.Errorf("%s: info says IO %s, a mount has %s", who, info["IO"].Value, got.IO)
		}
		got := mount("-v", "data:/v")
		if got.IO != info["IOWithVolumes"].Value || got.Volumes[0].IO != info["VolumeIO"].Value {
			t.Errorf("%s: info says %s and %s, a mount with a volume has %+v", who, info["IOWithVolumes"].Value, info["VolumeIO"].Value, got)
		}
	}
	for who, cli := range map[string]func(args ...string) string{
		"root": func(args ...string) string {
			return s.must(append([]string{"--root", s.dir + "/rootsroot"}, args...)...)
		},
		"plain user": func(args ...string) string { return s.userMust(suite.binary, args...) },
	} {
		check(who, cli("info", "--format", "json"), func(flags ...string) record {
			cli(append(append([]string{"mount", "--name", "m"}, flags...), s.lowers[0], s.mnt)...)
			got := decode(t, cli("inspect", "m"))[0]
			cli("rm", "-f", "m")
			return got
		})
		if table := cli("info"); !strings.Contains(table, "VolumeIO") || !strings.Contains(table, s.root) && who != "root" {
			t.Errorf("%s: info: %s", who, table)
		}
	}
}
