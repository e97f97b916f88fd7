package main

import (
	"fmt"
	"strconv"
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
	c.AddCommand(volumeCreate(s), volumeLs(s), volumeInspect(s), volumeRm(s))
	return c
}

func volumeCreate(s *session) *cobra.Command {
	var driver string
	var labels, options []string
	c := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a volume; one of that name is returned as it is",
		Example: "  unionmount volume create db --label keep=yes",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return &engine.Error{What: "volume create", Kind: engine.ErrUnsupported, Why: fmt.Errorf("anonymous volumes are not built yet: name it")}
			}
			v, err := e.CreateVolume(args[0], driver, pairs(labels), pairs(options))
			if err == nil {
				fmt.Println(v.Name)
			}
			return err
		},
	}
	c.Flags().StringVarP(&driver, "driver", "d", "local", "driver")
	c.Flags().StringArrayVarP(&options, "opt", "o", nil, "KEY=VALUE for the driver")
	c.Flags().StringArrayVar(&labels, "label", nil, "KEY=VALUE")
	return c
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
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List volumes",
		Example: "  unionmount volume ls -q",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := l.valid(c, map[string][]string{"name": nil, "driver": nil, "label": nil, "dangling": {"true", "false", "1", "0"}}); err != nil {
				return err
			}
			e, err := s.engine()
			if err != nil {
				return err
			}
			all, broken := e.Volumes()
			users, err := map[string][]string{}, error(nil)
			if l.asks("dangling") {
				users, err = e.VolumeUsers()
			}
			if err != nil {
				return err
			}
			var rows []row
			for _, v := range all {
				ok, err := l.keeps(func(key, want string) (keep, known bool) { return keepVolume(v, len(users[v.Name]), key, want) })
				if err != nil {
					return err
				}
				if ok {
					rows = append(rows, row{v.Name, []string{v.Driver, v.Name}, v})
				}
			}
			if err := l.print([]string{"DRIVER", "VOLUME NAME"}, rows); err != nil {
				return err
			}
			return broken
		},
	}
	l.flags(c)
	return c
}

// keepVolume applies one of Docker's filters.
func keepVolume(v engine.Volume, users int, key, want string) (keep, known bool) {
	switch key {
	case "name":
		return strings.Contains(v.Name, want), true
	case "driver":
		return v.Driver == want, true
	case "dangling":
		dangling, err := strconv.ParseBool(want)
		return dangling == (users == 0), err == nil
	case "label":
		k, value, valued := strings.Cut(want, "=")
		have, ok := v.Labels[k]
		return ok && (!valued || have == value), true
	}
	return false, false
}

func volumeInspect(s *session) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "inspect NAME...",
		Short:   "Describe volumes as a JSON array",
		Example: "  unionmount volume inspect db",
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
			return s.remove(args, func(e *engine.Engine, name string) error { return e.RemoveVolume(name, force) })
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "one that is missing is fine")
	return c
}
