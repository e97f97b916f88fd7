package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func volumeCommand(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:     "volume",
		Short:   "Named directories that outlive every mount",
		Example: "  unionmount volume create db\n  unionmount volume ls",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(volumeCreate(s), volumeLs(s), volumeInspect(s), volumeRm(s), volumePrune(s), volumeRecover(s), volumeServe(s),
		volumeSnapshot(s), volumeRestore(s), volumeExport(s), volumeImport(s))
	return c
}

func volumeCreate(s *session) *cobra.Command {
	var n engine.NewVolume
	var labels, options []string
	var name, from string
	var how engine.CopyVolume
	c := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a volume; one of that name is returned as it is",
		Example: `  unionmount volume create db --label keep=yes
  unionmount volume create scratch -o type=tmpfs -o device=tmpfs -o o=size=100m
  unionmount volume create test --from db@before-upgrade`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			n.Name = name
			switch {
			case len(args) > 0 && name != "":
				return usage(errors.New("conflicting options: cannot specify a volume-name through both --name and as a positional arg"))
			case len(args) > 0 && args[0] == "":
				return usage(errors.New("an empty name: leave it out for an anonymous volume"))
			case len(args) > 0:
				n.Name = args[0]
			}
			n.Labels, n.Options = pairs(labels), pairs(options)
			if from != "" {
				if !c.Flags().Changed("driver") {
					n.Driver = ""
				}
				return s.createFrom(n, from, &how)
			}
			if how.Live {
				return usage(errors.New("--live goes with --from"))
			}
			v, err := e.CreateVolume(n)
			if err == nil {
				fmt.Println(v.Name)
			}
			return err
		},
	}
	c.Flags().StringVarP(&n.Driver, "driver", "d", "local", "local, btrfs or a Docker volume plugin")
	c.Flags().StringArrayVarP(&options, "opt", "o", nil, "KEY=VALUE for the driver")
	c.Flags().StringArrayVar(&labels, "label", nil, "KEY=VALUE")
	c.Flags().StringVar(&from, "from", "", "begin with what VOLUME or VOLUME@SNAPSHOT holds")
	c.Flags().BoolVar(&how.Live, "live", false, "with --from: "+liveUsage)
	c.Flags().StringVar(&name, "name", "", "the name, as an option")
	_ = c.Flags().MarkHidden("name") // it is there
	return c
}

// createFrom makes a volume of another, prints its name, and tells on standard error what that cost.
func (s *session) createFrom(n engine.NewVolume, from string, how *engine.CopyVolume) error {
	return s.copying("copying", how, func(ctx context.Context, e *engine.Engine) error {
		v, cost, err := e.CreateVolumeFrom(ctx, n, from, *how)
		return sayCost(v.Name, cost, err)
	})
}

func pairs(words []string) map[string]string {
	m := make(map[string]string)
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		m[k] = v
	}
	return m
}

func volumeLs(s *session) *cobra.Command {
	var l listing
	var q engine.VolumeQuery
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List volumes",
		Example: "  unionmount volume ls -q --filter dangling=true\n  unionmount volume ls --size",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := l.valid(c, map[string][]string{"name": nil, "driver": nil, "label": nil, "label!": nil, "dangling": {"true", "false", "1", "0"}}); err != nil {
				return err
			}
			e, err := s.engine()
			if err != nil {
				return err
			}
			q.Filters, q.Brief = l.filters, l.quiet || l.format == "table"
			// It ends before a collection would pay; if it grows large it collects all the same.
			debug.SetGCPercent(-1)
			debug.SetMemoryLimit(256 << 20)
			done := func() {}
			if q.Size {
				q.Tell, done = progress("measuring")
			}
			all, broken := e.Volumes(q)
			done()
			rows, space := make([]row, 0, len(all)), make([]string, 0, 4*len(all))
			header := []string{"DRIVER", "VOLUME NAME"}
			if q.Size {
				header = append(header, "LINKS", "SIZE")
			}
			for _, v := range all {
				begin := len(space)
				space = append(space, v.Driver, v.Name)
				if q.Size {
					space = append(space, v.Links, v.Size)
				}
				rows = append(rows, row{v.Name, space[begin:], v})
			}
			if all == nil && broken != nil {
				return broken
			}
			return errors.Join(l.print(header, rows), broken)
		},
	}
	c.Flags().StringVar(&l.format, "format", "table", "table, json (one object a line) or a Go template")
	c.Flags().BoolVarP(&l.quiet, "quiet", "q", false, "names only")
	c.Flags().StringArrayVarP(&l.filters, "filter", "f", nil, "dangling=BOOL, driver=, label=KEY[=VALUE], label!= or name=; repeatable")
	c.Flags().BoolVar(&q.Size, "size", false, "measure each volume, and count the mounts that refer to it")
	return c
}

