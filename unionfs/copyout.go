package unionfs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// Subtree is a directory of the union, as layers and upper show it: whatever
// volume lies there.
type Subtree struct {
	fs     *FS
	at     spot
	target string
}

// Subtree finds the directory at target; nil if there is none. Called before the mount.
func (fs *FS) Subtree(target string) (*Subtree, error) {
	at, err := fs.resolve(target)
	if err == sys.ENOENT || err == nil && !at.entry.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	return &Subtree{fs, at, target}, nil
}

// Empty tells whether the directory has no names.
func (s *Subtree) Empty() (bool, error) {
	some := errors.New("it has some")
	err := s.fs.union.stack.List(s.at.entry, s.at.path, func(layers.Name) error { return some })
	if errors.Is(err, some) {
		return false, nil
	}
	return err == nil, err
}

// CopyTo copies the subtree into the empty directory dir: with owners, modes,
// attributes, links and holes, and the directory's own. What a plain user may not
// copy is logged.
func (s *Subtree) CopyTo(dir string) error {
	to, err := sys.Open(dir, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sys.Close(to)
	t := cow.Tree{From: s.fs.union.stack, NoACL: s.fs.cfg.NoACL, Skip: func(path string, err error) {
		s.fs.cfg.Log.Warn("fill: not permitted, left out", "target", s.target, "path", path, "error", err)
	}}
	return t.Copy(s.at.entry, s.at.path, to)
}

// spot is an object of the union's layers, and where upper has it if it does.
type spot struct {
	entry *layers.Entry
	path  string
}

// resolve finds what the layers alone show at p. Symbolic links lead where they
// lead inside the union.
func (fs *FS) resolve(p string) (spot, error) {
	root := spot{entry: fs.union.root.entry.Load()}
	way := []spot{root}
	todo := split(p)
	for links := 0; len(todo) > 0; {
		c := todo[0]
		todo = todo[1:]
		if c == ".." {
			way = way[:max(1, len(way)-1)]
			continue
		}
		dir := way[len(way)-1]
		if !dir.entry.IsDir() {
			return spot{}, sys.ENOTDIR
		}
		e, err := fs.union.stack.Lookup(dir.entry, dir.path, c)
		if err != nil {
			return spot{}, err
		}
		next := spot{e, layers.Join(dir.path, c)}
		if e.Stat.Mode&sys.S_IFMT != sys.S_IFLNK {
			way = append(way, next)
			continue
		}
		if links++; links > maxLinks {
			return spot{}, sys.ELOOP
		}
		to, err := fs.linkAt(next)
		if err != nil {
			return spot{}, err
		}
		if strings.HasPrefix(to, "/") {
			way = way[:1]
		}
		todo = append(split(to), todo...)
	}
	return way[len(way)-1], nil
}

func (fs *FS) linkAt(s spot) (string, error) {
	var fd int
	var err error
	switch e := s.entry; {
	case e.Index() != "":
		fd, err = fs.union.stack.Index.PathFd(e.Index())
	case e.Upper:
		fd, err = fs.union.stack.Upper.PathFd(s.path)
	default:
		below := e.Lower()
		fd, err = fs.union.stack.Lowers[below.Layer].PathFd(below.Path)
	}
	if err != nil {
		return "", err
	}
	defer sys.Close(fd)
	return sys.ReadlinkAt(fd, "")
}
