package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func volumeSnapshot(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:     "snapshot",
		Short:   "Keep what a volume holds now",
		Example: "  unionmount volume snapshot create db before-upgrade\n  unionmount volume restore db@before-upgrade",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(snapshotCreate(s), snapshotLs(s), snapshotRm(s))
	return c
}

const liveUsage = "copy it while it is in use, too: the copy is no point in time"

func snapshotCreate(s *session) *cobra.Command {
	var how engine.CopyVolume
	c := &cobra.Command{
		Use:   "create VOLUME SNAPSHOT",
		Short: "Keep what a volume holds now, under a name",
		Long: `Keep what a volume holds now, under a name, and say on standard error how and at what cost.
The drivers btrfs and lvm freeze a volume at one instant, also in use. Another volume is
copied, with blocks shared where its file system can; nobody may use it meanwhile.`,
		Example: "  unionmount volume snapshot create db before-upgrade",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.copying("copying", &how, func(ctx context.Context, e *engine.Engine) error {
				cost, err := e.Snapshot(ctx, args[0], args[1], how)
				return sayCost(args[0]+"@"+args[1], cost, err)
			})
		},
	}
	c.Flags().BoolVar(&how.Live, "live", false, liveUsage)
	return c
}

func snapshotLs(s *session) *cobra.Command {
	var l listing
	c := &cobra.Command{
		Use:     "ls [VOLUME]",
		Aliases: []string{"list"},
		Short:   "List the snapshots of a volume, or of all",
		Example: "  unionmount volume snapshot ls db",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			volume := ""
			if len(args) > 0 {
				volume = args[0]
			}
			all, broken := e.Snapshots(volume)
			if all == nil && broken != nil {
				return broken
			}
			rows := make([]row, 0, len(all))
			for _, one := range all {
				rows = append(rows, row{one.ID(), one.Columns(), one})
			}
			return errors.Join(l.print([]string{"VOLUME", "SNAPSHOT", "CREATED", "METHOD", "POINT IN TIME"}, rows), broken)
		},
	}
	c.Flags().StringVar(&l.format, "format", "table", "table, json (one object a line) or a Go template")
	c.Flags().BoolVarP(&l.quiet, "quiet", "q", false, "VOLUME@SNAPSHOT only")
	return c
}

func snapshotRm(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "rm VOLUME@SNAPSHOT...",
		Aliases: []string{"remove"},
		Short:   "Delete snapshots",
		Example: "  unionmount volume snapshot rm db@before-upgrade",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.remove(args, func(e *engine.Engine, id string) error { return e.RemoveSnapshot(id) })
		},
	}
}

func volumeRestore(s *session) *cobra.Command {
	var how engine.CopyVolume
	return &cobra.Command{
		Use:   "restore VOLUME@SNAPSHOT",
		Short: "Make a volume hold again what a snapshot of it holds",
		Long: `Make a volume hold again what a snapshot of it holds, in one step. What the volume
holds now is gone then; the snapshot stays. Refused while a running mount has the volume.`,
		Example: "  unionmount volume restore db@before-upgrade",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.copying("restoring", &how, func(ctx context.Context, e *engine.Engine) error {
				cost, err := e.RestoreVolume(ctx, args[0], how)
				return sayCost(args[0], cost, err)
			})
		},
	}
}

// sayCost prints the name, for scripts, and on standard error how it was made and what that cost.
func sayCost(name, cost string, err error) error {
	if err == nil {
		fmt.Println(name)
		fmt.Fprintln(os.Stderr, cost)
	}
	return err
}

// copying does what takes long: with progress on a terminal, ended by a signal.
func (s *session) copying(doing string, how *engine.CopyVolume, do func(context.Context, *engine.Engine) error) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	m := newMeter(doing)
	defer m.clear()
	if m != nil {
		how.Tell = func(objects, bytes int64) { m.show(objects, bytes, "") }
	}
	return do(ctx, e)
}

// meter shows on a terminal how much was done.
type meter struct {
	doing string
	start time.Time
	last  time.Time
}

// newMeter is nil where nobody looks.
func newMeter(doing string) *meter {
	if !engine.IsTerminal(os.Stderr) {
		return nil
	}
	return &meter{doing: doing, start: time.Now()}
}

func (m *meter) show(objects, bytes int64, part string) {
	now := time.Now()
	if now.Sub(m.last) < 200*time.Millisecond {
		return
	}
	m.last = now
	rate := int64(float64(bytes) / max(now.Sub(m.start).Seconds(), 0.001))
	fmt.Fprintf(os.Stderr, "\r\x1b[K%s %s%d objects, %s, %s/s", m.doing, part, objects, engine.HumanSize(bytes), engine.HumanSize(rate))
}

func (m *meter) clear() {
	if m != nil && !m.last.IsZero() {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