// progress shows on a terminal how far long work is; done clears the line.
func progress(doing string) (tell func(i, all int, what string), done func()) {
	if !engine.IsTerminal(os.Stderr) {
		return nil, func() {}
	}
	return func(i, all int, what string) { fmt.Fprintf(os.Stderr, "\r\x1b[K%s %d/%d %s", doing, i+1, all, what) },
		func() { fmt.Fprint(os.Stderr, "\r\x1b[K") }
}

func volumeInspect(s *session) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "inspect NAME...",
		Short:   "Describe volumes as a JSON array",
		Example: "  unionmount volume inspect db\n  unionmount volume inspect -f '{{.Mountpoint}}' db",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.inspect(format, args, func(e *engine.Engine, name string) (any, error) { return e.Volume(name) })
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", "a Go template instead of JSON")
	return c
}

func volumeRm(s *session) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"remove"},
		Short:   "Delete volumes and their data; refused while a mount refers to one",
		Example: "  unionmount volume rm db",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			err := s.remove(args, func(e *engine.Engine, name string) error { return e.RemoveVolume(name, force) })
			if e, engineErr := s.engine(); engineErr == nil {
				e.SweepVolumes()
			}
			return err
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "one that is missing is fine; forget one that its driver can't remove")
	return c
}

func volumePrune(s *session) *cobra.Command {
	var force, all bool
	var filters []string
	c := &cobra.Command{
		Use:     "prune",
		Short:   "Delete anonymous volumes that no mount refers to; with -a named ones too",
		Example: "  unionmount volume prune -f --filter label!=keep",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			q, err := engine.ParseVolumePrune(all, filters)
			if err != nil {
				return err
			}
			which := "anonymous"
			if q.All {
				which = "all"
			}
			if !force && !confirmed("WARNING! This will remove "+which+" local volumes not used by at least one mount.\nAre you sure you want to continue?") {
				return nil
			}
			p, err := e.PruneVolumes(q)
			out := bufio.NewWriter(os.Stdout)
			if len(p.Volumes) > 0 {
				fmt.Fprintf(out, "Deleted Volumes:\n%s\n\n", strings.Join(p.Volumes, "\n"))
			}
			if len(p.Volumes) > 0 || err == nil {
				fmt.Fprintln(out, "Total reclaimed space:", engine.HumanSize(p.Bytes))
			}
			return errors.Join(out.Flush(), err)
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "named volumes too; never those with driver options")
	c.Flags().BoolVarP(&force, "force", "f", false, "don't ask")
	c.Flags().StringArrayVar(&filters, "filter", nil, "label=KEY[=VALUE], label!=KEY[=VALUE] or all=BOOL; repeatable")
	return c
}

func volumeRecover(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "recover",
		Short: "Make the database anew from the volumes' directories",
		Long: `Make the database anew from the directories: each volume with its driver, labels,
options and mark, and each mount. No data is touched; the old database is kept.`,
		Example: "  unionmount volume recover",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			r, err := e.Recover()
			fmt.Printf("recovered %d volumes and %d mounts\n", r.Volumes, r.Mounts)
			if r.Aside != "" {
				fmt.Println("the old database is kept in", r.Aside)
			}
			return err
		},
	}
}
