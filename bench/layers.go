package bench

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// site makes a fresh place with the scenario's layers.
func (r *runner) site(s scenario, p peer, uid int) (*site, error) {
	m, err := r.tree(s, uid)
	if err != nil {
		return nil, err
	}
	r.sites++
	site, err := newSite(filepath.Join(r.dir, fmt.Sprintf("site%d", r.sites)), r.Binary, uid)
	if err != nil {
		return nil, err
	}
	site.lowers, site.flat = m.lowers, m.flat
	if s.changes && p.flat() {
		site.flat = site.dir + "/flat"
		err = errors.Join(os.Mkdir(site.flat, 0o755), copyTree(m.flat, site.flat), settle(site.dir))
	}
	return site, err
}

// tree makes the layers of a scenario, and their plain copy, once for each client: they are his own, as most files
// are that somebody works with.
func (r *runner) tree(s scenario, uid int) (made, error) {
	t, n := s.tree, s.layers
	if n == 0 {
		n = t.layers
	}
	key := fmt.Sprintf("%s-%d-%s", cmp.Or(t.like, t.name), n, who(uid))
	if m, ok := r.trees[key]; ok {
		return m, nil
	}
	defer r.clock.making()()
	r.Log("making the tree %s of %d layers", t.name, n)
	base := filepath.Join(r.dir, "tree-"+strings.ReplaceAll(key, " ", "-"))
	m := made{base: base, flat: base + "/flat"}
	if err := os.MkdirAll(m.flat, 0o755); err != nil {
		return m, err
	}
	for i := range n {
		l := fmt.Sprintf("%s/%d", base, i)
		err := errors.Join(os.Mkdir(l, 0o755), t.fill(l, i, r.scale()), give(l, uid))
		if err == nil && !t.bare {
			err = copyTree(l, m.flat)
		}
		if err != nil {
			return m, errors.Join(fmt.Errorf("make the tree %s: %w", t.name, err), os.RemoveAll(base))
		}
		m.lowers = append([]string{l}, m.lowers...)
	}
	r.trees[key] = m
	return m, settle(r.dir)
}

// forget removes trees that nobody asks for any more: the million names of one curve leave no room for the next.
func (r *runner) forget(over func(name string) bool) error {
	var errs []error
	for key, m := range r.trees {
		if name, _, _ := strings.Cut(key, "-"); over(name) {
			delete(r.trees, key)
			errs = append(errs, os.RemoveAll(m.base))
		}
	}
	return errors.Join(errs...)
}
