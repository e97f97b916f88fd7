package main

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func TestFormOf(t *testing.T) {
	for _, c := range []struct {
		args []string
		want form
	}{
		{[]string{"/sbin/mount.unionmount", "none", "/m"}, formMount},
		{[]string{"mount.fuse.unionmount", "none", "/m", "-o", "x"}, formMount},
		{[]string{"/sbin/umount.fuse.unionmount", "/m"}, formUmount},
		{[]string{"umount.unionmount", "/m"}, formUmount},
		{[]string{"fuse-overlayfs", "/m"}, formOverlay},
		{[]string{"unionmount", "none", "/m", "-o", "lowerdir=/a"}, formOverlay},
		{[]string{"unionmount", "-o", "lowerdir=/a", "/m"}, formOverlay},
		{[]string{"unionmount", "-olowerdir=/a", "/m"}, formOverlay},
		{[]string{"unionmount", "mount", "-o", "volatile", "/a", "/m"}, formCommand},
		{[]string{"unionmount", "--root", "/r", "mount", "/a", "/m", "-o", "ro"}, formCommand},
		{[]string{"unionmount", "volume", "create", "-o", "k=v", "db"}, formCommand},
		{[]string{"unionmount", "nonsense"}, formCommand},
		{[]string{"unionmount"}, formCommand},
	} {
		if got, _ := formOf(command(), c.args); got != c.want {
			t.Errorf("formOf(%q) = %d, want %d", c.args, got, c.want)
		}
	}
}

func TestParseHelper(t *testing.T) {
	for _, c := range []struct {
		form form
		args []string
		want helperArgs
	}{
		{formMount, []string{"none", "/m", "-sfnv", "-N", "ns", "-o", "a,b", "-t", "fuse.unionmount"},
			helperArgs{words: []string{"none", "/m"}, options: []string{"a,b"}, fake: true}},
		{formOverlay, []string{"-f", "-o", "a", "-ob", "/m"},
			helperArgs{words: []string{"/m"}, options: []string{"a", "b"}, foreground: true}},
		{formUmount, []string{"/m", "-l", "-t", "fuse.unionmount", "-r"}, helperArgs{words: []string{"/m"}, lazy: true}},
		{formMount, []string{"-o", "a", "--", "-odd", "/m"}, helperArgs{words: []string{"-odd", "/m"}, options: []string{"a"}}},
		{formOverlay, []string{"--root", "/r", "-o", "a", "/m"}, helperArgs{words: []string{"/m"}, options: []string{"a"}, root: "/r"}},
		{formOverlay, []string{"-o", "a", "/m", "--root=/r"}, helperArgs{words: []string{"/m"}, options: []string{"a"}, root: "/r"}},
	} {
		if got, err := parseHelper(c.form, c.args); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("parseHelper(%q) = %+v, %v; want %+v", c.args, got, err, c.want)
		}
	}
	for _, args := range [][]string{{"-o"}, {"-x", "/m"}, {"--bogus", "/m"}, {"-t"}, {"--root"}} {
		if got, err := parseHelper(formMount, args); err == nil {
			t.Errorf("parseHelper(%q) = %+v, want a refusal", args, got)
		}
	}
}

func TestHelperRequest(t *testing.T) {
	q, _, fake, err := helperRequest(formMount, []string{"none", "/m", "-f", "-o", "ro,lowerdir=/a\\:b:/c,workdir=/w,volume=db:/v"})
	want := engine.Request{Layers: []string{"/a:b", "/c"}, Mountpoint: "/m", Volumes: []string{"db:/v"},
		Options: engine.Options{Words: []string{"ro"}}, Helper: true}
	if err != nil || !fake || !reflect.DeepEqual(q, want) {
		t.Errorf("got %+v, %v, %v\nwant %+v", q, fake, err, want)
	}
	for _, args := range [][]string{
		{"-o", "lowerdir=/a"}, {"a", "b", "c", "-o", "lowerdir=/a"}, {"/m"}, {"/m", "-o", "upperdir=/u"},
		{"/m", "-o", "lowerdir=/a,upperdir=/u"}, {"/m", "-o", "lowerdir=/a,nonsense"}, {"/m", "-o", "lowerdir=/a,remount"},
	} {
		if _, _, _, err := helperRequest(formMount, args); err == nil {
			t.Errorf("helperRequest(%q) was accepted", args)
		}
	}
}

func TestFailuresTakesJoinsApart(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	both := fmt.Errorf("%w: %w", a, b)
	for _, c := range []struct {
		err  error
		want []error
	}{
		{nil, nil},
		{a, []error{a}},
		{both, []error{both}},
		{errors.Join(a, nil, errors.Join(b, both)), []error{a, b, both}},
	} {
		if got := failures(c.err); !reflect.DeepEqual(got, c.want) {
			t.Errorf("failures(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	known := &engine.Error{What: "x", Kind: engine.ErrConflict, Why: a}
	if got := failures(errors.Join(known, known)); len(got) != 2 || got[0] != error(known) {
		t.Errorf("two known failures: %v", got)
	}
}
