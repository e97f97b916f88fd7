package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

func (c Config) prepare() (*runner, error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.Rounds == 0 {
		c.Rounds = 6 // the fewest of which a median has an interval of 95 %
		if c.Quick {
			c.Rounds = 3
		}
	}
	if c.Time == 0 && c.Quick {
		c.Time = quickTime
	}
	clock := newClock(c.Time)
	if c.Dir == "" {
		c.Dir = "/var/tmp" // /tmp is often a tmpfs
	}
	dir, err := os.MkdirTemp(c.Dir, "unionmount-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := spread(dir); err != nil {
		c.Log("%v", err)
	}
	r := &runner{Config: c, dir: abs(dir), trees: map[string]made{}, moreOf: map[string]bool{}, failed: map[place]int{}, clock: clock, absent: noTime,
		result: &Result{Version: resultVersion, Started: time.Now().UTC().Truncate(time.Second), Quick: c.Quick, Binary: versionOf(c.Binary)}}
	if err := r.choosePeers(); err != nil {
		return nil, errors.Join(err, r.clear())
	}
	if c.Count {
		if r.tracer, err = newTracer(filepath.Join(r.dir, "trace")); err != nil {
			r.leave(Absence{Line: "requests", Why: err.Error()})
			r.tracer = nil
		}
	}
	return r, nil
}

// choosePeers drops those that are not asked for or not to be had, and names the latter.
func (r *runner) choosePeers() error {
	for _, want := range r.Peers {
		if !slices.ContainsFunc(peers(), func(p peer) bool { return p.name == want }) {
			return misuse("no peer %q", want)
		}
	}
	for _, p := range peers() {
		asked := slices.Contains(r.Peers, p.name)
		if len(r.Peers) > 0 && !asked || p.user && !r.Users || p.slow && r.Quick && !asked {
			continue
		}
		known := Peer{Name: p.name, About: p.about}
		if p.missing != nil {
			known.Missing = p.missing(r.Config)
		}
		r.result.Peers = append(r.result.Peers, known)
		if known.Missing == "" {
			r.peers = append(r.peers, p)
		} else {
			r.Log("%s is left out: %s", p.name, known.Missing)
		}
	}
	r.result.Against = r.Against
	if r.Against != "" && r.result.reference() != r.Against {
		return misuse("--against %s: no peer of this run: name it with --peer too, if it is there and is installed", r.Against)
	}
	return nil
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

// lines measures every scenario, and those that came out noisy once more.
func (r *runner) lines(ctx context.Context, chosen []scenario) error {
	for round := range 3 * r.Rounds {
		did := false
		for _, s := range chosen {
			if round >= r.Rounds && !r.moreOf[s.name] || !r.clock.fits(s.name, r.linesPart()) {
				continue
			}
			did = true
			done := r.clock.measure(s.name)
			if err := r.round(ctx, s, round); err != nil {
				return err
			}
			done()
			r.judge(s)
		}
		if !did {
			break
		}
	}
	return nil
}

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

// judge marks the lines of a scenario that are not known well yet.
func (r *runner) judge(s scenario) {
	r.moreOf[s.name] = false
	ref := r.result.reference()
	for _, p := range s.phases {
		for _, l := range r.result.Lines {
			if l.Name == p.line {
				l.Noisy = l.unsure(ref)
				r.moreOf[s.name] = r.moreOf[s.name] || l.Noisy
			}
		}
	}
}

// inTurn is how the peers take turns in a round: backwards in each odd one, and another begins after two,
// so that nobody always follows the same other.
func inTurn(peers []peer, round int) []peer {
	n := len(peers)
	turns := make([]peer, 0, n)
	for i := range n {
		turns = append(turns, peers[(i+round/2)%n])
	}
	if round%2 == 1 {
		slices.Reverse(turns)
	}
	return turns
}

// round lets each peer have its turn at a scenario.
func (r *runner) round(ctx context.Context, s scenario, round int) error {
	for _, uid := range r.clients() {
		for _, p := range inTurn(r.peers, round) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if p.user && uid != plainUser {
				continue
			}
			r.Log("round %d, %s, %s as %s", round+1, s.name, p.name, who(uid))
			if err := r.turn(ctx, s, p, uid, r.timing(p, uid, round)); err != nil {
				return err
			}
		}
	}
	return nil
}

func who(uid int) string {
	if uid == 0 {
		return "root"
	}
	return "user"
}
