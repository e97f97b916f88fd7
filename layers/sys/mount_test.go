package sys

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseMounts(t *testing.T) {
	text := `24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
97 24 0:52 /sub\040dir /mnt/with\040blank\134and\011tab ro master:3 propagate_from:2 - fuse.unionmount my\040name rw,user_id=0
98 24 0:53 / /no-optional-fields rw - tmpfs tmpfs rw
99 24 0:54 / /o rw - overlay overlay rw,upperdir=/a\054b,workdir=/w
100 24 0:55 / /nosuper rw - proc proc

garbage
12 no dash here at all
`
	want := []Mount{
		{24, 1, "8:1", "/", "/", "ext4", "/dev/sda1", "rw,errors=remount-ro"},
		{97, 24, "0:52", "/sub dir", "/mnt/with blank\\and\ttab", "fuse.unionmount", "my name", "rw,user_id=0"},
		{98, 24, "0:53", "/", "/no-optional-fields", "tmpfs", "tmpfs", "rw"},
		{99, 24, "0:54", "/", "/o", "overlay", "overlay", `rw,upperdir=/a\054b,workdir=/w`},
		{100, 24, "0:55", "/", "/nosuper", "proc", "proc", ""},
	}
	got, err := ParseMounts(strings.NewReader(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseMounts: %v\n got %+v\nwant %+v", err, got, want)
	}
}

func TestUnescapeMount(t *testing.T) {
	for in, want := range map[string]string{
		`plain`: "plain", `a\040b`: "a b", `a\054b`: "a,b", `\134`: `\`, `end\04`: `end\04`, `\999x`: `\999x`, `a\\040`: `a\ `,
	} {
		if got := UnescapeMount(in); got != want {
			t.Errorf("UnescapeMount(%q) = %q, want %q", in, got, want)
		}
	}
}
