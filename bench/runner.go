package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"
)

// Config says what to measure. Only Binary must be given.
type Config struct {
	Binary  string         // the unionmount to measure
	Dir     string         // where to work; default: the system's directory for temporary files that is no tmpfs
	Quick   bool           // small trees, few rounds: under two minutes
	Rounds  int            // of each line, at least; 0: 6, of a quick run 3
	Time    time.Duration  // no round of the lines begins that would end later; 0: no limit, of a quick run quickTime
	Peers   []string       // names; empty: all
	Against string         // the peer that ratios are against; default: overlayfs, or what there is instead
	Only    *regexp.Regexp // lines whose name matches; nil: all
	Users   bool           // each line as a plain user too
	Count   bool           // count FUSE requests in a round of their own
	Growth  bool           // curves and memory as well
	Uring   bool           // enable FUSE over io_uring while measuring, but for the peers without it, and put it back
	Log     func(format string, args ...any)
}

// ErrNoRoot is why a benchmark doesn't start.
var ErrNoRoot = errors.New("needs root: it mounts kernel overlays and drops caches")

// Misuse is an error in what was asked for.
type Misuse struct{ error }

func misuse(format string, args ...any) error { return Misuse{fmt.Errorf(format, args...)} }

// runner is one run.
type runner struct {
	Config
	dir    string // everything is below it
	result *Result
	trees  map[string]made
	peers  []peer
	tracer *tracer
	sites  int
	moreOf map[string]bool // scenarios that get another round
	failed map[place]int   // from which phase on a peer doesn't do a scenario any more
	clock  *clock
	absent string // why what is not measured is not
	// tracing: requests are being counted.
	tracing bool
}

// made is a tree on disk.
type made struct {
	base   string   // what holds them all
	lowers []string // topmost first
	flat   string
}

// Run measures. It leaves nothing behind, also when it fails or ctx ends; what it measured until then it returns.
// What peers could not do is no error, but stands in the result.
func Run(ctx context.Context, c Config) (res *Result, err error) {
	if os.Geteuid() != 0 {
		return nil, ErrNoRoot
	}
	r, err := c.prepare()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.clear()) }()
	if c.Uring {
		undo, err := setUring(true)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	r.result.Machine = thisMachine(r.dir)
	err = r.measure(ctx)
	r.result.summarise()
	r.result.Took = time.Since(r.clock.began).Round(time.Second)
	return r.result, err
}

// measure measures until all is done or the run's time is over.
func (r *runner) measure(ctx context.Context) error {
	chosen := r.chosen()
	if len(chosen) == 0 && len(r.result.LeftOut) == 0 && !(r.Growth && r.anyGrowth()) {
		return misuse("--only: no line has such a name")
	}
	if r.Time > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadlineCause(ctx, r.clock.began.Add(r.Time), errNoTime)
		defer stop()
	}
	err := r.lines(ctx, chosen)
	if err == nil {
		err = r.count(ctx, chosen)
	}
	if err == nil && r.Growth {
		err = r.growth(ctx)
	}
	over := errors.Is(context.Cause(ctx), errNoTime)
	if err != nil && !over && ctx.Err() != nil {
		r.absent = "the run was interrupted"
		err = fmt.Errorf("interrupted: shown is what was measured before: %w", err)
	}
	r.unmeasured(chosen)
	r.uncounted()
	if r.Growth {
		r.unmeasuredGrowth()
	}
	if over {
		return nil
	}
	return err
}

func (r *runner) clear() error {
	var errs []error
	if r.tracer != nil {
		errs = append(errs, r.tracer.close())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

func (r *runner) scale() float64 {
	if r.Quick {
		return 0.125
	}
	return 1
}

// runtime is how long a line runs that runs for a time.
func (r *runner) runtime() time.Duration {
	if r.Quick {
		return 200 * time.Millisecond
	}
	return 3 * time.Second
}

// clients are who runs each line: root, and a plain user if asked for.
func (r *runner) clients() []int {
	if r.Users {
		return []int{0, plainUser}
	}
	return []int{0}
}

// quickTime leaves a quick run of two minutes the time to clear up.
const quickTime = 105 * time.Second

// chosen is every scenario of this run.
func (r *runner) chosen() (chosen []scenario) {
	for _, s := range scenarios() {
		if r.wanted(s) {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

func (r *runner) wanted(s scenario) bool {
	if r.Quick && !s.quick || r.Only != nil && !slices.ContainsFunc(s.phases, func(p phase) bool { return !p.after && r.Only.MatchString(p.line) }) {
		return false
	}
	why := executable(s.needs...)
	for _, p := range s.phases {
		if why != "" && !p.after {
			r.leave(Absence{Line: p.line, Why: why})
		}
	}
	return why == ""
}

func who(uid int) string {
	if uid == 0 {
		return "root"
	}
	return "user"
}
