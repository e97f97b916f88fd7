package unionfs

import (
	"slices"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// rung is a directory that upper lacks, as it was found.
type rung struct {
	n  *node
	at name
	e  *layers.Entry
}

// raise copies dir up with all that it lies in, in one step, where that are two directories at least. It is for speed alone: what it
// leaves undone, for whatever reason, ensureUpper does one by one, and says what is wrong. The caller holds no lock.
func (fs *FS) raise(dir *node) {
	rungs := fs.lacking(dir)
	if len(rungs) < 2 {
		return
	}
	chain := make([]cow.DirCopy, len(rungs))
	for i, r := range rungs {
		chain[i] = cow.DirCopy{Ref: r.e.Lower(), Name: r.at.name}
	}
	staged, stats, err := dir.tree.writer.StageDirs(dir.tree.stack, chain)
	if err != nil {
		return
	}
	defer staged.Close()
	if !fs.renameMu.TryLock() {
		return
	}
	defer fs.renameMu.Unlock()
	fs.publishDirs(rungs, staged, stats)
}

// lacking lists the directories that upper lacks down to dir, topmost first; none if one of them isn't a plain copy.
func (fs *FS) lacking(dir *node) (rungs []rung) {
	for n := dir; ; {
		e := n.entry.Load()
		if e.Upper {
			slices.Reverse(rungs)
			return rungs
		}
		at, named := fs.table.place(n)
		if !named || !e.HasLower() {
			return nil
		}
		rungs = append(rungs, rung{n, at, e})
		n = at.dir
	}
}

// publishDirs makes the directories visible, unless one of them moved, went or was copied up since. Caller holds renameMu for writing.
func (fs *FS) publishDirs(rungs []rung, staged *cow.Staged, stats []sys.Stat) {
	for _, r := range rungs {
		if at, named := fs.table.place(r.n); !named || at != r.at || r.n.entry.Load() != r.e {
			return
		}
	}
	top := rungs[0]
	dir, ok := fs.table.path(top.at.dir)
	if !ok || fs.keepTimes(top.n.tree, dir, func() error { return staged.Publish(dir, top.at.name) }) != nil {
		return
	}
	for i, r := range rungs {
		r.at.dir.dirMu.changes.Add(1)
		next := *r.e
		next.CopyUp(&stats[i], "")
		fs.swap(r.n, &next)
	}
}
