package tree

import (
	"context"

	"github.com/unionmount/unionmount/layers/sys"
	"github.com/unionmount/unionmount/layers/sys/filedata"
)

// Options of Copy.
type Options struct {
	// Live: the tree may change meanwhile. The copy is no point in time then.
	Live bool
	// Tell, if not nil, is called now and then with what was done so far.
	Tell func(Result)
}

// Result is what Copy did.
type Result struct {
	Objects int64
	Shared  int64 // bytes of files whose blocks the copy has in common with the original
	Copied  int64 // bytes that were copied
	Lost    Lost
}

// Copy makes the empty directory behind to (open for reading) equal the one behind from.
// Blocks are shared where the file system can. It is on disk when Copy returns.
func Copy(ctx context.Context, from, to int, o Options) (Result, error) {
	b, err := NewBuilder(to)
	if err != nil {
		return Result{}, err
	}
	defer b.Close()
	c := copier{ctx: ctx, build: b, links: make(map[inode]string), tell: o.Tell}
	err = Walk(ctx, from, o.Live, c.visit)
	if err == nil {
		err = sys.SyncFS(to)
	}
	c.Lost = b.Lost
	return c.Result, err
}

type inode struct{ dev, ino uint64 }

type copier struct {
	Result
	ctx   context.Context
	build *Builder
	links map[inode]string // of an object with several names: its first
	tell  func(Result)
}

func (c *copier) visit(n *Node) (leave func() error, err error) {
	linked := n.Stat.Nlink > 1 && n.Stat.Mode&sys.S_IFMT != sys.S_IFDIR
	id := inode{n.Stat.Dev, n.Stat.Ino}
	if first, seen := c.links[id]; seen && linked {
		return nil, c.build.Link(first, n.Path)
	}
	a, err := n.Attr()
	if err != nil {
		return nil, err
	}
	if err := c.object(n, &a); err != nil {
		return nil, err
	}
	if linked {
		c.links[id] = n.Path
	}
	c.Objects++
	if c.tell != nil {
		c.tell(c.Result)
	}
	finish := func() error { return c.build.Dress(n.Path, &a) }
	if a.Kind() == sys.S_IFDIR {
		return finish, nil
	}
	return nil, finish()
}

// object makes the object and its data.
func (c *copier) object(n *Node, a *Attr) error {
	if n.Path == "" {
		return nil
	}
	if a.Kind() != sys.S_IFREG {
		return c.build.Make(n.Path, a)
	}
	src, err := n.Open(0) // first: there is no empty file in the place of one that can't be read
	if err != nil {
		return err
	}
	defer sys.Close(src)
	if err := c.build.Make(n.Path, a); err != nil {
		return err
	}
	dst, err := c.build.Open(n.Path)
	if err != nil {
		return err
	}
	shared, err := filedata.Copy(dst, src, n.Stat.Size, c.moved)
	if closeErr := sys.Close(dst); err == nil {
		err = closeErr
	}
	if shared {
		c.Shared += n.Stat.Size
	}
	return wrap("copy", n.Path, err)
}

func (c *copier) moved(bytes int64) error {
	c.Copied += bytes
	if c.tell != nil {
		c.tell(c.Result)
	}
	return c.ctx.Err()
}
