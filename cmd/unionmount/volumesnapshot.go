package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func volumeSnapshot(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:     "snapshot",
		Short:   "What a volume held at one time",
		Example: "  unionmount volume snapshot create db before\n  unionmount volume create old --from db@before",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var live bool
	create := &cobra.Command{
		Use: "create VOLUME SNAP", Short: "Keep what a volume holds now", Args: cobra.ExactArgs(2),
		Example: "  unionmount volume snapshot create db before",
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			return tellMethod(e.SnapshotVolume(args[0], args[1], live))
		},
	}
	create.Flags().BoolVar(&live, "live", false, "copy a volume in use: no point in time")
	ls := &cobra.Command{
		Use: "ls VOLUME", Short: "List a volume's snapshots", Args: cobra.ExactArgs(1),
		Example: "  unionmount volume snapshot ls db",
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			all, err := e.Snapshots(args[0])
			for _, v := range all {
				fmt.Printf("%s@%s\t%s\n", args[0], v.Name, v.CreatedAt)
			}
			return err
		},
	}
	rm := &cobra.Command{
		Use: "rm VOLUME@SNAP", Short: "Delete a snapshot", Args: cobra.ExactArgs(1),
		Example: "  unionmount volume snapshot rm db@before",
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			return e.RemoveSnapshot(args[0])
		},
	}
	c.AddCommand(create, ls, rm)
	return c
}

// tellMethod prints what was made, and for people how.
func tellMethod(name string, m engine.Method, err error) error {
	if err == nil {
		fmt.Println(name)
		fmt.Fprintf(os.Stderr, "%s: %s\n", m.Name, m.Cost)
	}
	return err
}
