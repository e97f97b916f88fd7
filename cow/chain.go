package cow

import (
	"fmt"

	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// DirCopy is a lower directory that is to be copied, and its name in the copy of the one before it.
type DirCopy struct {
	Ref  layers.Ref
	Name string
}

// StageDirs stages copies of lower directories, each inside the one before it: one step makes all of them visible, where
// one by one each is moved into its place and the times of the parent are put back. The first has the name that it is
// published under. stats are what each shows then.
func (w *Writer) StageDirs(s *layers.Stack, chain []DirCopy) (top *Staged, stats []sys.Stat, err error) {
	all, err := w.makeChain(chain)
	if err == nil {
		stats, err = w.fillChain(all, s, chain)
	}
	for i, d := range all {
		if i > 0 || err != nil {
			d.Close()
		}
	}
	if err != nil {
		last := chain[len(chain)-1].Ref
		return nil, nil, fmt.Errorf("copy up %q of layer %s with what it lies in: %w", last.Path, s.Lowers[last.Layer].Path, err)
	}
	return all[0], stats, nil
}

// makeChain makes empty directories, also where it returns an error.
func (w *Writer) makeChain(chain []DirCopy) ([]*Staged, error) {
	top, err := w.makeLike(source{}, &sys.Stat{Mode: sys.S_IFDIR})
	if err != nil {
		return nil, err
	}
	all := []*Staged{top}
	for _, c := range chain[1:] {
		if err := w.step("make"); err != nil {
			return all, err
		}
		fd, err := makeDir(all[len(all)-1].fd, c.Name)
		if err != nil {
			return all, err
		}
		all = append(all, &Staged{w: w, fd: fd, dir: true}) // without a name in work: it goes with the first
	}
	return all, nil
}

// fillChain gives the directories what theirs below have, the innermost first: what is made in one moves its times, and
// a mode may close it.
func (w *Writer) fillChain(all []*Staged, s *layers.Stack, chain []DirCopy) ([]sys.Stat, error) {
	stats := make([]sys.Stat, len(all))
	for i := len(all) - 1; i >= 0; i-- {
		d := all[i]
		impure := i+1 < len(all) && all[i+1].origin
		if impure {
			if err := w.markImpure(d.fd); err != nil {
				return nil, err
			}
		}
		err := w.fillDir(d, s, chain[i].Ref)
		if err == nil && impure && !d.origin { // the mark went with the origin, if that gave way
			err = w.markImpure(d.fd)
		}
		if err == nil {
			stats[i], err = d.Stat()
		}
		if err != nil {
			return nil, err
		}
	}
	return stats, nil
}

func (w *Writer) fillDir(d *Staged, s *layers.Stack, ref layers.Ref) error {
	dir, src, st, err := find(s, ref)
	if err != nil {
		return err
	}
	defer dir.Release()
	return w.fillStaged(d, s, ref, src, &st, Whole)
}
