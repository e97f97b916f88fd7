package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func eventsCommand(s *session) *cobra.Command {
	var since, until, format string
	var filters []string
	c := &cobra.Command{
		Use:   "events [NAME]",
		Short: "Print what commands and daemons do with mounts and volumes, live",
		Long: `Print what commands and daemons do with mounts and volumes, of all or of the mount
or volume NAME: what happens from now on, with --since also what has happened.`,
		Example: `  unionmount events
  unionmount events --since 10m --until 0s --filter type=volume --filter event=destroy
  unionmount events db --format '{{.Action}} {{.Actor.Attributes.mount}}'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			q, err := eventQuery(args, since, until, filters)
			if err != nil {
				return err
			}
			show, err := eventPrinter(format)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return e.Events(ctx, q, show)
		},
	}
	c.Flags().StringVar(&since, "since", "", "from then on: a time (RFC 3339, seconds) or how long ago (10m)")
	c.Flags().StringVar(&until, "until", "", "until then; one that has passed: don't wait")
	c.Flags().StringArrayVarP(&filters, "filter", "f", nil, "type=, event=, mount=, volume=, driver= or label=; repeatable")
	c.Flags().StringVar(&format, "format", "", "json (one object a line) or a Go template")
	return c
}

func eventQuery(args []string, since, until string, filters []string) (q engine.EventQuery, err error) {
	if len(args) > 0 {
		q.Name = args[0]
	}
	now := time.Now()
	if q.Since, err = engine.ParseTime(since, now); err != nil {
		return q, err
	}
	if q.Until, err = engine.ParseTime(until, now); err != nil {
		return q, err
	}
	q.Filters = make(map[string][]string)
	for _, f := range filters {
		key, want, ok := strings.Cut(f, "=")
		if !ok {
			return q, usage(fmt.Errorf("--filter %s: want KEY=VALUE", f))
		}
		q.Filters[key] = append(q.Filters[key], want)
	}
	return q, nil
}

// eventPrinter prints each event at once: somebody waits for it.
func eventPrinter(format string) (func(engine.Event) error, error) {
	switch format {
	case "":
		return func(v engine.Event) error { _, err := fmt.Println(v); return err }, nil
	case "json":
		enc := json.NewEncoder(os.Stdout)
		return func(v engine.Event) error { return enc.Encode(v) }, nil
	}
	t, err := parseTemplate(format)
	if err != nil {
		return nil, err
	}
	return func(v engine.Event) error {
		var line strings.Builder
		if err := t.Execute(&line, v); err != nil {
			return usage(err)
		}
		_, err := fmt.Println(line.String())
		return err
	}, nil
}
