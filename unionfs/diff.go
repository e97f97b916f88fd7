package unionfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/unionmount/unionmount/layers"
)

// ChangeKind is 'A' (added), 'C' (changed) or 'D' (deleted), as docker diff prints.
type ChangeKind byte

// Diff calls visit, in path order, for each path at which upper differs from
// lowers (topmost first). Volumes never show. It needs no mount.
func Diff(upper string, lowers []string, visit func(kind ChangeKind, path string) error) (err error) {
	s := &layers.Stack{MarksPrefix: layers.PrefixTrusted, FollowUser: true}
	defer func() {
		for _, l := range append(slices.Clone(s.Lowers), s.Upper) {
			if l != nil {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	for _, p := range lowers {
		l, err := layers.OpenLower(p, 16)
		if err != nil {
			return fmt.Errorf("open layer %s: %w", p, err)
		}
		s.Lowers = append(s.Lowers, l)
	}
	if s.Upper, err = layers.OpenLower(upper, 16); err != nil {
		return fmt.Errorf("open upper %s: %w", upper, err)
	}
	s.IDs = layers.NewIdentity()
	root, err := s.Root()
	if err != nil {
		return err
	}
	return diffDir(s, root, "", visit)
}

func diffDir(s *layers.Stack, dir *layers.Entry, at string, visit func(ChangeKind, string) error) error {
	changes, err := s.Changes(dir, at)
	if err != nil {
		return err
	}
	slices.SortFunc(changes, func(a, b layers.Change) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range changes {
		p := layers.Join(at, c.Name)
		if err := visit(ChangeKind(c.Kind), "/"+p); err != nil {
			return err
		}
		if c.Entry == nil || !c.Entry.IsDir() {
			continue
		}
		if err := diffDir(s, c.Entry, p, visit); err != nil {
			return err
		}
	}
	return nil
}
