package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

// unbuilt are commands whose names and forms are settled, but not yet made: who
// tries one hears that, and no flag of it is taken for the mount helper's.
var unbuilt = [...]string{"commit", "explain", "run", "layer", "check", "demo"}

func unbuiltCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use:                name,
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return &engine.Error{What: name, Kind: engine.ErrUnsupported, Why: errors.New("not built yet: see unionmount --help for what is")}
		},
	}
}
