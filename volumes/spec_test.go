package volumes

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	good := map[string]Spec{
		"/anonymous":                      {Target: "/anonymous"},
		"/anonymous/":                     {Target: "/anonymous"},
		"db:/var/lib/db":                  {Name: "db", Target: "/var/lib/db"},
		"db:/var/lib/db/:ro":              {Name: "db", Target: "/var/lib/db", ReadOnly: true},
		"db:/a/../b:rw,nocopy":            {Name: "db", Target: "/b", NoCopy: true},
		"db:/x:":                          {Name: "db", Target: "/x"},
		"/host/p:/c":                      {Path: "/host/p", Target: "/c"},
		"/host/p/:/c:ro,z":                {Path: "/host/p", Target: "/c", ReadOnly: true, Ignored: []string{"z"}},
		"/host/p:/c:rprivate,Z,delegated": {Path: "/host/p", Target: "/c", Ignored: []string{"Z", "delegated"}},
		"a.b-c_d:/x:cached":               {Name: "a.b-c_d", Target: "/x", Ignored: []string{"cached"}},
	}
	for s, want := range good {
		if got, err := ParseSpec(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseSpec(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
	bad := map[string]string{
		"":                    "want NAME:/path",
		"db":                  "mount path must be absolute",
		":/x":                 "want NAME:/path",
		"db:":                 "no path in the union after the colon: want NAME:/path",
		"db:x":                "mount path must be absolute: want NAME:/path",
		"db:/":                "destination can't be '/'",
		"db:/..":              "destination can't be '/'",
		"/":                   "destination can't be '/'",
		"/x:ro":               "takes no mode",
		"a:/x":                "at least two alphanumeric characters",
		"../x:/y":             "includes invalid characters",
		"-db:/x":              "includes invalid characters",
		"a b:/x":              "use absolute path",
		"db:/x:ro,rw":         "ro and rw exclude",
		"db:/x:z,Z":           "z and Z exclude",
		"db:/x:what":          "invalid mode: what: want ro or rw",
		"db:/x:ro,":           "invalid mode: ",
		"db:/x:RO":            "invalid mode: RO",
		"db:/x:ro:z":          "want NAME:/path",
		"db:/x:cached,cached": "exclude",
		"/h:/c:nocopy":        "nocopy is for volumes",
		"db:/x:rprivate":      "is for host paths",
	}
	for s, want := range bad {
		if _, err := ParseSpec(s); !errors.Is(err, ErrBadSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSpec(%q) = %v, want a refusal with %q", s, err, want)
		}
	}
	for _, s := range []string{"/h:/c:rshared", "/h:/c:ro,slave"} {
		if _, err := ParseSpec(s); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "not built") {
			t.Errorf("ParseSpec(%q) = %v, want unsupported", s, err)
		}
	}
	if err := CheckName(strings.Repeat("a", 256)); err == nil {
		t.Error("a name of 256 bytes was accepted")
	}
}

func TestParseMountSpec(t *testing.T) {
	good := map[string]Spec{
		"dst=/x":                             {Target: "/x"},
		"type=volume,source=db,target=/x":    {Name: "db", Target: "/x"},
		"Source=db,DESTINATION=/x/,ReadOnly": {Name: "db", Target: "/x", ReadOnly: true},
		"src=db,dst=/x,ro=false":             {Name: "db", Target: "/x"},
		"src=db,dst=/x,volume-nocopy":        {Name: "db", Target: "/x", NoCopy: true},
		"src=db,dst=/x,volume-nocopy=0,volume-driver=local,volume-label=a=b,volume-label=c,volume-opt=type=tmpfs,volume-opt=device=tmpfs": {
			Name: "db", Target: "/x", Driver: "local", Labels: map[string]string{"a": "b", "c": ""}, Options: map[string]string{"type": "tmpfs", "device": "tmpfs"}},
		`src=db,dst=/x,"volume-opt=o=addr=1.2.3.4,rw"`:                                 {Name: "db", Target: "/x", Options: map[string]string{"o": "addr=1.2.3.4,rw"}},
		"src=db,dst=/x,volume-subpath=a/b":                                             {Name: "db", Target: "/x", Subpath: "a/b"},
		"type=bind,src=/h/,dst=/x,consistency=cached":                                  {Path: "/h", Target: "/x", Ignored: []string{"consistency=cached"}},
		"type=BIND,src=/h,dst=/x,bind-propagation=rprivate,ro,bind-recursive=readonly": {Path: "/h", Target: "/x", ReadOnly: true},
		"type=bind,src=/h,dst=/x,bind-create-src":                                      {Path: "/h", Target: "/x", CreateSource: true},
		"type=bind,src=/h,dst=/x,bind-recursive=enabled":                               {Path: "/h", Target: "/x"},
		"type=tmpfs,dst=/x":                                                            {Target: "/x", Tmpfs: &Tmpfs{}},
		"type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=0700":                              {Target: "/x", Tmpfs: &Tmpfs{Size: 1 << 20, Mode: 0o700}},
	}
	for s, want := range good {
		if got, err := ParseMountSpec(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseMountSpec(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
	bad := map[string]string{
		"":                                      "EOF",
		"type=volume":                           "target is required",
		"type=,dst=/x":                          "type is required",
		"type=disk,dst=/x":                      "mount type unknown",
		"dst=x":                                 "must be absolute",
		"dst=/":                                 "destination can't be '/'",
		"dst":                                   "must be a key=value pair",
		"dst=/x,what=1":                         "unexpected key 'what' in 'what=1'",
		"dst=/x, ro":                            "should not have whitespace",
		"dst= /x":                               "should not have whitespace",
		"src=db,dst=/x,ro=maybe":                "invalid value for ro: maybe",
		"src=a,dst=/x":                          "at least two",
		"src=/h,dst=/x":                         "includes invalid characters",
		"dst=/x,ro":                             "must not set ReadOnly",
		"dst=/x,volume-subpath=a":               "must not set Subpath",
		"src=db,dst=/x,volume-subpath=../a":     "relative path within",
		"src=db,dst=/x,volume-subpath=/a":       "relative path within",
		"src=db,dst=/x,bind-recursive=enabled":  "cannot mix 'bind-*' options with mount type 'volume'",
		"type=bind,src=/h,dst=/x,volume-nocopy": "cannot mix 'volume-*' options with mount type 'bind'",
		"type=bind,src=/h,dst=/x,tmpfs-size=1":  "cannot mix 'tmpfs-*' options",
		"type=bind,dst=/x":                      "field Source must not be empty",
		"type=bind,src=h,dst=/x":                "must be absolute",
		"type=bind,src=/h,dst=/x,bind-propagation=odd":       "invalid propagation mode",
		"type=bind,src=/h,dst=/x,bind-recursive=odd":         "invalid value for bind-recursive",
		"type=bind,src=/h,dst=/x,bind-recursive=readonly":    "requires 'readonly'",
		"type=bind,src=/h,dst=/x,ro,bind-recursive=readonly": "requires 'bind-propagation=rprivate'",
		"type=tmpfs,src=x,dst=/x":                            "Source must not be specified",
		"type=tmpfs,dst=/x,tmpfs-mode=9":                     "invalid value for tmpfs-mode",
		"type=tmpfs,dst=/x,tmpfs-size=x":                     "invalid value for tmpfs-size",
		"dst=/x,consistency=odd":                             "invalid value for consistency",
		`dst=/x,"ro`:                                         "quote",
	}
	for s, want := range bad {
		if _, err := ParseMountSpec(s); !errors.Is(err, ErrBadSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseMountSpec(%q) = %v, want a refusal with %q", s, err, want)
		}
	}
	for _, s := range []string{"type=image,src=x,dst=/x", "type=cluster,src=x,dst=/x", "type=npipe,src=x,dst=/x", "dst=/x,image-subpath=a",
		"type=bind,src=/h,dst=/x,bind-propagation=rslave", "type=bind,src=/h,dst=/x,bind-nonrecursive", "type=bind,src=/h,dst=/x,ro,bind-recursive=writable"} {
		if _, err := ParseMountSpec(s); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "not built") {
			t.Errorf("ParseMountSpec(%q) = %v, want unsupported by name", s, err)
		}
	}
}
