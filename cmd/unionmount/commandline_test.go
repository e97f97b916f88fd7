package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestUnbuiltCommands: a command with a settled name that isn't made yet says so,
// and with a -o it was once taken for the mount helper's TARGET.
func TestUnbuiltCommands(t *testing.T) {
	s := small(t)
	for _, c := range []string{"commit", "explain", "run", "layer", "check", "demo"} {
		s.refused(5, []string{c, "not built yet"}, c)
		s.refused(5, []string{c, "not built yet"}, c, "-o", "volatile", s.lowers[0], "--", "true")
	}
}

// TestUsageNamesTheCommand: one line that says which command was called wrongly, and where its help is.
func TestUsageNamesTheCommand(t *testing.T) {
	s := small(t)
	for _, args := range [][]string{
		{"mount"}, {"umount"}, {"start"}, {"start", "a", "b", "c"}, {"ls", "extra"}, {"inspect"}, {"rm"}, {"prune", "extra"}, {"diff"},
		{"diff", "a", "b"}, {"info", "extra"}, {"version", "extra"}, {"ls", "--no-such-flag"}, {"mount", "--cache", "maybe", s.lowers[0], s.mnt},
		{"ls", "--filter", "name"}, {"ls", "--filter", "colour=red"}, {"ls", "--filter", "state=asleep"}, // once taken where there was nothing to list
	} {
		r := s.refused(2, []string{"unionmount: " + args[0] + ": ", "see unionmount " + args[0] + " --help"}, args...)
		if n := strings.Count(r.stderr, "\n"); n != 1 {
			t.Errorf("%q: %d lines of error:\n%s", args, n, r.stderr)
		}
		if r.stdout != "" {
			t.Errorf("%q printed %q all the same", args, r.stdout)
		}
	}
	s.refused(2, []string{"no-such-command"}, "no-such-command")
	s.refused(2, []string{"format"}, "ls", "--format", "{{")
}

// TestHelpHasExamples: of every command and each below it.
func TestHelpHasExamples(t *testing.T) {
	s := newSite(t, 0)
	commands := []string{"", "mount", "umount", "start", "ls", "inspect", "rm", "prune", "diff", "info", "version", "volume", "volume create",
		"volume ls", "volume inspect", "volume rm", "completion", "completion bash", "completion zsh", "completion fish"}
	for _, c := range commands {
		if out := s.must(append(strings.Fields(c), "--help")...); !strings.Contains(out, "Examples:\n  ") {
			t.Errorf("%s --help has no example:\n%s", c, out)
		}
	}
	for _, o := range []string{"lowerdir=", "upperdir=", "volume=", "redirect_dir=", "timeout=", "nosuid"} { // an unknown one is answered with "see unionmount mount --help"
		if out := s.must("mount", "--help"); !strings.Contains(out, o) {
			t.Errorf("mount --help doesn't name the option %s", o)
		}
	}
	if out := s.must("completion", "bash"); !strings.Contains(out, "complete -o default") {
		t.Errorf("completion bash is no script: %.200q", out)
	}
	version := s.must("version")
	if out := s.must("--version"); out != version { // as podman info asks for it
		t.Errorf("--version prints %q, version %q", out, version)
	}
	for _, name := range helperNames {
		if r := s.as(name, "--help"); r.code != 0 || !strings.Contains(r.stdout, "lowerdir=") {
			t.Errorf("%s --help: %s", name, r)
		}
		if r := s.as(name, "--version"); r.code != 0 || r.stdout != version {
			t.Errorf("%s --version: %s", name, r)
		}
	}
}

func TestFlagsStandAnywhere(t *testing.T) {
	s := small(t)
	for _, args := range [][]string{
		{"--root", s.root, "mount", "--name", "m", s.lowers[0], s.mnt},
		{"mount", s.lowers[0], "--name=m", s.mnt, "--root", s.root},
		{"mount", s.lowers[0], s.mnt, "-v", "data:/v", "--root=" + s.root, "--name", "m"},
	} {
		if out := mustRun(t, suite.binary, args...); out != "m\n" {
			t.Errorf("%q printed %q", args, out)
		}
		mustRun(t, suite.binary, "umount", "m", "--root", s.root)
		mustRun(t, suite.binary, "rm", "--root", s.root, "m")
	}
	// The second entry has --root too, for its named volumes.
	if r := run(t, suite.binary, s.mnt, "-o", "lowerdir="+s.lowers[0]+",volume=data:/v", "--root", s.root); r.code != 0 {
		t.Fatal(r)
	}
	wantListing(t, s.root+"/volumes", ".locks", "data")
}

func TestListFilters(t *testing.T) {
	s := small(t)
	s.mount("-v", "data:/vol")
	other := s.dir + "/other"
	mkdir(t, other)
	s.must("mount", "--name", "still", s.lowers[0], other)
	s.must("umount", "still")
	for filter, want := range map[string]string{
		"name=m": "m\n", "name=sti": "", "state=running": "m\n", "state=stopped": "still\n", "status=dead": "", "mountpoint=" + s.mnt: "m\n",
		"volume=data": "m\n", "volume=/vol": "m\n", "volume=none": "",
	} {
		if out := s.must("ls", "-q", "--filter", filter); out != want {
			t.Errorf("ls --filter %s: %q, want %q", filter, out, want)
		}
	}
	if out := s.must("ls", "-aq", "--filter", "name=sti", "--filter", "volume=data"); out != "" {
		t.Errorf("two filters: %q", out)
	}
}

