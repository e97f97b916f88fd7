package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// EventQuery chooses events; zero values choose all.
type EventQuery struct {
	Name         string // of a mount or volume, as actor or attribute
	Since, Until time.Time
	Filters      map[string][]string // values of one key are alternatives, keys must all hold
}

// EventFilters are the keys that EventQuery knows.
var eventFilters = []string{"type", "event", "mount", "volume", "driver", "label", "scope"}

// Events calls visit for each event of the journal that q chooses, then for each
// new one until ctx ends or q.Until has come. Without Since only new ones show.
func (e *Engine) Events(ctx context.Context, q EventQuery, visit func(Event) error) error {
	for key := range q.Filters {
		if !slices.Contains(eventFilters, key) {
			return fail(ErrUsage, "filter "+key, "unknown: want one of %s", strings.Join(eventFilters, ", "))
		}
	}
	if !q.Until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, q.Until)
		defer cancel()
	}
	if err := os.MkdirAll(e.Root, 0o711); err != nil {
		return err
	}
	watch, err := sys.Watch(e.Root)
	if err != nil {
		return fail(nil, "events", "watch %s: %w", e.Root, err)
	}
	defer watch.Close()
	j := &journal{root: e.Root}
	defer j.close()
	chosen := func(v Event) error {
		if !q.chooses(v) {
			return nil
		}
		return visit(v)
	}
	if q.Since.IsZero() {
		q.Since = time.Now()
	}
	err = errors.Join(j.older(chosen), j.next(chosen))
	context.AfterFunc(ctx, func() { _ = watch.SetReadDeadline(time.Now()) })
	for buf := make([]byte, 4096); err == nil && ctx.Err() == nil; err = j.next(chosen) {
		if _, readErr := watch.Read(buf); readErr != nil && ctx.Err() == nil {
			return readErr
		}
	}
	return err
}

func (q *EventQuery) chooses(v Event) bool {
	at := time.Unix(0, v.TimeNano)
	if at.Before(q.Since) || !q.Until.IsZero() && at.After(q.Until) {
		return false
	}
	if q.Name != "" && v.Actor.ID != q.Name && v.Actor.Attributes["mount"] != q.Name && v.Actor.Attributes["volume"] != q.Name {
		return false
	}
	for key, wants := range q.Filters {
		if !slices.ContainsFunc(wants, func(want string) bool { return v.has(key, want) }) {
			return false
		}
	}
	return true
}

// has applies one filter, as docker events has them.
func (v *Event) has(key, want string) bool {
	switch key {
	case "type":
		return v.Type == want
	case "event":
		return v.Action == want
	case "scope":
		return v.Scope == want
	case "mount", "volume":
		return v.Type == key && v.Actor.ID == want || v.Actor.Attributes[key] == want
	case "driver":
		return v.Actor.Attributes["driver"] == want
	case "label":
		k, value, valued := strings.Cut(want, "=")
		have, ok := v.Actor.Attributes[k]
		return ok && (!valued || have == value)
	}
	return false
}

// String is the line that docker events prints.
func (v Event) String() string {
	attrs := make([]string, 0, len(v.Actor.Attributes))
	for _, k := range slices.Sorted(maps.Keys(v.Actor.Attributes)) {
		attrs = append(attrs, k+"="+v.Actor.Attributes[k])
	}
	line := fmt.Sprintf("%s %s %s %s", time.Unix(0, v.TimeNano).Format("2006-01-02T15:04:05.000000000Z07:00"), v.Type, v.Action, v.Actor.ID)
	if len(attrs) > 0 {
		line += " (" + strings.Join(attrs, ", ") + ")"
	}
	return line
}

// ParseTime reads a time as docker events does: RFC 3339 or a part of it, seconds
// since 1970 with a fraction, or how long before now. "" is no time.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	if sec, err := strconv.ParseFloat(s, 64); err == nil && sec >= 0 && sec < 1<<40 {
		return time.Unix(0, int64(sec*1e9)), nil
	}
	return time.Time{}, fail(ErrUsage, "time "+s, "want RFC 3339 (2006-01-02T15:04:05Z), seconds since 1970 or how long ago (10m)")
}
