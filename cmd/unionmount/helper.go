package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

// Exit codes of mount(8) and its helpers.
const (
	mountUsage  = 1
	mountFailed = 32
)

// helperArgs are what mount(8), podman, buildah and containerd pass.
type helperArgs struct {
	words      []string // [SOURCE] TARGET
	options    []string
	root       string
	fake       bool
	foreground bool
	lazy       bool
}

// helperHelp is what a helper says when asked how it is called.
const helperHelp = `Usage:
  unionmount [SOURCE] TARGET -o lowerdir=A:B[,upperdir=U,workdir=W][,OPTION...]

Examples:
  mount -t fuse.unionmount unionmount /merged -o lowerdir=/a:/b,upperdir=/u,workdir=/w

unionmount mount --help lists the options.
`

// parseHelper reads a helper's arguments: -f is mount(8)'s fake or fuse-overlayfs's foreground.
func parseHelper(form form, args []string) (h helperArgs, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		value := func(glued string) string {
			if glued != "" {
				return glued
			}
			i++
			if i < len(args) {
				return args[i]
			}
			err = fmt.Errorf("%s needs a value", a)
			return ""
		}
		switch {
		case a == "--":
			h.words = append(h.words, args[i+1:]...)
			return h, err
		case a == "-" || !strings.HasPrefix(a, "-"):
			h.words = append(h.words, a)
		case a == "--root":
			h.root = value("")
		case strings.HasPrefix(a, "--root="):
			h.root = strings.TrimPrefix(a, "--root=")
		case strings.HasPrefix(a, "-o"):
			h.options = append(h.options, value(a[2:]))
		case strings.HasPrefix(a, "-t"), strings.HasPrefix(a, "-N"):
			value(a[2:])
		case form == formOverlay && (a == "-f" || a == "-d" || a == "--debug"):
			h.foreground = true
		default:
			if err := h.letters(a); err != nil {
				return h, err
			}
		}
	}
	return h, err
}

// letters reads mount(8)'s and umount(8)'s single letters, also run together.
func (h *helperArgs) letters(a string) error {
	for _, c := range strings.TrimPrefix(a, "-") {
		switch c {
		case 'f':
			h.fake = true
		case 'l':
			h.lazy = true
		case 's', 'n', 'v', 'r', 'w':
		default:
			return fmt.Errorf("unknown flag %s", a)
		}
	}
	return nil
}

// helperMount is the second entry: [SOURCE] TARGET -o lowerdir=...
func helperMount(form form, args []string) int {
	if len(args) == 1 {
		switch args[0] {
		case "--version", "-V":
			fmt.Println("unionmount", version) // podman info asks
			return 0
		case "--help", "-h":
			fmt.Print(helperHelp)
			return 0
		}
	}
	q, root, fake, err := helperRequest(form, args)
	if err != nil {
		report(err)
		return mountUsage
	}
	if fake {
		return 0
	}
	e, err := (&session{root}).engine()
	if err == nil {
		err = e.Mount(q, func(*engine.Info) {})
	}
	if err == nil {
		return 0
	}
	if report(err) == engine.ExitCode(engine.ErrUsage) { // a volume's spec, say
		return mountUsage
	}
	return mountFailed
}

// helperRequest turns a helper's arguments into a mount below root; fake: it isn't to be made.
func helperRequest(form form, args []string) (q engine.Request, root string, fake bool, err error) {
	h, err := parseHelper(form, args)
	if err == nil && (len(h.words) == 0 || len(h.words) > 2) {
		err = errors.New("want [SOURCE] TARGET -o lowerdir=A:B[,upperdir=U,workdir=W]")
	}
	if err != nil {
		return q, "", false, usage(err)
	}
	g, err := engine.ParseOptions(h.options)
	switch {
	case err != nil:
		return q, "", false, err
	case len(g.Lowers) == 0:
		return q, "", false, usage(errors.New("no layer given: name one with -o lowerdir="))
	case g.Upper != "" && g.Work == "":
		return q, "", false, usage(fmt.Errorf("upper %s: a work directory is missing: name one on its file system with -o workdir=", g.Upper))
	}
	q = engine.Request{Layers: g.Lowers, Mountpoint: h.words[len(h.words)-1], Upper: g.Upper, Work: g.Work,
		Volumes: g.Volumes, Options: g.Options, Foreground: h.foreground, Helper: true}
	if g.Upper == "" {
		q.Work = "" // overlayfs ignores it too
	}
	if g.ReadOnly {
		q.Options.Words = append(q.Options.Words, "ro")
	}
	return q, h.root, h.fake, nil
}

// helperUmount is what umount(8) calls for a mount of type fuse.unionmount.
func helperUmount(args []string) int {
	h, err := parseHelper(formUmount, args)
	if err == nil && len(h.words) != 1 {
		err = errors.New("want one TARGET")
	}
	if err != nil {
		report(usage(err))
		return mountUsage
	}
	if err := engine.UmountTarget(h.words[0], h.lazy); err != nil {
		report(err)
		return mountFailed
	}
	return 0
}
