package startree

import (
	"fmt"
	"math/rand"
	"os"
	"path"
	"sort"
	"strings"
)

// builder writes layers from the bottom upwards.
type builder struct {
	opt Options
	rng *rand.Rand
	// merged is what the union of the layers so far holds; true is a directory.
	merged map[string]bool
	// kept paths may not be hidden any more: a hidden name of a lower file with several still counts in the
	// st_nlink of the others, as in overlayfs, and not in a plain copy's.
	kept map[string]bool

	// Of the layer being written:
	root  string
	top   string
	own   []node // in the order of their making
	taken map[string]bool
	links []string
}

type node struct {
	path string
	dir  bool
}

func (b *builder) at(p string) string { return path.Join(b.root, p) }

func (b *builder) add(p string, dir bool) {
	b.own = append(b.own, node{p, dir})
	b.taken[p] = true
	if wasDir, was := b.merged[p]; was && !dir && wasDir {
		b.forget(p)
	}
	b.merged[p] = dir
}

// forget drops what the union held at p and below.
func (b *builder) forget(p string) {
	for q := range b.merged {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(b.merged, q)
		}
	}
}

// keep protects p and the directories above it.
func (b *builder) keep(p string) {
	for ; p != "."; p = path.Dir(p) {
		b.kept[p] = true
	}
}

// fill makes the names of one top, among them some that lower layers have.
func (b *builder) fill() error {
	for i := 0; i < b.opt.Names; i++ {
		p, ok := b.choose()
		if !ok {
			continue
		}
		if err := b.make(p); err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
	}
	return nil
}

// choose finds a path that this layer does not have: half of the time one that a lower layer has.
func (b *builder) choose() (string, bool) {
	p := ""
	if below := b.lower(); len(below) > 0 && b.rng.Intn(2) == 0 {
		p = below[b.rng.Intn(len(below))]
		if !b.parents(path.Dir(p)) {
			return "", false
		}
	} else {
		names := append(plainNames(), oddNames()...)
		p = path.Join(b.someDir(), names[b.rng.Intn(len(names))])
	}
	return p, !b.taken[p] && strings.Count(p, "/") < 5
}

// lower lists what lower layers have in the present top, and this one has not.
func (b *builder) lower() []string {
	var out []string
	for p := range b.merged {
		if !b.taken[p] && p != b.top && (b.top == "" || strings.HasPrefix(p, b.top+"/")) {
			out = append(out, p)
		}
	}
	sort.Strings(out)
	return out
}

// parents makes this layer's directories down to p, merged with those below. It fails where the layer has
// something else, or a whiteout, on the way.
func (b *builder) parents(p string) bool {
	if p == "." || b.isOwnDir(p) {
		return true
	}
	if b.taken[p] || !b.parents(path.Dir(p)) {
		return false
	}
	if os.Mkdir(b.at(p), 0o755) != nil {
		return false
	}
	b.add(p, true)
	return true
}

func (b *builder) isOwnDir(p string) bool {
	for _, n := range b.own {
		if n.path == p {
			return n.dir
		}
	}
	return false
}

// someDir picks one of this layer's directories in the present top.
func (b *builder) someDir() string {
	var dirs []string
	for _, n := range b.own {
		if n.dir && (b.top == "" || n.path == b.top || strings.HasPrefix(n.path, b.top+"/")) {
			dirs = append(dirs, n.path)
		}
	}
	return dirs[b.rng.Intn(len(dirs))]
}

// plainNames are the names that operations use too, so that they meet those of layers.
func plainNames() []string {
	return []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
}

// oddNames are bytes that paths, options and marks have trouble with.
func oddNames() []string {
	return []string{
		"with space", "line\nbreak", "\xff\xfe", "a:b,c=d\\e", "-rf", ".hidden", "...", "\u00e9\u4e2d",
		strings.Repeat("n", 255), strings.Repeat("\u4e2d", 85),
	}
}

// Names lists the names that layers draw from.
func Names() []string { return append(plainNames(), oddNames()...) }
