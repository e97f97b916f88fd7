package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unionmount/unionmount/layers/sys"
)

// utab is libmount's table of what the kernel does not know about mounts. Without
// a line in it umount(8) takes the type from statfs(2), which says "fuse" only,
// and calls no helper of ours (util-linux, lookup_umount_fs_by_statfs); with
// helper= it calls /sbin/umount.<helper> whoever asks.
const utab = "/run/mount/utab"

const utabHelper = "OPTS=helper=unionmount"

// utabAdd tells umount(8) to call our helper for a mount with binds.
func utabAdd(m sys.Mount) error {
	line := fmt.Sprintf("SRC=%s TARGET=%s ROOT=%s %s", mangle(m.Source), mangle(m.Target), mangle(m.Root), utabHelper)
	return utabChange(func(lines []string) []string { return append(lines, line) })
}

// utabRemove takes our line for a mountpoint away; umount(8) may have done so.
func utabRemove(target string) error {
	return utabChange(func(lines []string) []string {
		return slices.DeleteFunc(lines, func(l string) bool {
			f := strings.Fields(l)
			return slices.Contains(f, "TARGET="+mangle(target)) && slices.Contains(f, utabHelper)
		})
	})
}

// utabChange replaces the table under libmount's lock.
func utabChange(change func(lines []string) []string) error {
	if err := os.MkdirAll(filepath.Dir(utab), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(utab+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	for end := time.Now().Add(patienceStart); ; time.Sleep(5 * time.Millisecond) {
		if err = sys.Flock(int(lock.Fd()), true); err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
	}
	text, err := os.ReadFile(utab)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(l string) bool { return l == "" })
	after := strings.Join(change(lines), "\n")
	if after != "" {
		after += "\n"
	}
	if after == string(text) {
		return nil
	}
	return writeSynced(utab, []byte(after), 0o644)
}

// mangle writes blanks as mountinfo does.
func mangle(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(s)
}
