package volumes

import (
	"errors"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	good := map[string]Spec{
		"db:/var/lib/db":       {Name: "db", Target: "/var/lib/db"},
		"db:/var/lib/db/:ro":   {Name: "db", Target: "/var/lib/db", ReadOnly: true},
		"db:/a/../b:rw,nocopy": {Name: "db", Target: "/b", NoCopy: true},
		"/host/p:/c":           {Path: "/host/p", Target: "/c"},
		"/host/p/:/c:ro,z":     {Path: "/host/p", Target: "/c", ReadOnly: true},
		"a.b-c_d:/x:cached":    {Name: "a.b-c_d", Target: "/x"},
	}
	for s, want := range good {
		if got, err := ParseSpec(s); err != nil || got != want {
			t.Errorf("ParseSpec(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "db", ":/x", "db:", "db:x", "db:/", "db:/..", "a:/x", "../x:/y", "db:/x:ro,rw",
		"db:/x:what", "db:/x:ro:z", "-db:/x", "/h:/c:nocopy", "db:/x:nocopy,nocopy", "a b:/x"} {
		if _, err := ParseSpec(s); !errors.Is(err, ErrBadSpec) {
			t.Errorf("ParseSpec(%q) = %v, want a refusal", s, err)
		}
	}
	if _, err := ParseSpec("/anonymous"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("an anonymous volume: %v", err)
	}
	if err := CheckName(strings.Repeat("a", 256)); err == nil {
		t.Error("a name of 256 bytes was accepted")
	}
}
