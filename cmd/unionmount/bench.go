package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/bench"
	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func benchCommand() *cobra.Command {
	cfg := bench.Config{}
	var only, format, output, report string
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine: unionmount against the kernel's overlayfs and other unions",
		Long: `Measure unionmount, each in turn and all in the same rounds, against a plain
directory, the kernel's overlayfs, fuse-overlayfs and unionfs-fuse, as far as
they are installed. Figures are medians; a peer's is its speed against overlayfs,
or against the one that --against names.

The peers are: plain, overlayfs, fuse-overlayfs, unionfs-fuse, cached, volatile,
open, volume-bind, volume-fuse; with --users also fuse-overlayfs-user and user; with
--io-uring also cached-device, open-device and user-device, which go without.`,
		Example: "  unionmount bench --quick\n  unionmount bench --only 'walk|create' --peer overlayfs --peer cached --output today.json\n  unionmount bench compare yesterday.json today.json",
		Args:    cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) (err error) {
			if format != "table" && format != "json" {
				return usage(fmt.Errorf("--format %s: want table or json", format))
			}
			if only != "" {
				if cfg.Only, err = regexp.Compile(only); err != nil {
					return usage(fmt.Errorf("--only: %w", err))
				}
			}
			return runBench(cfg, format, output, report)
		},
	}
	f := c.Flags()
	f.BoolVar(&cfg.Quick, "quick", false, "small trees, few rounds and lines: under two minutes")
	f.IntVar(&cfg.Rounds, "rounds", 0, "rounds of each line at least (default 6; quick 3); noisy lines get more")
	f.DurationVar(&cfg.Time, "time", 0, "end after this time, such as 30m; lines that it had no room for are named (default: no limit; quick 105s)")
	f.StringArrayVar(&cfg.Peers, "peer", nil, "measure this peer only; repeatable")
	f.StringVar(&cfg.Against, "against", "", "the peer that ratios, and what is noise, are against (default overlayfs)")
	f.StringVar(&only, "only", "", "measure only lines that match this regular expression")
	f.BoolVar(&cfg.Users, "users", false, "each line also as a plain user, and the unions that a plain user mounted")
	f.BoolVar(&cfg.Count, "requests", true, "count FUSE requests by kind, in a round of their own")
	f.BoolVar(&cfg.Growth, "growth", false, "how it grows with layers, names, sizes and clients, and the daemon's memory")
	f.BoolVar(&cfg.Uring, "io-uring", false, "enable FUSE over io_uring for the time of the run (a switch of the whole system); the -device peers go without")
	f.StringVar(&cfg.Dir, "dir", "", "work below this directory, on the file system to measure (default /var/tmp)")
	f.StringVar(&format, "format", "table", "table or json")
	f.StringVar(&output, "output", "", "save the result in this file, for bench compare")
	f.StringVar(&report, "report", "", "write a page with plots, each plot as an SVG file, and the result, into this directory")
	c.AddCommand(compareCommand())
	return c
}

func runBench(cfg bench.Config, format, output, report string) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	cfg.Binary = binary
	if engine.IsTerminal(os.Stderr) {
		cfg.Log = func(f string, a ...any) { fmt.Fprintf(os.Stderr, "\r\x1b[K"+f, a...) }
		defer fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := bench.Run(ctx, cfg)
	if errors.As(err, new(bench.Misuse)) {
		return usage(err)
	}
	if errors.Is(err, bench.ErrNoRoot) {
		return &engine.Error{What: "bench", Kind: engine.ErrUnsupported, Why: err}
	}
	if err == nil && len(r.Failures) > 0 {
		err = fmt.Errorf("%d lines failed: the result names them and has the others", len(r.Failures))
	}
	if err != nil {
		err = &engine.Error{What: "bench", Why: err}
	}
	if r == nil {
		return err
	}
	return errors.Join(err, show(r, format, output, report))
}

// show prints and keeps a result: a run that was interrupted, or that a peer failed in, has one too.
func show(r *bench.Result, format, output, report string) (err error) {
	if output != "" {
		err = r.Save(output)
	}
	if report != "" {
		err = errors.Join(err, r.Report(report))
	}
	if format == "json" {
		return errors.Join(err, json.NewEncoder(os.Stdout).Encode(r))
	}
	return errors.Join(err, r.Table(os.Stdout))
}

func compareCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "compare OLD NEW",
		Short:   "Name what moved beyond noise between two saved results",
		Example: "  unionmount bench compare before.json after.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			older, err := bench.Load(args[0])
			if err != nil {
				return &engine.Error{What: "bench compare", Why: err}
			}
			newer, err := bench.Load(args[1])
			if err != nil {
				return &engine.Error{What: "bench compare", Why: err}
			}
			return bench.Compare(older, newer).Print(os.Stdout)
		},
	}
}
