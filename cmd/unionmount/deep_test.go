package main_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// deep is a lower of nested directories, each with its own mode, owner, attributes and times.
const deep = `
d=.
for i in 1 2 3 4 5 6 7 8; do d=$d/d$i; mkdir $d; echo $i > $d/f; done
d=.
for i in 1 2 3 4 5 6 7 8; do d=$d/d$i; chown 10$i:20$i $d; chmod 7$((i-1))5 $d; setfattr -n user.k -v $i $d; done
setfacl -d -m u:1000:rwx d1/d2/d3; chmod 1777 d1/d2; chmod 2755 d1
find . -depth -exec touch -h -d 2001-02-03T04:05:06.789 {} +
`

// TestDeepCopyUp: what lies deep in directories that upper lacks brings all of them up at once, and each is as it was.
func TestDeepCopyUp(t *testing.T) {
	need(t, "setfattr", "setfacl")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		mustShell(t, s.lowers[0], deep)
		s.mount("--io", io)
		plain := s.plainCopy(t)
		for _, b := range []string{plain, s.mnt} {
			mustShell(t, b, "chmod 640 d1/d2/d3/d4/d5/d6/d7/d8/f; echo more >> d1/d2/f")
		}
		sameTree(t, "after a copy-up", plain, s.mnt)
		inner := s.upper
		for i := 1; i <= 8; i++ {
			inner += fmt.Sprint("/d", i)
			marks := xattrs(inner)
			if _, ok := marks["trusted.overlay.origin"]; !ok {
				t.Errorf("%s has no origin", inner)
			}
			if _, ok := marks["trusted.overlay.impure"]; !ok {
				t.Errorf("%s holds what has an origin, and isn't impure", inner)
			}
		}
		s.remount()
		sameTree(t, "after a remount", plain, s.mnt)
		s.sameInKernel(t)
	})
}

// TestDeepCopyUpsAtOnce: several need the same directories, or some of them, at the same moment.
func TestDeepCopyUpsAtOnce(t *testing.T) {
	need(t, "setfattr", "setfacl")
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		const trees, clients = 20, 8
		for i := range trees {
			mkdir(t, fmt.Sprint(s.lowers[0], "/", i))
			mustShell(t, fmt.Sprint(s.lowers[0], "/", i), deep)
		}
		s.mount("--io", io)
		var wg sync.WaitGroup
		failed := make(chan error, trees*clients)
		for i := range trees {
			for c := range clients {
				wg.Add(1)
				go func() {
					defer wg.Done()
					at := s.in(fmt.Sprint(i))
					for d := 1; d <= 1+c; d++ {
						at += fmt.Sprint("/d", d)
					}
					failed <- errors.Join(os.WriteFile(fmt.Sprint(at, "/new", c), []byte("new"), 0o600), os.Chmod(at, 0o750), addTo(at+"/f", "more"),
						os.Rename(at+"/f", at+"/g"))
				}()
			}
			wg.Wait()
		}
		close(failed)
		for err := range failed {
			must(t, err)
		}
		for i := range trees {
			at := s.in(fmt.Sprint(i))
			for c := range clients {
				at += fmt.Sprint("/d", c+1)
				wantContent(t, at+"/g", fmt.Sprint(c+1, "\nmore"))
				wantContent(t, fmt.Sprint(at, "/new", c), "new")
				if m := lstat(t, at).Mode & 0o7777; m != 0o750 {
					t.Errorf("%s: mode %o", at, m)
				}
			}
		}
		if left, err := os.ReadDir(s.work + "/work"); err != nil || strings.Contains(fmt.Sprint(left), "#") {
			t.Errorf("left in work: %v, %v", left, err)
		}
	})
}
