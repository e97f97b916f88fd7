package engine

import (
	"errors"
	"reflect"
	"testing"
)

func TestParseOptions(t *testing.T) {
	g, err := ParseOptions([]string{`lowerdir=/a\:b:/c,upperdir=/u,workdir=/w,volume=db:/var/lib/db,volume=/h:/p:ro`,
		`redirect_dir=nofollow,volatile,userxattr,noacl,static_nlink,timeout=1.5,fsname=x,allow_other,nosuid,noatime,private,x-gvfs-hide,ro`})
	if err != nil {
		t.Fatal(err)
	}
	want := Given{
		Options: Options{Redirect: "nofollow", UserXattr: true, Volatile: true, NoACL: true, StaticNlink: true,
			TimeoutMs: 1500, FSName: "x", AllowOther: true, Words: []string{"nosuid", "noatime"}, Ignored: []string{"private", "x-gvfs-hide"}},
		Lowers: []string{"/a:b", "/c"}, Upper: "/u", Work: "/w",
		Volumes: []string{"db:/var/lib/db", "/h:/p:ro"}, ReadOnly: true,
	}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("got  %+v\nwant %+v", g, want)
	}
}

func TestRefusedOptions(t *testing.T) {
	for _, w := range []string{"uidmapping=:0:1:2", "gidmapping=0:1:2", "squash_to_root", "squash_to_uid=1",
		"squash_to_gid=1", "xattr_permissions=2", `context="a:b,c:d"`} {
		if _, err := ParseOptions([]string{w}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v, want unsupported", w, err)
		}
	}
	for _, w := range []string{"nonsense", "lowerdir", "redirect_dir=maybe", "metacopy=yes", "timeout=x", `fsname="x`, "volatile=1", "upper=/u"} {
		if _, err := ParseOptions([]string{w}); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v, want a refusal", w, err)
		}
	}
}
