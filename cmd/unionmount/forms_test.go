package main_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// base is what the upper layers of these tests hide and change.
func base(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{"gone", "opaque", "kept", "renamed", "emptied/inner"} {
		write(t, dir+"/"+d+"/below", "below")
		write(t, dir+"/"+d+"/both", "below")
	}
	for _, f := range []string{"file-gone", "file-kept", "file-changed", "replaced-by-dir"} {
		write(t, dir+"/"+f, "below")
	}
	must(t, os.Symlink("file-kept", dir+"/link-gone"))
}

// asEveryStack mounts a hand-made layer over base as a lower, and as the upper, and hands the union to check.
func asEveryStack(t *testing.T, build func(top, bottom string), check func(t *testing.T, mnt string)) {
	t.Helper()
	for _, kind := range []string{"as a lower", "as the upper"} {
		for _, io := range []string{"cached", "open"} {
			aside(t, kind+" "+io, func(t *testing.T) {
				s := newSite(t, 2)
				top := s.lowers[0]
				if kind == "as the upper" {
					s.lowers, top = s.lowers[1:], s.upper
				}
				bottom := s.lowers[len(s.lowers)-1]
				base(t, bottom)
				build(top, bottom)
				s.mount("--io", io)
				check(t, s.mnt)
				s.remount()
				check(t, s.mnt)
			})
		}
	}
}

func TestWhiteoutForms(t *testing.T) {
	forms := map[string]func(dir, name string){
		"character device": func(dir, name string) { must(t, unix.Mknod(dir+"/"+name, unix.S_IFCHR, 0)) },
		".wh. file":        func(dir, name string) { write(t, dir+"/.wh."+name, "") },
		"trusted xattr": func(dir, name string) {
			write(t, dir+"/"+name, "")
			must(t, unix.Setxattr(dir+"/"+name, "trusted.overlay.whiteout", []byte("y"), 0))
			must(t, unix.Setxattr(dir, "trusted.overlay.opaque", []byte("x"), 0))
		},
		"user xattr": func(dir, name string) {
			write(t, dir+"/"+name, "")
			must(t, unix.Setxattr(dir+"/"+name, "user.overlay.whiteout", []byte("y"), 0))
			must(t, unix.Setxattr(dir, "user.overlay.opaque", []byte("x"), 0))
		},
	}
	for form, hide := range forms {
		aside(t, form, func(t *testing.T) {
			asEveryStack(t, func(top, _ string) {
				for _, n := range []string{"gone", "file-gone", "link-gone", "never-was"} {
					hide(top, n)
				}
				mkdir(t, top+"/kept")
				hide(top+"/kept", "both")
			}, func(t *testing.T, mnt string) {
				wantListing(t, mnt, "opaque", "kept", "renamed", "emptied", "file-kept", "file-changed", "replaced-by-dir")
				for _, n := range []string{"gone", "gone/below", "file-gone", "link-gone", "never-was", ".wh.gone", "kept/both"} {
					wantAbsent(t, mnt+"/"+n)
				}
				wantListing(t, mnt+"/kept", "below")
			})
		})
	}
}

func TestOpaqueForms(t *testing.T) {
	forms := map[string]func(dir string){
		"trusted.overlay.opaque":    func(dir string) { must(t, unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0)) },
		"user.overlay.opaque":       func(dir string) { must(t, unix.Setxattr(dir, "user.overlay.opaque", []byte("y"), 0)) },
		"user.fuseoverlayfs.opaque": func(dir string) { must(t, unix.Setxattr(dir, "user.fuseoverlayfs.opaque", []byte("y"), 0)) },
		"the file .wh..wh..opq":     func(dir string) { write(t, dir+"/.wh..wh..opq", "") },
		"whiteout of each child too": func(dir string) {
			must(t, unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0))
			write(t, dir+"/.wh.below", "")
		},
	}
	for form, close := range forms {
		aside(t, form, func(t *testing.T) {
			asEveryStack(t, func(top, _ string) {
				write(t, top+"/opaque/both", "top")
				write(t, top+"/opaque/new/deep", "top")
				close(top + "/opaque")
				mkdir(t, top+"/emptied")
				close(top + "/emptied")
			}, func(t *testing.T, mnt string) {
				wantListing(t, mnt+"/opaque", "both", "new")
				wantContent(t, mnt+"/opaque/both", "top")
				wantListing(t, mnt+"/emptied")
				wantAbsent(t, mnt+"/opaque/below")
				wantAbsent(t, mnt+"/opaque/.wh..wh..opq")
				wantAbsent(t, mnt+"/emptied/inner")
				if got := xattrs(mnt + "/opaque"); len(got) != 0 {
					t.Errorf("marks show as xattrs: %q", got)
				}
			})
		})
	}
}

