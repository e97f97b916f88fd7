package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func volumeServe(s *session) *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Be a Docker volume plugin, until a signal ends it",
		Long: `Be a Docker volume plugin: other programs create, mount and remove volumes
below --root by Docker's volume plugin protocol. It prints its socket once it
answers, and serves in the foreground until SIGINT or SIGTERM.`,
		Example: `  unionmount volume serve &
  podman volume create --driver unionmount copy`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			return e.ServeVolumes(socket, func(socket string) { fmt.Println(socket) })
		},
	}
	c.Flags().StringVar(&socket, "socket", "", "where to listen (default: unionmount.sock in Docker's folder for plugins)")
	return c
}
