package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func umountCommand(s *session) *cobra.Command {
	var lazy, all bool
	c := &cobra.Command{
		Use:     "umount NAME|MOUNTPOINT...",
		Short:   "Stop mounts; upper and volumes stay",
		Example: "  unionmount umount web\n  unionmount umount --all",
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			if !all && len(args) == 0 {
				return misused(c, fmt.Errorf("name a mount, or --all"))
			}
			if all {
				err = e.UmountAll(lazy)
			}
			return errors.Join(err, each(args, func(what string) error { return e.Umount(what, lazy) }))
		},
	}
	c.Flags().BoolVar(&lazy, "lazy", false, "detach now, end when nobody uses it")
	c.Flags().BoolVar(&all, "all", false, "every mount that is running or dead")
	return c
}

func startCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "start NAME [MOUNTPOINT]",
		Short:   "Mount a stopped or dead mount again: same layers, upper, volumes, options",
		Example: "  unionmount start web",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			return e.Start(args[0], append(args, "")[1], printMounted)
		},
	}
}

// remove removes each of names and prints those that are gone.
func (s *session) remove(names []string, remove func(e *engine.Engine, name string) error) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	return each(names, func(name string) error {
		err := remove(e, name)
		if err == nil {
			fmt.Println(name)
		}
		return err
	})
}

func rmCommand(s *session) *cobra.Command {
	var force, anonymous bool
	c := &cobra.Command{
		Use:     "rm NAME...",
		Short:   "Remove mounts and the uppers kept for them",
		Example: "  unionmount rm web",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.remove(args, func(e *engine.Engine, name string) error { return e.Remove(name, force, anonymous) })
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "unmount it first if it is running")
	c.Flags().BoolVarP(&anonymous, "volumes", "v", false, "its anonymous volumes too")
	return c
}

func pruneCommand(s *session) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:     "prune",
		Short:   "Remove all stopped and dead mounts",
		Example: "  unionmount prune -f",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			if !force && !confirmed("Remove all stopped and dead mounts, and the uppers kept for them?") {
				return nil
			}
			gone, err := e.Prune()
			for _, name := range gone {
				fmt.Println(name)
			}
			return err
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "don't ask")
	return c
}