func TestRedirectForms(t *testing.T) {
	for form, target := range map[string]string{"absolute": "/renamed", "relative": "renamed", "deep": "/emptied/inner"} {
		aside(t, form, func(t *testing.T) {
			asEveryStack(t, func(top, _ string) {
				write(t, top+"/new-name/both", "top")
				must(t, unix.Setxattr(top+"/new-name", "trusted.overlay.redirect", []byte(target), 0))
				must(t, unix.Mknod(top+"/renamed", unix.S_IFCHR, 0))
			}, func(t *testing.T, mnt string) {
				wantListing(t, mnt+"/new-name", "below", "both")
				wantContent(t, mnt+"/new-name/below", "below")
				wantContent(t, mnt+"/new-name/both", "top")
				wantAbsent(t, mnt+"/renamed")
			})
		})
	}
}

// changes is what the other unions do to base, so that we read their marks.
const changes = `
rm -rf gone file-gone link-gone replaced-by-dir
rm -rf opaque; mkdir opaque; echo new > opaque/both
rm kept/both; echo new > kept/new
echo more >> file-changed; chmod 600 kept/below
mkdir replaced-by-dir; echo in > replaced-by-dir/in
rm -rf emptied/*; mkdir -p emptied/inner/again
ln file-kept hard; ln -s nowhere link-new; mkfifo fifo; mknod dev c 1 3
mkdir twice; touch twice/a; rm -rf twice; mkdir twice; setfattr -n user.mine -v value twice
`

// readForeign has another union change base with the script and compares what it shows with what we show of the same directories.
func readForeign(t *testing.T, script string, mount func(s *site, at string), flags ...string) {
	t.Helper()
	for _, kind := range []string{"as the upper", "as a lower"} {
		aside(t, kind, func(t *testing.T) {
			s := newSite(t, 1)
			base(t, s.lowers[0])
			at := s.dir + "/foreign"
			mkdir(t, at)
			mount(s, at)
			mustShell(t, at, script)
			want := describe(t, at, nil)
			mustRun(t, "umount", at)
			if kind == "as a lower" {
				s.upperToLayer()
			}
			s.mount(flags...)
			if d := differences(want, describe(t, s.mnt, nil)); d != "" {
				t.Errorf("we show it differently:\n%s", d)
			}
			write(t, s.in("gone/again"), "ours")
			wantListing(t, s.in("gone"), "again")
			must(t, os.RemoveAll(s.in("opaque")))
			must(t, os.Mkdir(s.in("opaque"), 0o755))
			wantListing(t, s.in("opaque"))
			s.remount()
			wantListing(t, s.in("gone"), "again")
			wantListing(t, s.in("opaque"))
		})
	}
}

func TestFormsOfTheKernel(t *testing.T) {
	need(t, "setfattr")
	for name, options := range map[string][]string{
		"defaults":           {"index=off,redirect_dir=off"},
		"index and redirect": {"index=on,redirect_dir=on"},
		"userxattr":          {"userxattr"},
	} {
		aside(t, name, func(t *testing.T) {
			script := changes
			if strings.Contains(options[0], "redirect_dir=on") {
				script += "\nmv renamed moved; rm moved/both; mv moved kept/moved; mkdir renamed\n"
			}
			var flags []string
			if name == "userxattr" {
				flags = []string{"-o", "userxattr"}
			}
			readForeign(t, script, func(s *site, at string) { s.kernelOverlay(at, options...) }, flags...)
		})
	}
}

func TestFormsOfFuseOverlayfs(t *testing.T) {
	need(t, "fuse-overlayfs", "setfattr")
	for name, environment := range map[string]string{"devices": "", "files": "FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT=1"} {
		aside(t, name, func(t *testing.T) {
			readForeign(t, changes, func(s *site, at string) {
				cmd := command(t, "fuse-overlayfs", "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", s.lowers[0], s.upper, s.work), at)
				cmd.Env = append(os.Environ(), environment)
				if r := finish(cmd); r.code != 0 {
					t.Fatal(r)
				}
			})
		})
	}
}