// TestPartlyFailing: a command with several names does what it can, one line for each that failed, and the code of what failed.
func TestPartlyFailing(t *testing.T) {
	s := small(t)
	s.mount()
	r := s.cli("inspect", "m", "nobody", "noone")
	if r.code != 3 || len(decode(t, r.stdout)) != 1 || strings.Count(r.stderr, "\n") != 2 {
		t.Errorf("inspect: %s", r)
	}
	if r := s.cli("umount", "nobody", "m"); r.code != 3 || strings.Count(r.stderr, "\n") != 1 || len(mountsBelow(s.mnt)) != 0 {
		t.Errorf("umount: %s", r)
	}
	if r := s.cli("rm", "nobody", "m"); r.code != 3 || r.stdout != "m\n" || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("rm: %s", r)
	}
}

// TestOutputIsGone: a full or closed standard output is an error where the output
// is the point, and does no harm to a mount.
func TestOutputIsGone(t *testing.T) {
	s := small(t)
	s.mount()
	for _, c := range []string{"ls", "ls -q", "ls --format json", "inspect m", "info", "volume ls", "version"} {
		cmd := command(t, suite.binary, append([]string{"--root", s.root}, strings.Fields(c)...)...)
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		must(t, err)
		cmd.Stdout = full
		if r := finish(cmd); r.code != 1 || !strings.Contains(r.stderr, "no space left") {
			t.Errorf("%s to a full device: %s", c, r)
		}
		full.Close()
	}
	other := s.dir + "/other"
	mkdir(t, other)
	mustShell(t, s.dir, fmt.Sprintf("%s --root %s mount --name closed %s %s <&- >&- 2>&-", suite.binary, s.root, s.lowers[0], other))
	wantContent(t, other+"/file", "lower\n")
	s.must("umount", "closed")
}

// TestUmountAllStacked: mounts that cover each other, or lie in each other, go
// youngest first; by name the covered ones were refused.
func TestUmountAllStacked(t *testing.T) {
	s := small(t)
	for _, name := range []string{"b", "a", "c"} {
		s.must("mount", "--name", name, s.lowers[0], s.mnt)
	}
	mkdir(t, s.in("inside"))
	s.must("mount", "--name", "d", s.lowers[0], s.in("inside"))
	s.must("mount", "--name", "0", s.lowers[0], s.in("inside"))
	s.must("umount", "--all")
	if m := mountsBelow(s.mnt); len(m) != 0 {
		t.Errorf("still mounted: %v", m)
	}
}

// TestTerminalShowsTheStack: on a terminal mount prints the stack, topmost first, and the volumes, in the README's form.
func TestTerminalShowsTheStack(t *testing.T) {
	need(t, "script")
	s := small(t)
	out := mustRun(t, "script", "-qec", fmt.Sprintf("%s --root %s mount --name web -u %s -v data:/srv/data --volume-io bind -v %s:/h:ro %s %s",
		suite.binary, s.root, s.upper, s.lowers[0], s.lowers[0], s.mnt), "/dev/null")
	want := []string{"web  cached  at " + s.mnt, "  upper   " + s.upper, "  lower   " + s.lowers[0],
		"  volume  /h → " + s.lowers[0] + "  (bind, read-only)", "  volume  /srv/data → data " + s.root + "/volumes/data/_data  (bind)"}
	if got := strings.Split(strings.TrimSpace(strings.ReplaceAll(out, "\r", "")), "\n"); !slices.Equal(got, want) {
		t.Errorf("printed %q\nwant %q", got, want)
	}
}

// TestReadmeByHand runs the lines that the README has a newcomer type.
func TestReadmeByHand(t *testing.T) {
	need(t, "fusermount3")
	text, err := os.ReadFile(suite.module + "/README.md")
	must(t, err)
	_, script, found := strings.Cut(string(text), "<!-- by-hand -->")
	script, _, ended := strings.Cut(script, "<!-- /by-hand -->")
	if !found || !ended {
		t.Fatal("README.md has no such part")
	}
	for who, runAs := range map[string]func(s *site, script string) string{
		"root":  func(s *site, script string) string { return mustShell(t, s.dir, script) },
		"other": func(s *site, script string) string { return s.userMust("sh", "-e", "-c", script) },
	} {
		t.Run(who, func(t *testing.T) {
			s := userSite(t)
			t.Setenv("UNIONMOUNT_ROOT", s.root)
			t.Setenv("PATH", filepath.Dir(suite.binary)+":"+os.Getenv("PATH"))
			out := runAs(s, strings.ReplaceAll(script, "/tmp/try", s.dir+"/try"))
			if !strings.Contains(out, "C /file\n") || !strings.Contains(out, "try   running") {
				t.Errorf("it printed %q", out)
			}
			wantContent(t, s.dir+"/try/base/file", "from the base\n")
			wantContent(t, s.root+"/volumes/notes/_data/greeting", "kept\n")
			wantListing(t, s.dir+"/try/merged")
		})
	}
}
