package unionfs

import (
	"fmt"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// flatten makes a merged directory one that lies in upper alone, by copying up
// everything below it: where its lower part can't be told where it went.
func (fs *FS) flatten(n *node) error {
	e := n.entry.Load()
	fs.cfg.Log.Info("copying a directory up whole, to rename it without a redirect", "dir", e.LowerPath())
	for range retries {
		var names []string // collected first: a copy-up needs the directory that each holds
		err := fs.each(n, func(found layers.Name) error {
			names = append(names, found.Name)
			return nil
		})
		if err != nil {
			return err
		}
		for _, nm := range names {
			if err := fs.flattenChild(n, nm); err != nil {
				return fmt.Errorf("copy up %q: %w", layers.Join(e.LowerPath(), nm), err)
			}
		}
		if done, err := fs.makeOpaque(n); done || err != nil {
			return err
		}
	}
	return sys.EBUSY
}

func (fs *FS) flattenChild(dir *node, nm string) error {
	n, _, err := fs.lookup(dir, nm, true)
	if err == sys.ENOENT {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	defer fs.letGo(n)
	if n.tree != dir.tree {
		return nil // a volume
	}
	if err := fs.ensureUpper(n, cow.Whole); err != nil {
		return err
	}
	e := n.entry.Load()
	if e.Merged() {
		return fs.flatten(n)
	}
	if e.Index() == "" {
		return nil
	}
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	dir.dirMu.Lock()
	defer dir.dirMu.Unlock()
	at, ok := fs.table.path(dir)
	if !ok || !fs.table.has(n, dir, nm) {
		return nil
	}
	fs.countMu.Lock()
	defer fs.countMu.Unlock()
	return fs.linkUp(n, dir, at, nm)
}

// makeOpaque cuts n off from below once upper has every name; not done: one is missing.
func (fs *FS) makeOpaque(n *node) (done bool, err error) {
	fs.renameMu.RLock()
	defer fs.renameMu.RUnlock()
	n.dirMu.Lock()
	defer n.dirMu.Unlock()
	at, ok := fs.table.path(n)
	if !ok {
		return false, sys.ENOENT
	}
	missing := false
	err = n.tree.stack.List(n.entry.Load(), at, func(found layers.Name) error {
		if n.routes[found.Name] != nil {
			return nil // what a volume hides stays hidden, wherever it goes
		}
		if _, err := n.tree.stack.Upper.Stat(layers.Join(at, found.Name)); err == sys.ENOENT {
			missing = true
		}
		return nil
	})
	if err != nil || missing {
		return false, err
	}
	if err := n.tree.writer.MarkOpaque(at); err != nil {
		return false, err
	}
	next := *n.entry.Load()
	next.DropLowers()
	n.entry.Store(&next)
	return true, nil
}
