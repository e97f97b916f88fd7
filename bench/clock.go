package bench

import (
	"errors"
	"time"
)

// clock keeps a run within its time: nothing begins that would end too late, going by what the same took before.
// What begins for the first time may be cut off at the end of the run's time.
type clock struct {
	began time.Time
	limit time.Duration // 0: none
	aside time.Duration // what went into making trees: no part of a cost, for it is done once
	cost  map[string]time.Duration
}

// errNoTime is why a run's context ends when its time is over.
var errNoTime = errors.New("no time")

const noTime = "no time was left for it (--time)"

func newClock(limit time.Duration) *clock {
	return &clock{began: time.Now(), limit: limit, cost: map[string]time.Duration{}}
}

// fits tells whether something ends before a part of the run's time is over.
func (c *clock) fits(what string, part float64) bool {
	return c.limit == 0 || time.Since(c.began)+c.cost[what] < time.Duration(part*float64(c.limit))
}

// measure notes what something costs; the caller calls what it returns at its end.
func (c *clock) measure(what string) (done func()) {
	start, aside := time.Now(), c.aside
	return func() { c.cost[what] = time.Since(start) - (c.aside - aside) }
}

// making notes that a tree is being made, until the caller calls what it returns.
func (c *clock) making() (done func()) {
	start := time.Now()
	return func() { c.aside += time.Since(start) }
}

// Parts of the run's time by whose end each must be over.
func (c Config) linesPart() float64 {
	switch {
	case c.Count && c.Growth:
		return 0.4
	case c.Growth:
		return 0.5
	case c.Count:
		return 0.75
	}
	return 1
}

func (c Config) countPart() float64 {
	if c.Growth {
		return 0.55
	}
	return 1
}
