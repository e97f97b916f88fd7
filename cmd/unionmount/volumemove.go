package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func volumeExport(s *session) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "export VOLUME[@SNAPSHOT]",
		Short: "Write a volume as an archive",
		Long: `Write what a volume or a snapshot holds as an archive, to a file or to standard output:
a tar with everything in it (numeric owners, attributes, ACLs, links, holes), compressed by
zstd, with a checksum that import verifies. GNU tar and bsdtar read it.`,
		Example: "  unionmount volume export db -o db.tar.zst\n  unionmount volume export db | ssh host unionmount volume import db",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			m := newMeter("exporting")
			var tell func(objects, bytes int64)
			if m != nil {
				tell = func(objects, bytes int64) { m.show(objects, bytes, "") }
			}
			var done engine.Moved
			err = writing(out, func(to io.Writer) (err error) {
				done, err = e.ExportVolume(ctx, args[0], to, tell)
				return err
			})
			m.clear()
			if err == nil {
				say("exported", args[0], done)
			}
			return err
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "-", "a file, which appears when all is written; -: standard output")
	return c
}

// say tells on standard error, since an archive may be on the other, what was done.
func say(what, name string, m engine.Moved) {
	sum := "sha256 " + m.Checksum
	if m.Checksum == "" {
		sum = "no checksum"
	}
	fmt.Fprintf(os.Stderr, "%s %s: %d objects, %s, %s\n", what, name, m.Objects, engine.HumanSize(m.Bytes), sum)
	for _, r := range m.Remarks {
		fmt.Fprintf(os.Stderr, "%s %s: %s\n", what, name, r)
	}
}

// writing calls write with where out says. A file is replaced only by a whole one.
func writing(out string, write func(io.Writer) error) error {
	if out == "-" {
		if engine.IsTerminal(os.Stdout) {
			return usage(errors.New("an archive isn't for a terminal: give -o FILE, or a pipe"))
		}
		return write(os.Stdout)
	}
	if st, err := os.Stat(out); err == nil && !st.Mode().IsRegular() { // a pipe, a device
		f, err := os.OpenFile(out, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+".")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), out)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

func volumeImport(s *session) *cobra.Command {
	var o engine.ImportOptions
	var limit string
	c := &cobra.Command{
		Use:   "import VOLUME [FILE|-]",
		Short: "Make a volume of an archive, or fill an empty one",
		Long: `Make a volume of an archive, or fill an empty one that no running mount has. Other tars
are taken, too, plain or compressed by gzip or zstd; they have no checksum. What is broken,
cut, forged or too large is refused, and nothing of it is kept.`,
		Example: "  unionmount volume import db db.tar.zst\n  tar -c -C /var/lib/db . | unionmount volume import db",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			if limit != "" {
				if o.MaxSize, err = units.RAMInBytes(limit); err != nil || o.MaxSize <= 0 {
					return usage(fmt.Errorf("--max-size %s: want a number of bytes, or as in 512m, 10g", limit))
				}
			}
			from, size, err := reading(args[1:])
			if err != nil {
				return err
			}
			defer from.Close()
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			m := newMeter("importing")
			if m != nil {
				o.Tell = func(objects, bytes, read int64) { m.show(objects, bytes, percent(read, size)) }
			}
			done, err := e.ImportVolume(ctx, args[0], from, o)
			m.clear()
			if err != nil {
				return err
			}
			fmt.Println(args[0])
			say("imported", args[0], done)
			return nil
		},
	}
	c.Flags().BoolVar(&o.Devices, "devices", false, "make device nodes, too (root)")
	c.Flags().BoolVar(&o.Outward, "outward-links", false, "keep symbolic links that lead out of the volume")
	c.Flags().StringVar(&limit, "max-size", "", "refuse to write more, as in 512m, 10g (default: what is free, less a twentieth)")
	return c
}

// reading opens a file or standard input and tells its size, if it has one.
func reading(args []string) (*os.File, int64, error) {
	if len(args) == 0 || args[0] == "-" {
		if engine.IsTerminal(os.Stdin) {
			return nil, 0, usage(errors.New("no archive comes from a terminal: name a FILE, or give a pipe"))
		}
		return os.Stdin, 0, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

func percent(part, all int64) string {
	if all <= 0 {
		return ""
	}
	return fmt.Sprintf("%d%%, ", part*100/all)
}
