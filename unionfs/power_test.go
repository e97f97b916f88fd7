package unionfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unionmount/unionmount/unionfs"
	"github.com/unionmount/unionmount/unionfs/suite"
)

// powerFiles is the number of lower files that the power loss test changes, each by one kind of change.
const powerFiles = 24

// record is what an append adds to a file; base is what the lower file holds before it.
const recordSize = 512

func powerRecord(file, n int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%07d.%07d\n", file, n)), recordSize/16)
}

// powerFile is what is known of one file: how many changes were begun, and how many are on disk for sure.
type powerFile struct{ issued, acked atomic.Int64 }

// TestPowerLoss cuts the power: the upper lies on ext4 in a disk image, and the image is cloned in one instant (a
// reflink) while the union is written to. What the clone holds is what a power cut at that moment would have left: the
// journal is replayed when it is mounted, and what had not reached the disk is gone. Then each file must be whole, in
// a state that was reached, and not older than what fsync(2) of it and of its directory had answered.
func TestPowerLoss(t *testing.T) {
	if os.Geteuid() != 0 {
		suite.Absent(t, "needs root to mount disk images")
	}
	for _, c := range []string{"mkfs.xfs", "mkfs.ext4"} {
		if _, err := exec.LookPath(c); err != nil {
			suite.Absent(t, "needs "+c)
		}
	}
	for i, c := range connections() {
		t.Run(c.String(), func(t *testing.T) {
			c.need(t)
			seed := seed(t)
			dir := t.TempDir()
			store := diskImage(t, dir+"/store.img", "1G", "mkfs.xfs", "-q", "-m", "reflink=1")
			disk := diskImage(t, store+"/disk.img", "128M", "mkfs.ext4", "-q")
			lower := dir + "/lower"
			powerLayer(t, lower, disk)
			guardLowers(t, true, lower)
			cfg := unionfs.Config{Lowers: []string{lower}, Upper: disk + "/upper", Work: disk + "/work", Metacopy: (seed+int64(i))%2 == 1}
			t.Logf("metacopy: %t", cfg.Metacopy)
			d := &daemon{Config: c.config(cfg), Mountpoint: dir + "/mnt"}
			if out, err := exec.Command("sync", "-f", disk).CombinedOutput(); err != nil {
				t.Fatalf("sync: %v: %s", err, out)
			}
			if err := errors.Join(os.Mkdir(d.Mountpoint, 0o755), d.start()); err != nil {
				t.Fatal(err)
			}
			p := &power{t: t, lower: lower, mnt: d.Mountpoint, connection: c, store: store, rng: rand.New(rand.NewSource(seed))}
			err := p.run(times("CUTS", 8, 150))
			if err := errors.Join(err, d.stop()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// diskImage makes a file system in a file and mounts it until the test ends.
func diskImage(t *testing.T, image, size string, mkfs ...string) string {
	t.Helper()
	at := strings.TrimSuffix(image, ".img")
	script := fmt.Sprintf("truncate -s %s %s && %s %s && mkdir -p %s && mount -o loop %s %s", size, image, strings.Join(mkfs, " "), image, at, image, at)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	t.Cleanup(func() {
		if err := suite.Unmount(at); err != nil {
			t.Error(err)
		}
	})
	return at
}

func powerLayer(t *testing.T, lower, disk string) {
	t.Helper()
	err := errors.Join(os.Mkdir(lower, 0o755), os.Mkdir(disk+"/upper", 0o755), os.Mkdir(disk+"/work", 0o755))
	for i := range powerFiles {
		dir := fmt.Sprintf("%s/d%d", lower, i)
		err = errors.Join(err, os.Mkdir(dir, 0o755), os.WriteFile(dir+"/f", bytes.Repeat(powerRecord(i, 0), 100), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// power is one run.
type power struct {
	t                 *testing.T
	lower, mnt, store string
	connection
	rng   *rand.Rand
	files [powerFiles]powerFile
	stop  atomic.Bool
}

// run changes files until the cuts are made, and checks what each left.
func (p *power) run(cuts int) error {
	done := make(chan error, 1)
	rng := rand.New(rand.NewSource(p.rng.Int63()))
	go func() {
		var err error
		for err == nil && !p.stop.Load() {
			err = p.change(rng)
		}
		done <- err
	}()
	var err error
	for i := 0; i < cuts && err == nil; i++ {
		time.Sleep(time.Duration(p.rng.Intn(400)) * time.Millisecond)
		if err = p.cut(); err != nil {
			err = fmt.Errorf("cut %d: %w", i, err)
		}
	}
	p.stop.Store(true)
	return errors.Join(err, <-done)
}

// change appends to a file and may make it durable; every third file is only given the mode that says how often.
func (p *power) change(rng *rand.Rand) error {
	i := rng.Intn(powerFiles)
	n := p.files[i].issued.Add(1)
	f, err := os.OpenFile(fmt.Sprintf("%s/d%d/f", p.mnt, i), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if i%3 == 0 {
		err = f.Chmod(os.FileMode(n % 0o1000))
	} else {
		_, err = f.Write(powerRecord(i, int(n)))
	}
	if err != nil || rng.Intn(3) > 0 {
		return err
	}
	if p.files[i].acked.Load() > 0 { // its name is on the disk
		if err = f.Sync(); err == nil {
			p.files[i].acked.Store(n)
		}
		return err
	}
	d, err := os.Open(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	defer d.Close()
	top, err := os.Open(p.mnt)
	if err != nil {
		return err
	}
	defer top.Close()
	if err := errors.Join(f.Sync(), d.Sync(), top.Sync()); err != nil {
		return err
	}
	p.files[i].acked.Store(n)
	return nil
}

// cut clones the disk, mounts the clone with a union on it, and checks every file.
func (p *power) cut() error {
	var acked, issued [powerFiles]int64
	for i := range p.files {
		acked[i] = p.files[i].acked.Load()
	}
	clone := p.store + "/clone.img"
	if out, err := exec.Command("cp", "--reflink=always", p.store+"/disk.img", clone).CombinedOutput(); err != nil {
		return fmt.Errorf("clone: %w: %s", err, out)
	}
	for i := range p.files {
		issued[i] = p.files[i].issued.Load()
	}
	at := p.store + "/clone"
	if out, err := exec.Command("sh", "-c", "mkdir -p "+at+" && mount -o loop "+clone+" "+at).CombinedOutput(); err != nil {
		return fmt.Errorf("mount the clone: %w: %s", err, out)
	}
	d := &daemon{Config: p.config(unionfs.Config{Lowers: []string{p.lower}, Upper: at + "/upper", Work: at + "/work"}), Mountpoint: p.store + "/after"}
	err := errors.Join(os.MkdirAll(d.Mountpoint, 0o755), d.start())
	if err == nil {
		for i := range p.files {
			err = errors.Join(err, checkPower(d.Mountpoint, i, acked[i], issued[i]))
		}
		err = errors.Join(err, d.stop())
	}
	return errors.Join(err, suite.Unmount(at), os.Remove(clone))
}

// checkPower says how a file is not what it may be.
func checkPower(mnt string, i int, acked, issued int64) error {
	path := fmt.Sprintf("%s/d%d/f", mnt, i)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	base := bytes.Repeat(powerRecord(i, 0), 100)
	if len(data) < len(base) || !bytes.Equal(data[:len(base)], base) {
		return fmt.Errorf("file %d: %d bytes, and what the layer has is not whole: a half copy-up", i, len(data))
	}
	if i%3 == 0 {
		return checkMode(i, int64(st.Mode().Perm()), len(data) == len(base), acked, issued)
	}
	added := data[len(base):]
	for n := 0; len(added) > 0; n++ {
		want := powerRecord(i, n+1)
		if len(added) < len(want) {
			want = want[:len(added)]
		}
		if got := added[:len(want)]; !bytes.Equal(got, want) && (int64(n) < acked || !mayBe(got, want)) {
			return fmt.Errorf("file %d: record %d (acknowledged %d, begun %d) is not what was written", i, n+1, acked, issued)
		}
		added = added[len(want):]
	}
	if got := int64(len(data)-len(base)) / recordSize; got < acked || got > issued {
		return fmt.Errorf("file %d: %d records, of which fsync had acknowledged %d, and %d were begun", i, got, acked, issued)
	}
	return nil
}

// mayBe tells whether each byte is that written or zero: ext4 keeps a size before the data of the file's last block,
// so what was appended there and not synced may read as zeros.
func mayBe(got, want []byte) bool {
	for i := range got {
		if got[i] != want[i] && got[i] != 0 {
			return false
		}
	}
	return true
}

func checkMode(i int, mode int64, whole bool, acked, issued int64) error {
	if !whole {
		return fmt.Errorf("file %d: only its mode was changed, and it has another size", i)
	}
	if acked == 0 && mode == 0o600 {
		return nil
	}
	for n := max(acked, 1); n <= issued; n++ {
		if n%0o1000 == mode {
			return nil
		}
	}
	return fmt.Errorf("file %d: mode %o is none of those set since the acknowledged %d up to %d", i, mode, acked, issued)
}
