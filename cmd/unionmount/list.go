package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

// listing is how a list is printed: --format, -q and --filter.
type listing struct {
	format  string
	quiet   bool
	filters []string
}

func (l *listing) flags(c *cobra.Command) {
	c.Flags().StringVar(&l.format, "format", "table", "table, json (one object a line) or a Go template")
	c.Flags().BoolVarP(&l.quiet, "quiet", "q", false, "names only")
	c.Flags().StringArrayVar(&l.filters, "filter", nil, "KEY=VALUE; repeatable")
}

// valid refuses a filter that keeps nothing because it means nothing, also where
// there is nothing to list. values are those that a key may have; nil: any.
func (l *listing) valid(c *cobra.Command, values map[string][]string) error {
	for _, f := range l.filters {
		key, want, ok := strings.Cut(f, "=")
		may, known := values[key]
		switch {
		case !ok:
			return misused(c, fmt.Errorf("--filter %s: want KEY=VALUE", f))
		case !known:
			return misused(c, fmt.Errorf("--filter %s: unknown key: want one of %s", f, strings.Join(slices.Sorted(maps.Keys(values)), ", ")))
		case may != nil && !slices.Contains(may, want):
			return misused(c, fmt.Errorf("--filter %s: unknown value: want one of %s", f, strings.Join(may, ", ")))
		}
	}
	return nil
}

// keeps tells whether an item passes all filters; keep judges one of them.
func (l *listing) keeps(keep func(key, want string) (keep, known bool)) (bool, error) {
	all := true
	for _, f := range l.filters {
		key, want, ok := strings.Cut(f, "=")
		if !ok {
			return false, usage(fmt.Errorf("--filter %s: want KEY=VALUE", f))
		}
		kept, known := keep(key, want)
		if !known {
			return false, usage(fmt.Errorf("--filter %s: unknown", f))
		}
		all = all && kept
	}
	return all, nil
}

// asks tells whether there is a filter of that key.
func (l *listing) asks(key string) bool {
	return slices.ContainsFunc(l.filters, func(f string) bool { return strings.HasPrefix(f, key+"=") })
}

// row is one item of a listing.
type row struct {
	name    string
	columns []string
	value   any
}

func (l *listing) print(header []string, rows []row) error {
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	return errors.Join(l.printTo(out, header, rows), out.Flush())
}

func (l *listing) printTo(out io.Writer, header []string, rows []row) error {
	if l.quiet {
		for _, r := range rows {
			if _, err := fmt.Fprintln(out, r.name); err != nil {
				return err
			}
		}
		return nil
	}
	switch l.format {
	case "table":
		return printTable(out, header, rows)
	case "json":
		enc := json.NewEncoder(out)
		for _, r := range rows {
			if err := enc.Encode(r.value); err != nil {
				return err
			}
		}
		return nil
	}
	values := make([]any, len(rows))
	for i, r := range rows {
		values[i] = r.value
	}
	return printTemplate(out, l.format, values)
}

