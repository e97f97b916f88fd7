package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// onlyLong skips what make test-long does and CI's 40 minutes have no room for.
func onlyLong(t *testing.T, what string) {
	t.Helper()
	if !long() {
		t.Skip("a part of make test-long: " + what)
	}
}

// TestGitOnGoSource: Go's source as a repository in a lower layer: changed all over, committed, checked out back and
// forth, cloned, packed and verified in the union.
func TestGitOnGoSource(t *testing.T) {
	onlyLong(t, "a repository of ten thousand files")
	need(t, "git")
	source := strings.TrimSpace(mustShell(t, suite.module, "go env GOROOT"))
	eachIOInTurn(t, func(t *testing.T, io string) {
		s := newSite(t, 1)
		mustShell(t, s.lowers[0], git+`
mkdir go; cd go; cp -a `+source+`/src `+source+`/api `+source+`/test .
git init -q -b main; git add -A; git commit -q -m source`)
		s.mount("--io", io)
		clean := `git status --porcelain > ../status; test ! -s ../status
`
		mustShell(t, s.mnt, git+`
cd go
`+clean+`
git checkout -q -b work
find src -name '*.go' | sort | awk 'NR % 7 == 0' | xargs sed -i 's/Copyright/copyright/'
git mv src/net src/network; git rm -q -r test
git commit -q -a -m changes
`+clean+`
git checkout -q main; test -e src/net/http/server.go; test -d test
`+clean+`
git checkout -q work; test ! -e src/net; test ! -e test
git stash list > /dev/null; git clone -q . ../second; git -C ../second log --oneline > /dev/null
git gc -q --prune=now; git fsck --full --strict
git merge-tree main work > /dev/null
git checkout -q main
`+clean+`rm -rf ../second`)
		s.remount()
		mustShell(t, s.mnt, git+"cd go; git fsck --full; "+clean+"git checkout -q work; "+clean+"rm -rf ../go")
	})
}

// TestDebian: a real Debian as the lower layer. Packages are installed in it, upgraded to themselves, removed, over
// one layer and over what that left as the second; what dpkg verifies in the end is what it unpacked.
func TestDebian(t *testing.T) {
	onlyLong(t, "debootstrap")
	need(t, "debootstrap", "apt-get", "dpkg", "chroot")
	dir := filepath.Join(suite.dir, "debian")
	mkdir(t, dir)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	mustShell(t, dir, `
set -- $(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | head -1)
debootstrap --variant=minbase "$2" root "$1" > log 2>&1 || { tail log; exit 1; }
mkdir packages; cd packages
apt-get -o APT::Sandbox::User=root download -q hello file libmagic1 libmagic-mgc less bzip2 cron cron-daemon-common sensible-utils netbase > /dev/null
chmod 755 .; cp -r . ../root/packages`)
	eachIO(t, func(t *testing.T, io string) {
		s := newSite(t, 0)
		s.lowers = []string{dir + "/root"}
		s.mount("--io", io)
		inside := func(script string) {
			mustRun(t, "chroot", s.mnt, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "/bin/sh", "-euc", script)
		}
		inside(`
dpkg -i /packages/cron-daemon-common*.deb; dpkg -i /packages/*.deb
test "$(hello)" = "Hello, world!"; file /bin/sh | grep -q link
dpkg --audit; dpkg --verify`)
		s.umount()
		s.must("rm", s.name)
		s.upperToLayer()
		s.mount("--io", io)
		inside(`
dpkg --verify; dpkg -i /packages/hello*.deb /packages/file*.deb /packages/lib*.deb
dpkg --purge hello cron cron-daemon-common; test ! -e /usr/bin/hello; test ! -e /etc/crontab
useradd -m somebody; su somebody -c 'echo mine > ~/file'; chown somebody /usr/bin/less
rm -r /usr/share/doc; dpkg -i /packages/bzip2*.deb; test -e /usr/share/doc/bzip2/copyright
dpkg --audit; bzip2 -c /etc/passwd | bzip2 -d | cmp - /etc/passwd
mv /usr/lib/x86_64-linux-gnu/perl-base /usr/lib/perl-moved 2>/dev/null || mv /usr/lib/*/perl-base /usr/lib/perl-moved
dpkg -l > /dev/null`)
		s.remount()
		inside(`test "$(cat /home/somebody/file)" = mine; test "$(stat -c %U /usr/bin/less)" = somebody
test ! -e /usr/share/doc/base-files; test -e /usr/lib/perl-moved/strict.pm; dpkg --audit`)
	})
}
