// Command unionmount mounts copy-on-write unions with persistent volumes. Flags
// become options here, one file a command; what they mean is in package engine.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/bench"
	"github.com/unionmount/unionmount/cmd/internal/engine"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(run(os.Args))
}

func run(args []string) int {
	if len(args) == 2 && args[1] == engine.DaemonArg {
		return engine.Daemon()
	}
	if len(args) == 2 && args[1] == bench.ClientArg {
		return bench.Client()
	}
	root := command()
	switch form, rest := formOf(root, args); form {
	case formMount, formOverlay:
		return helperMount(form, rest)
	case formUmount:
		return helperUmount(rest)
	}
	root.SetArgs(args[1:])
	return report(root.Execute())
}

// report prints each failure on a line of its own and numbers the exit code.
func report(err error) (code int) {
	for _, e := range failures(err) {
		fmt.Fprintln(os.Stderr, "unionmount:", strings.ReplaceAll(strings.TrimSpace(e.Error()), "\n", "; "))
		code = max(code, engine.ExitCode(e))
	}
	return code
}

// failures takes apart what errors.Join put together: the one kind of error
// with several parts that says nothing of its own.
func failures(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var lines []string
	var parts []error
	for _, e := range joined.Unwrap() {
		if e == nil {
			return []error{err}
		}
		lines = append(lines, e.Error())
		parts = append(parts, failures(e)...)
	}
	if strings.Join(lines, "\n") != err.Error() {
		return []error{err}
	}
	return parts
}

// session is what all commands share: the flags of the root command.
type session struct{ root string }

func (s *session) engine() (*engine.Engine, error) {
	root := s.root
	if root == "" {
		var err error
		if root, err = engine.DefaultRoot(); err != nil {
			return nil, err
		}
	}
	abs, err := filepath.Abs(root)
	return &engine.Engine{Root: abs}, err
}

func command() *cobra.Command {
	s := new(session)
	c := &cobra.Command{
		Use:   "unionmount",
		Short: "Copy-on-write unions of directories, with volumes that outlive them",
		Long: `unionmount merges read-only layer directories with one writable layer.
Chosen subpaths go straight through to volume directories, which outlive the
writable layer: the storage of a container as one program.`,
		Example:       "  unionmount mount ./changes-below ./base /mnt -v db:/var/lib/db\n  unionmount umount /mnt",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version, // podman info asks
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	c.PersistentFlags().StringVar(&s.root, "root", "", "where mounts and volumes are kept (default: UNIONMOUNT_ROOT, else /var/lib/unionmount as root, $XDG_DATA_HOME/unionmount else)")
	c.SetFlagErrorFunc(misused)
	c.AddCommand(mountCommand(s), umountCommand(s), startCommand(s), lsCommand(s), inspectCommand(s), rmCommand(s),
		pruneCommand(s), diffCommand(s), infoCommand(s), versionCommand(), volumeCommand(s), eventsCommand(s), benchCommand())
	for _, name := range unbuilt {
		c.AddCommand(unbuiltCommand(name))
	}
	addCompletion(c)
	wrapArgs(c)
	return c
}

// addCompletion gives cobra's own command an example, as every command has one.
func addCompletion(c *cobra.Command) {
	c.InitDefaultCompletionCmd()
	for _, sub := range c.Commands() {
		if sub.Name() != "completion" {
			continue
		}
		sub.Example = "  . <(unionmount completion bash)"
		for _, shell := range sub.Commands() {
			shell.Example = "  unionmount completion " + shell.Name()
		}
	}
}

// wrapArgs makes a wrong number of arguments a failure of usage.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			return misused(c, check(c, args))
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

// misused says which command was called wrongly.
func misused(c *cobra.Command, err error) error {
	if err == nil || !c.HasParent() {
		return usage(err)
	}
	what := strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
	return &engine.Error{What: what, Kind: engine.ErrUsage, Why: fmt.Errorf("%w: see %s --help", err, c.CommandPath())}
}

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &engine.Error{What: "usage", Kind: engine.ErrUsage, Why: fmt.Errorf("%w: see --help", err)}
}

// form is how the program was called.
type form int

const (
	formCommand form = iota
	formMount        // mount(8)'s helper
	formOverlay      // as fuse-overlayfs is called
	formUmount       // umount(8)'s helper
)

// formOf tells the form by the program's name, else by a first word that is no
// command and a -o somewhere.
func formOf(root *cobra.Command, args []string) (form, []string) {
	switch filepath.Base(args[0]) {
	case "mount.unionmount", "mount.fuse.unionmount":
		return formMount, args[1:]
	case "umount.unionmount", "umount.fuse.unionmount":
		return formUmount, args[1:]
	case "fuse-overlayfs":
		return formOverlay, args[1:]
	}
	if len(args) < 2 || !slices.ContainsFunc(args[1:], func(a string) bool { return strings.HasPrefix(a, "-o") }) {
		return formCommand, nil
	}
	if sub, _, err := root.Find(args[1:]); err == nil && sub != root {
		return formCommand, nil
	}
	return formOverlay, args[1:]
}

// each applies f to every argument and joins what fails.
func each(args []string, f func(string) error) error {
	var errs []error
	for _, a := range args {
		errs = append(errs, f(a))
	}
	return errors.Join(errs...)
}
