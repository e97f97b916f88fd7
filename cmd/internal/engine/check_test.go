package engine

import (
	"errors"
	"github.com/unionmount/unionmount/unionfs/suite"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckRefuses goes through bad input: each is refused, by a message that
// says which part and why, and nothing is made.
func TestCheckRefuses(t *testing.T) {
	if _, err := os.Stat(fuseDevice); err != nil {
		suite.Absent(t, "no "+fuseDevice)
	}
	ok := Request{Name: "m", Layers: []string{"l1", "l2"}, Mountpoint: "mnt", Upper: "up", Work: "work"}
	cases := map[string]struct {
		change func(q *Request)
		kind   error
		want   string
	}{
		"nothing wrong":               {func(q *Request) {}, nil, ""},
		"work yet to be made":         {func(q *Request) { q.Work = "newwork" }, nil, ""},
		"work beside by default":      {func(q *Request) { q.Work = "" }, nil, ""},
		"upper by default":            {func(q *Request) { q.Upper, q.Work = "", "" }, nil, ""},
		"mountpoint is a layer":       {func(q *Request) { q.Mountpoint = "l2" }, nil, ""},
		"a file as a volume":          {func(q *Request) { q.Volumes = []string{"DIR/file:/f"} }, nil, ""},
		"missing layer":               {func(q *Request) { q.Layers[1] = "DIR/none" }, errMissing, "layer DIR/none: no such directory"},
		"bare word":                   {func(q *Request) { q.Layers[1] = "none" }, ErrNotFound, "layer none: neither"},
		"layer is a file":             {func(q *Request) { q.Layers[1] = "file" }, nil, "layer DIR/file: not a directory"},
		"layer twice":                 {func(q *Request) { q.Layers[1] = "l1/../l1/." }, nil, "layer DIR/l1: it is given twice"},
		"layer twice by a link":       {func(q *Request) { q.Layers[1] = "link-l1" }, nil, "layer DIR/link-l1: it is given twice (DIR/l1)"},
		"layer in a layer":            {func(q *Request) { q.Layers[1] = "l1/sub" }, nil, "lies inside layer DIR/l1"},
		"layer around a layer":        {func(q *Request) { q.Layers = []string{"l1/sub", "l1"} }, nil, "contains layer DIR/l1/sub"},
		"empty layer":                 {func(q *Request) { q.Layers[0] = "" }, ErrUsage, "empty"},
		"no layer":                    {func(q *Request) { q.Layers = nil }, ErrUsage, "no layer"},
		"missing upper":               {func(q *Request) { q.Upper = "none" }, errMissing, "upper DIR/none: no such"},
		"upper is a layer":            {func(q *Request) { q.Upper = "l1" }, nil, "upper DIR/l1: it is a layer too"},
		"upper in a layer":            {func(q *Request) { q.Upper = "l1/sub" }, nil, "inside layer DIR/l1"},
		"layer in upper":              {func(q *Request) { q.Layers = []string{"up/sub"} }, nil, "layer DIR/up/sub lies inside it"},
		"default upper in a layer":    {func(q *Request) { q.Upper, q.Work, q.Layers = "", "", []string{"DIR"} }, nil, "would lie inside layer DIR"},
		"metacopy by user.* marks":    {func(q *Request) { q.Options.Metacopy, q.Options.UserXattr = true, true }, ErrUnsupported, "leave it out"},
		"upper and read-only":         {func(q *Request) { q.ReadOnly = true }, ErrUsage, "read-only"},
		"work without upper":          {func(q *Request) { q.Upper = "" }, ErrUsage, "belongs to an upper"},
		"work is upper":               {func(q *Request) { q.Work = "up" }, nil, "must lie beside upper DIR/up"},
		"work in upper":               {func(q *Request) { q.Work = "up/sub" }, nil, "must lie beside upper DIR/up"},
		"new work in upper":           {func(q *Request) { q.Work = "up/w" }, nil, "must lie beside upper DIR/up"},
		"upper in work":               {func(q *Request) { q.Upper = "work/sub" }, nil, "must lie beside upper"},
		"work in a layer":             {func(q *Request) { q.Work = "l1/w" }, nil, "work DIR/l1/w: it lies inside layer DIR/l1"},
		"work on another file system": {func(q *Request) { q.Work = "/proc/self" }, nil, "on another file system than upper DIR/up"},
		"missing mountpoint":          {func(q *Request) { q.Mountpoint = "none" }, errMissing, "mountpoint DIR/none: no such"},
		"empty mountpoint":            {func(q *Request) { q.Mountpoint = "" }, ErrUsage, "empty"},
		"mountpoint is a file":        {func(q *Request) { q.Mountpoint = "file" }, nil, "not a directory"},
		"mountpoint in a layer":       {func(q *Request) { q.Mountpoint = "l1/sub" }, nil, "inside layer DIR/l1"},
		"mountpoint in upper":         {func(q *Request) { q.Mountpoint = "up/sub" }, nil, "inside upper DIR/up"},
		"mountpoint is upper":         {func(q *Request) { q.Mountpoint = "up" }, nil, "upper DIR/up is it"},
		"mountpoint in work":          {func(q *Request) { q.Mountpoint = "work/sub" }, nil, "inside work DIR/work"},
		"mountpoint in a volume":      {func(q *Request) { q.Mountpoint, q.Volumes = "host/sub", []string{"DIR/host:/v"} }, nil, "volume DIR/host and it"},
		"mountpoint around a volume":  {func(q *Request) { q.Mountpoint, q.Volumes = "host", []string{"DIR/host/sub:/v"} }, nil, "volume DIR/host/sub and it"},
		"mountpoint around the root":  {func(q *Request) { q.Mountpoint, q.Upper, q.Work = "home", "", "" }, nil, "root DIR/home/root lies below it"},
		"mountpoint in the volumes":   {func(q *Request) { q.Mountpoint = "home/root/volumes/sub" }, nil, "which holds volumes"},
		"missing volume source":       {func(q *Request) { q.Volumes = []string{"DIR/none:/v"} }, errMissing, "volume DIR/none: no such"},
		"socket as a volume":          {func(q *Request) { q.Volumes = []string{"/dev/null:/v"} }, nil, "neither a directory nor a regular file"},
		"bad spec":                    {func(q *Request) { q.Volumes = []string{"db:relative"} }, ErrUsage, "volume db:relative: "},
		"bad long spec":               {func(q *Request) { q.Mounts = []string{"type=disk,dst=/v"} }, ErrUsage, "volume type=disk,dst=/v: "},
		"long spec not built":         {func(q *Request) { q.Mounts = []string{"type=image,dst=/v"} }, ErrUnsupported, "not built"},
		"bad driver option":           {func(q *Request) { q.Mounts = []string{"src=db,dst=/v,volume-opt=odd=1"} }, ErrUsage, "invalid option"},
		"volumes from nobody":         {func(q *Request) { q.VolumesFrom = []string{"nobody"} }, ErrNotFound, "nobody: no such mount"},
		"volumes from, bad mode":      {func(q *Request) { q.VolumesFrom = []string{"nobody:rx"} }, ErrUsage, "invalid mode: rx"},
		"two volumes at one place":    {func(q *Request) { q.Volumes = []string{"db:/v", "lg:/x/../v/"} }, ErrUsage, "Duplicate mount point: /v"},
		"bad name":                    {func(q *Request) { q.Name = "a/b" }, ErrUsage, "only letters"},
		"bad io":                      {func(q *Request) { q.IO = "fast" }, ErrUsage, "want auto, open or cached"},
		"bad volume-io":               {func(q *Request) { q.VolumeIO = "fast" }, ErrUsage, "want auto, bind or fuse"},
		"bad log level":               {func(q *Request) { q.LogLevel = "loud" }, ErrUsage, "want debug"},
		"cached with routed volumes": {func(q *Request) {
			q.IO, q.VolumeIO, q.Volumes = "cached", "fuse", []string{"db:/v"}
		}, ErrUnsupported, "volumes go through this connection"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := fixture(t)
			e := &Engine{Root: dir + "/home/root"}
			q := ok
			q.Layers = append([]string(nil), ok.Layers...)
			c.change(&q)
			place := func(s string) string { return strings.ReplaceAll(s, "DIR", dir) }
			for i := range q.Layers {
				q.Layers[i] = place(q.Layers[i])
			}
			for i := range q.Volumes {
				q.Volumes[i] = place(q.Volumes[i])
			}
			t.Chdir(dir)
			before := listing(t, dir)
			r, err := e.resolve(q)
			if err == nil {
				err = e.check(r)
			}
			if after := listing(t, dir); after != before {
				t.Errorf("something changed:\n%s\nwas\n%s", after, before)
			}
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && err == nil:
				t.Errorf("not refused, want %q", c.want)
			case c.want != "" && (!strings.Contains(err.Error(), place(c.want)) || c.kind != nil && !errors.Is(err, c.kind)):
				t.Errorf("refused with %q, want %q of kind %v", err, place(c.want), c.kind)
			}
		})
	}
}

func fixture(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"l1/sub", "l2", "up/sub", "work/sub", "mnt", "host/sub", "home/root/volumes/sub"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(dir+"/file", nil, 0o644), os.Symlink("l1", dir+"/link-l1")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		names = append(names, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"a", "web", "A1", "a.b-c_d", strings.Repeat("a", maxName)} {
		if !validName(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", ".", "..", ".a", "-a", "_a", "a/b", "a b", "ä", "a\x00", strings.Repeat("a", maxName+1)} {
		if validName(name) {
			t.Errorf("%q is accepted", name)
		}
	}
}