// TestFormsOfImageLayers: the layers of an image that umoci made, unpacked as they are, give what umoci unpacks.
func TestFormsOfImageLayers(t *testing.T) {
	need(t, "umoci")
	s := newSite(t, 0)
	base(t, s.dir+"/base")
	write(t, s.dir+"/opq/only", "only")
	mustShell(t, s.dir, `
umoci init --layout img
umoci new --image img:a
umoci insert --image img:a base /
umoci unpack --image img:a bundle
cd bundle/rootfs
rm -rf gone file-gone link-gone; echo more >> file-changed; rm kept/both
rm replaced-by-dir; mkdir replaced-by-dir; echo in > replaced-by-dir/in
cd ../..
umoci repack --image img:a bundle
umoci insert --image img:a --opaque opq /opaque
umoci insert --image img:a --whiteout /renamed
rm -rf bundle
umoci unpack --image img:a reference`)
	var index, manifest struct {
		Manifests []struct{ Digest string }
		Layers    []struct{ Digest string }
	}
	blob := func(digest string) string { return s.dir + "/img/blobs/" + strings.Replace(digest, ":", "/", 1) }
	readJSON(t, s.dir+"/img/index.json", &index)
	readJSON(t, blob(index.Manifests[0].Digest), &manifest)
	for i, l := range manifest.Layers {
		dir := fmt.Sprintf("%s/layer%d", s.dir, i)
		mkdir(t, dir)
		unpackAsIs(t, blob(l.Digest), dir)
		s.lowers = append([]string{dir}, s.lowers...)
	}
	if found, _ := filepath.Glob(s.dir + "/layer*/opaque/.wh..wh..opq"); len(manifest.Layers) != 4 || len(found) != 1 {
		t.Fatalf("the fixture is wrong: %d layers, opaque marks %v", len(manifest.Layers), found)
	}
	s.mount()
	sameContent(t, s.dir+"/reference/rootfs", s.mnt)
	must(t, os.RemoveAll(s.in("opaque")))
	must(t, os.Mkdir(s.in("opaque"), 0o755))
	wantListing(t, s.in("opaque"))
}

// unpackAsIs unpacks an image layer with its whiteouts as the files they are.
func unpackAsIs(t *testing.T, layer, dir string) {
	t.Helper()
	f, err := os.Open(layer)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF || err == io.ErrUnexpectedEOF { // umoci insert leaves out the padding at the end
			return
		}
		must(t, err)
		path := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			mkdir(t, path)
			must(t, os.Chmod(path, os.FileMode(h.Mode)))
		case tar.TypeReg:
			data, err := io.ReadAll(r)
			must(t, err)
			write(t, path, string(data))
			must(t, os.Chmod(path, os.FileMode(h.Mode)))
		case tar.TypeSymlink:
			must(t, os.Symlink(h.Linkname, path))
		default:
			t.Fatalf("%s: unexpected type %c", h.Name, h.Typeflag)
		}
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, json.Unmarshal(data, into))
}

// sameContent compares two trees below their roots.
func sameContent(t *testing.T, want, got string) {
	t.Helper()
	w, g := describe(t, want, nil), describe(t, got, nil)
	delete(w, ".")
	delete(g, ".")
	if d := differences(w, g); d != "" {
		t.Errorf("%s is not as %s:\n%s", got, want, d)
	}
}

// TestManyLayers: lookup and listing over 1 to 500 layers.
func TestManyLayers(t *testing.T) {
	for _, n := range []int{1, 2, 63, 64, 65, 200, 500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newSite(t, n)
			plain := s.dir + "/plain"
			for i := n - 1; i >= 0; i-- { // the bottom first, so that the plain copy ends as the top says
				for _, b := range []string{s.lowers[i], plain} {
					write(t, fmt.Sprintf("%s/d/%d/own", b, i%10), fmt.Sprint(i))
					write(t, fmt.Sprintf("%s/d/f%d", b, i), fmt.Sprint(i))
					write(t, b+"/same", fmt.Sprint(i))
				}
				if i%7 == 3 && i+1 < n {
					must(t, unix.Mknod(fmt.Sprintf("%s/d/f%d", s.lowers[i], i+1), unix.S_IFCHR, 0))
					must(t, os.Remove(fmt.Sprintf("%s/d/f%d", plain, i+1)))
				}
			}
			s.mount()
			sameContent(t, plain, s.mnt)
			for _, b := range []string{plain, s.mnt} {
				must(t, os.Rename(b+"/d", b+"/e"))
				appendTo(t, b+"/same", "changed")
				must(t, os.RemoveAll(b+"/e/0"))
			}
			s.remount()
			sameContent(t, plain, s.mnt)
		})
	}
}
