// Package startree makes trees to start from: lower layers with everything a layer can hold, and the plain copy that
// a union of these layers must equal. The copy is merged here, from the definition of the marks, so that a product
// and its proof share no code.
package startree

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
)

// Options chooses what layers hold.
type Options struct {
	// Names is the number of names made in each layer below each top. 0: 40.
	Names int
	// Tops are directories of the root that get a tree each, for processes that stay in their own. None: the root.
	Tops []string
	// Root adds what only root can make: owners, devices, trusted.* attributes, file capabilities.
	Root bool
	// User owns most of what root makes here for a plain user; the rest stays root's, and closed to his writing.
	User int
	// ACL adds POSIX ACLs.
	ACL bool
	// Marks are the forms of whiteouts and opaque directories to draw from. 0: Kernel as root, else UserXattr.
	Marks Marks
	// NoStrays leaves out whiteouts that hide nothing. Kernel overlayfs lists those in a directory that it does not
	// merge, and then does not find them.
	NoStrays bool
	// Sizes bounds the size of files. 0: 64 KiB.
	Sizes int64
}

// Layers writes n lower layers below dir and returns their paths, TOPMOST FIRST.
func Layers(dir string, n int, seed int64, opt Options) ([]string, error) {
	if opt.Names == 0 {
		opt.Names = 40
	}
	if opt.Sizes == 0 {
		opt.Sizes = 64 << 10
	}
	if opt.Marks == 0 {
		opt.Marks = UserXattr
		if opt.Root {
			opt.Marks = Kernel
		}
	}
	if len(opt.Tops) == 0 {
		opt.Tops = []string{""}
	}
	b := builder{opt: opt, rng: rand.New(rand.NewSource(seed)), merged: map[string]bool{}, kept: map[string]bool{}}
	layers := make([]string, n)
	for i := n - 1; i >= 0; i-- {
		layers[i] = filepath.Join(dir, fmt.Sprintf("layer%d", i))
		if err := b.layer(layers[i]); err != nil {
			return nil, fmt.Errorf("layer %s (seed %d): %w", layers[i], seed, err)
		}
	}
	return layers, nil
}

// layer writes one layer on top of those before it.
func (b *builder) layer(root string) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	b.root, b.own, b.links = root, []node{{"", true}}, nil
	b.taken = map[string]bool{}
	for _, top := range b.opt.Tops {
		if top != "" {
			if err := os.Mkdir(b.at(top), 0o755); err != nil {
				return err
			}
			b.add(top, true)
		}
		b.top = top
		if err := b.fill(); err != nil {
			return err
		}
	}
	return b.finish()
}
