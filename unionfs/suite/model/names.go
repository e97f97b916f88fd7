package model

import (
	"math/rand"
	"os"
	"path"
	"strings"

	"github.com/unionmount/unionmount/unionfs/suite/startree"
)

// names is what the generator believes to exist below one directory. It may be wrong, where a symlink led elsewhere:
// that costs a failing operation, which is a test too. refresh corrects it.
type names struct {
	rng   *rand.Rand
	top   string // paths are below it; it is never chosen to be moved or removed
	paths []string
	kind  map[string]os.FileMode
}

// maxNames bounds the tree: operations shall meet each other.
const maxNames = 150

// refresh reads what exists below the root.
func (n *names) refresh(root string) {
	n.paths, n.kind = nil, map[string]os.FileMode{}
	n.scan(root, n.top)
}

func (n *names) scan(root, dir string) {
	entries, err := os.ReadDir(root + "/" + dir)
	if err != nil {
		return // not readable for us: nothing to choose from
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		n.add(p, e.Type())
		if e.IsDir() {
			n.scan(root, p)
		}
	}
}

func (n *names) add(p string, kind os.FileMode) {
	if _, known := n.kind[p]; !known {
		n.paths = append(n.paths, p)
	}
	n.kind[p] = kind
}

// remove forgets p and all below it.
func (n *names) remove(p string) {
	kept := n.paths[:0]
	for _, q := range n.paths {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(n.kind, q)
		} else {
			kept = append(kept, q)
		}
	}
	n.paths = kept
}

// move renames p, and all below it, to to.
func (n *names) move(p, to string) {
	if p == to {
		return
	}
	type moved struct {
		path string
		kind os.FileMode
	}
	var list []moved
	for _, q := range n.paths {
		if q == p || strings.HasPrefix(q, p+"/") {
			list = append(list, moved{to + q[len(p):], n.kind[q]})
		}
	}
	n.remove(p)
	n.remove(to)
	for _, m := range list {
		n.add(m.path, m.kind)
	}
}

// swap exchanges a and b.
func (n *names) swap(a, b string) {
	const aside = "\x00"
	n.move(a, aside)
	n.move(b, a)
	n.move(aside, b)
}

// existing picks a name of one of the kinds; 0 is a regular file. It falls back to the top.
func (n *names) existing(kinds ...os.FileMode) string {
	if len(n.paths) == 0 {
		return n.top
	}
	for range 30 {
		p := n.paths[n.rng.Intn(len(n.paths))]
		if len(kinds) == 0 {
			return p
		}
		for _, k := range kinds {
			if n.kind[p] == k {
				return p
			}
		}
	}
	return n.top
}

// fresh picks a place for a new name, in a directory that is not too deep. It may exist.
func (n *names) fresh() string {
	dir := n.top
	if n.rng.Intn(4) > 0 {
		dir = n.existing(os.ModeDir)
	}
	if strings.Count(dir, "/") > 4 {
		dir = n.top
	}
	all := startree.Names()
	return path.Join(dir, all[n.rng.Intn(len(all))])
}

// odd is a path that can't be, or that goes through what is no directory.
func (n *names) odd() string {
	switch n.rng.Intn(6) {
	case 0:
		return n.existing(0) + "/below-a-file"
	case 1:
		return path.Join(n.top, "missing", "parent")
	case 2:
		return n.existing(os.ModeDir) + "/" + strings.Repeat("x", 256)
	case 3:
		return n.existing(os.ModeSymlink) + "/a"
	case 4:
		return n.existing(os.ModeSymlink, os.ModeDir) + "/"
	default:
		return n.existing() + "/."
	}
}

// some picks a path for an operation that wants one of the kinds: mostly one, at times another, a new or an odd.
func (n *names) some(kinds ...os.FileMode) string {
	switch draw := n.rng.Intn(40); {
	case draw < 33:
		return n.existing(kinds...)
	case draw < 37:
		return n.existing()
	case draw < 39:
		return n.fresh()
	default:
		return n.odd()
	}
}

// victim picks like some, but never the top.
func (n *names) victim(kinds ...os.FileMode) string {
	p := n.some(kinds...)
	if strings.Trim(p, "/.") == strings.Trim(n.top, "/.") {
		return n.fresh()
	}
	return p
}
