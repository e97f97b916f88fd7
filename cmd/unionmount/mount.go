package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/unionmount/unionmount/cmd/internal/engine"
)

func mountCommand(s *session) *cobra.Command {
	var q engine.Request
	var options []string
	var cache string
	var volatile bool
	c := &cobra.Command{
		Use:   "mount [flags] LAYER... MOUNTPOINT",
		Short: "Mount a union of layers, topmost first",
		Long: `Mount a union of layers, topmost first, under one writable layer.
Prints the name of the mount; on a terminal, the stack and its volumes.

Options of -o: lowerdir=A:B upperdir=U workdir=W volume=SPEC redirect_dir=on|off|follow|nofollow
userxattr volatile noacl metacopy=on|off timeout=SECONDS static_nlink writeback=on|off fsname=NAME allow_other, and
mount(8)'s words: ro rw nodev nosuid noexec noatime and so on.`,
		Example: "  unionmount mount --name web ./app ./base /mnt -v db:/var/lib/db -v /etc/hosts:/etc/hosts:ro",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := s.engine()
			if err != nil {
				return err
			}
			g, err := engine.ParseOptions(options)
			if err != nil {
				return err
			}
			if cache != "auto" && cache != "off" {
				return misused(c, fmt.Errorf("--cache %s: want auto or off", cache))
			}
			q.Layers, q.Mountpoint = args[:len(args)-1], args[len(args)-1]
			if err := merge(&q, g); err != nil {
				return err
			}
			q.Options.Coherent = q.Options.Coherent || cache == "off"
			q.Options.Volatile = q.Options.Volatile || volatile
			return e.Mount(q, printMounted)
		},
	}
	f := c.Flags()
	f.StringVarP(&q.Upper, "upper", "u", "", "writable layer (default: a new one under --root)")
	f.StringVar(&q.Work, "work", "", "staging directory (default: beside the upper)")
	f.StringArrayVarP(&q.Volumes, "volume", "v", nil, "NAME:/path[:ro,nocopy], /host/path:/path[:ro] or /path (anonymous); repeatable")
	f.StringArrayVar(&q.Mounts, "mount", nil, "Docker's long form: type=volume|bind|tmpfs,source=,target=,...; repeatable")
	f.StringArrayVar(&q.VolumesFrom, "volumes-from", nil, "MOUNT[:ro]: the volumes of another mount; repeatable")
	f.StringVar(&q.Name, "name", "", "name of the mount (default: generated)")
	f.BoolVarP(&q.ReadOnly, "read-only", "r", false, "no upper; volumes stay writable unless ro")
	f.BoolVar(&q.Remove, "rm", false, "at unmount drop the upper, if it is kept under --root, and the anonymous volumes")
	f.BoolVarP(&q.Foreground, "foreground", "f", false, "serve in this process")
	f.StringArrayVarP(&options, "options", "o", nil, "options of overlayfs, fuse-overlayfs and mount(8)")
	f.BoolVar(&volatile, "volatile", false, "no sync at copy-up: fast, and lost in a crash")
	f.StringVar(&q.IO, "io", "auto", "contract with the kernel: auto, open or cached")
	f.StringVar(&q.VolumeIO, "volume-io", "auto", "way into volumes: auto, bind or fuse")
	f.StringVar(&cache, "cache", "auto", "auto, or off: the kernel keeps nothing")
	f.StringVar(&q.LogLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// merge takes over what -o says that flags and arguments say too. ro without an
// upper is --read-only; with one the union is mounted read-only over it, as
// overlayfs does.
func merge(q *engine.Request, g engine.Given) error {
	q.Options = g.Options
	q.Volumes = append(q.Volumes, g.Volumes...)
	q.Layers = append(q.Layers, g.Lowers...)
	for _, p := range []struct {
		flag  *string
		given string
		name  string
	}{{&q.Upper, g.Upper, "upperdir"}, {&q.Work, g.Work, "workdir"}} {
		switch {
		case p.given == "":
		case *p.flag != "" && *p.flag != p.given:
			return usage(fmt.Errorf("-o %s=%s and the flag say different things", p.name, p.given))
		default:
			*p.flag = p.given
		}
	}
	switch {
	case g.ReadOnly && q.Upper != "":
		q.Options.Words = append(q.Options.Words, "ro")
	case g.ReadOnly:
		q.ReadOnly = true
	}
	return nil
}

// printMounted prints the name alone for scripts, the stack for people.
func printMounted(i *engine.Info) {
	if !engine.IsTerminal(os.Stdout) {
		fmt.Println(i.Name)
		return
	}
	fmt.Printf("%s  %s  at %s\n", i.Name, i.IO, i.Mountpoint)
	if i.Upper != "" {
		fmt.Printf("  upper   %s\n", i.Upper)
	}
	for _, l := range i.Layers {
		fmt.Printf("  lower   %s\n", l)
	}
	for _, v := range i.Volumes {
		mode := ""
		if !v.RW {
			mode = ", read-only"
		}
		fmt.Printf("  volume  %s → %s  (%s%s)\n", v.Destination, strings.TrimSpace(v.Name+" "+v.Source), v.IO, mode)
	}
}