// printTable prints columns as tabwriter does, which takes half of the time that
// listing 10,000 volumes takes with it.
func printTable(out io.Writer, header []string, rows []row) error {
	rows = append([]row{{columns: header}}, rows...)
	widths := make([]int, len(header))
	for _, r := range rows {
		for i, c := range r.columns {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var line []byte
	for _, r := range rows {
		line = line[:0]
		last := len(r.columns) - 1
		for i, c := range r.columns[:last] {
			line = append(line, c...)
			for n := utf8.RuneCountInString(c); n < widths[i]+2; n++ {
				line = append(line, ' ')
			}
		}
		if _, err := out.Write(append(append(line, r.columns[last]...), '\n')); err != nil {
			return err
		}
	}
	return nil
}

func parseTemplate(format string) (*template.Template, error) {
	t, err := template.New("format").Funcs(template.FuncMap{"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	}}).Parse(format)
	if err != nil {
		return nil, usage(err)
	}
	return t, nil
}

func printTemplate(out io.Writer, format string, values []any) error {
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	for _, v := range values {
		if err := t.Execute(out, v); err != nil {
			return usage(err)
		}
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
	}
	return nil
}

func lsCommand(s *session) *cobra.Command {
	var all bool
	var l listing
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List mounts: running and dead ones, with -a stopped ones too",
		Example: "  unionmount ls -a --filter state=stopped",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			states := []string{engine.Running, engine.Stopped, engine.Dead}
			if err := l.valid(c, map[string][]string{"name": nil, "state": states, "status": states, "mountpoint": nil, "volume": nil}); err != nil {
				return err
			}
			e, err := s.engine()
			if err != nil {
				return err
			}
			all = all || l.asks("state") || l.asks("status")
			infos, broken := e.List(all)
			var rows []row
			for _, i := range infos {
				ok, err := l.keeps(func(key, want string) (keep, known bool) { return keepMount(i, key, want) })
				if err != nil {
					return err
				}
				if ok {
					rows = append(rows, row{i.Name, i.Columns(), i})
				}
			}
			if err := l.print([]string{"NAME", "STATE", "PID", "MOUNTPOINT", "LAYERS", "VOLUMES"}, rows); err != nil {
				return err
			}
			return broken
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "stopped ones too")
	l.flags(c)
	return c
}

// keepMount applies one filter; volume and name as docker ps has them.
func keepMount(i *engine.Info, key, want string) (keep, known bool) {
	switch key {
	case "name":
		return strings.Contains(i.Name, want), true
	case "state", "status":
		return i.State == want, true
	case "mountpoint":
		return i.Mountpoint == want, true
	case "volume":
		return slices.ContainsFunc(i.Volumes, func(v engine.VolumeInfo) bool {
			return want == v.Name || want == v.Source || want == v.Destination
		}), true
	}
	return false, false
}

func inspectCommand(s *session) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "inspect NAME...",
		Short:   "Describe mounts as a JSON array",
		Example: "  unionmount inspect web",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.inspect(format, args, func(e *engine.Engine, name string) (any, error) { return e.Inspect(name) })
		},
	}
	c.Flags().StringVar(&format, "format", "", "a Go template instead of JSON")
	return c
}

// inspect prints what get finds of each name, then returns what was not found.
func (s *session) inspect(format string, names []string, get func(e *engine.Engine, name string) (any, error)) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	found := []any{}
	err = each(names, func(name string) error {
		v, err := get(e, name)
		if err == nil {
			found = append(found, v)
		}
		return err
	})
	return printInspected(format, found, err)
}

// printInspected prints what was found, then returns what was not.
func printInspected(format string, found []any, missing error) error {
	if format != "" && format != "json" {
		if err := printTemplate(os.Stdout, format, found); err != nil {
			return err
		}
		return missing
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "    ")
	if err := enc.Encode(found); err != nil {
		return err
	}
	return missing
}

func diffCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "diff NAME",
		Short:   "Print what a mount's upper adds (A), changes (C) and deletes (D)",
		Example: "  unionmount diff web",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			out := bufio.NewWriter(os.Stdout)
			if err := e.Diff(args[0], func(kind byte, path string) error {
				_, err := fmt.Fprintf(out, "%c %s\n", kind, path)
				return err
			}); err != nil {
				return err
			}
			return out.Flush()
		},
	}
}

// confirmed asks on a terminal; elsewhere the answer is yes.
func confirmed(question string) bool {
	if !engine.IsTerminal(os.Stdin) {
		return true
	}
	fmt.Fprintf(os.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err == nil && strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y")
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  unionmount version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Println("unionmount", version)
			return err
		},
	}
}

func infoCommand(s *session) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "info",
		Short:   "Print what kernel, file system and privileges allow, and what is chosen",
		Example: "  unionmount info",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			facts := e.Facts(version)
			switch format {
			case "table", "text":
				w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
				for _, f := range facts {
					fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, f.Value, f.Remedy)
				}
				return w.Flush()
			case "json":
				return json.NewEncoder(os.Stdout).Encode(engine.FactMap(facts))
			}
			return printTemplate(os.Stdout, format, []any{engine.FactMap(facts)})
		},
	}
	c.Flags().StringVar(&format, "format", "table", "table, json or a Go template")
	return c
}
