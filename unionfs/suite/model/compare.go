package model

import (
	"fmt"
	"strconv"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"github.com/unionmount/unionmount/unionfs/suite/treehash"
	"golang.org/x/sys/unix"
)

// compare compares the whole trees and all open files.
func (s *session) compare() error {
	live := map[string]string{}
	plains, err := s.all(op.CheckHandles)
	if err != nil {
		return err
	}
	for i, r := range plains {
		for _, v := range r.Seen {
			live[v.Key] = fmt.Sprintf("worker %d, %s", i, v.Where)
		}
	}
	what, err := s.compareTrees(live)
	if err != nil {
		return err
	}
	return differ(what, lookups(what)...)
}

// lookups makes an operation of each path at the beginning of a line.
func lookups(what []string) []op.Op {
	var out []op.Op
	for _, line := range what {
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			continue
		}
		if p, err := strconv.Unquote(quoted); err == nil {
			out = append(out, op.Op{Kind: op.Lstat, Path: p})
		}
	}
	return out
}

// compareTrees compares what is below the roots, and the numbers of all objects that live there or in open files.
func (s *session) compareTrees(live map[string]string) ([]string, error) {
	opt := treehash.Options{Atime: s.cfg.Atimes, Nlink: true}
	var union, plain treehash.Tree
	var unionErr, err error
	s.look(func() {
		union, unionErr = treehash.Hash(s.state.Union, opt)
		plain, err = treehash.Hash(s.state.Plain, opt)
	})
	if unionErr != nil {
		return []string{"the union can't be read: " + unionErr.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	var what []string
	for p, e := range plain {
		key := op.Key(unix.AT_FDCWD, s.state.Plain+"/"+p)
		u, both := union[p]
		if !both || u.Ino == 0 || e.Ino == 0 {
			continue // the one or the other can't be looked at: Diff names it, unless both refuse
		}
		if kind := e.Mode & unix.S_IFMT; s.cfg.Renumbers && kind != unix.S_IFREG && kind != unix.S_IFDIR {
			delete(s.ledger.ino, key)
		}
		if msg := s.ledger.number(key, u.Ino); msg != "" {
			what = append(what, fmt.Sprintf("%q: %s", p, msg))
		}
		if u.Dev != s.ledger.dev {
			what = append(what, fmt.Sprintf("%q: st_dev %#x in the union, whose root has %#x", p, u.Dev, s.ledger.dev))
		}
		live[key] = p
		union[p], plain[p] = s.comparable(u, e)
	}
	return append(append(what, treehash.Diff(union, plain)...), s.ledger.keepOnly(live)...), nil
}

// comparable blanks what may differ between the entries of one path.
func (s *session) comparable(u, p treehash.Entry) (treehash.Entry, treehash.Entry) {
	start := s.start.UnixNano()
	isNow := func(ns int64) bool { return op.Stamp(ns, start) == op.Now }
	if isNow(u.Mtime) && isNow(p.Mtime) {
		u.Mtime, p.Mtime = 0, 0
	}
	dir := p.Mode&unix.S_IFMT == unix.S_IFDIR
	if isNow(p.Atime) || dir && !s.cfg.DirAtimes {
		u.Atime, p.Atime = 0, 0
	}
	return u, p
}
