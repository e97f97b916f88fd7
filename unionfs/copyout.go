package unionfs

import (
	"fmt"
	"strings"

	"github.com/unionmount/unionmount/cow"
	"github.com/unionmount/unionmount/layers"
	"github.com/unionmount/unionmount/layers/sys"
)

// CopyOut copies what layers and upper show at target, whatever volume lies there,
// into the empty directory dir: with owners, modes, attributes, links and holes, and
// the directory's own. found is false if there is no directory at target. What a
// plain user may not copy is logged. Called before the mount.
func (fs *FS) CopyOut(target, dir string) (found bool, err error) {
	at, err := fs.resolve(target)
	if err == sys.ENOENT || err == nil && !at.entry.IsDir() {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", target, err)
	}
	to, err := sys.Open(dir, sys.O_RDONLY|sys.O_DIRECTORY)
	if err != nil {
		return false, err
	}
	defer sys.Close(to)
	t := cow.Tree{From: fs.union.stack, NoACL: fs.cfg.NoACL, Skip: func(path string, err error) {
		fs.cfg.Log.Warn("fill: not permitted, left out", "target", target, "path", path, "error", err)
	}}
	return true, t.Copy(at.entry, at.path, to)
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
