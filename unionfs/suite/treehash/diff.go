package treehash

import (
	"fmt"
	"time"
)

// Diff names every difference between two trees, one line each, sorted by path. Equal trees give nil.
func Diff(a, b Tree) []string {
	var out []string
	for _, p := range union(a, b).Paths() {
		ea, inA := a[p]
		eb, inB := b[p]
		switch {
		case !inA:
			out = append(out, fmt.Sprintf("%q: only in the second tree (mode %o)", p, eb.Mode))
		case !inB:
			out = append(out, fmt.Sprintf("%q: only in the first tree (mode %o)", p, ea.Mode))
		default:
			out = append(out, diffEntry(p, ea, eb)...)
		}
	}
	return out
}

func union(a, b Tree) Tree {
	all := make(Tree, len(a))
	for p := range a {
		all[p] = Entry{}
	}
	for p := range b {
		all[p] = Entry{}
	}
	return all
}

// diffEntry names the attributes in which two objects at path p differ.
func diffEntry(p string, a, b Entry) []string {
	var out []string
	add := func(what string, x, y any) {
		if x != y {
			out = append(out, fmt.Sprintf("%q: %s: %v and %v", p, what, x, y))
		}
	}
	add("mode", fmt.Sprintf("%o", a.Mode), fmt.Sprintf("%o", b.Mode))
	add("uid", a.UID, b.UID)
	add("gid", a.GID, b.GID)
	add("size", a.Size, b.Size)
	add("nlink", a.Nlink, b.Nlink)
	add("rdev", a.Rdev, b.Rdev)
	add("mtime", stamp(a.Mtime), stamp(b.Mtime))
	add("atime", stamp(a.Atime), stamp(b.Atime))
	add("content", a.Content, b.Content)
	add("target", a.Target, b.Target)
	add("xattrs", a.Xattrs, b.Xattrs)
	add("same object as", a.Link, b.Link)
	return out
}

// stamp renders a time; 0 stands for one that is not compared.
func stamp(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}
