# unionmount: `make quickstart` to see it, `make test` to check it.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PREFIX  ?= /usr/local
DESTDIR ?=
GO      ?= go

# The version is stamped here; Go's own stamping fails in a checkout that
# another user owns, and nothing reads it.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
export GOFLAGS := $(GOFLAGS) -buildvcs=false

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What the quickstart needs at run time, and what the tests need besides:
# peers, filesystems and real programs to compare with; gcc for -race.
PACKAGES_RUN  := fuse3 fio attr
PACKAGES_TEST := $(PACKAGES_RUN) acl libarchive-tools stress-ng sqlite3 xfsprogs btrfs-progs fuse-overlayfs unionfs-fuse \
	sshfs openssh-server glusterfs-server glusterfs-client rclone podman runc busybox-static util-linux uidmap libcap2-bin umoci postgresql debootstrap git gcc libc6-dev

# What the guest of test-vm needs: tools and servers for what this machine's kernel may not have.
PACKAGES_VM   := qemu-system-x86 lvm2 thin-provisioning-tools kmod nfs-kernel-server samba \
	busybox-static xfsprogs e2fsprogs util-linux

UNIT := ./layers/... ./cow/... ./unionfs/...

# $(call packages,LIST): apt-get runs only if one of LIST is missing.
define packages
@if ! command -v dpkg-query >/dev/null; then \
	echo "not a Debian system: make sure these are there: $(1)" >&2; exit 0; \
fi; \
missing=; \
for p in $(1); do \
	[ "$$(dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || missing="$$missing $$p"; \
done; \
[ -n "$$missing" ] || exit 0; \
if [ "$$(id -u)" != 0 ]; then echo "missing:$$missing; install them, or run make as root" >&2; exit 1; fi; \
export DEBIAN_FRONTEND=noninteractive; \
for try in 1 2 3 4 5; do \
	if apt-get update -q && apt-get install -q -y --no-install-recommends $$missing; then exit 0; fi; \
	echo "apt-get failed (try $$try of 5)" >&2; sleep $$((try * 5)); \
done; \
echo "could not install:$$missing" >&2; exit 1
endef

# $(call stage,NAME,COMMAND): run COMMAND and say how long it took.
define stage
@echo "== $(1)"; start=$$SECONDS; status=0; $(2) || status=$$?; \
echo "== $(1): $$((SECONDS - start)) s, exit $$status"; exit $$status
endef

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: quickstart
quickstart: deps-run build ## install what is missing, build, and show a union at work (root)
	@docs/quickstart.sh

.PHONY: build
build: ## build bin/unionmount
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/unionmount ./cmd/unionmount

# The random suites go their short length without the race detector, which is five
# times as slow, and a fifth of it with.
.PHONY: test
test: ## everything CI checks, at most 40 minutes (root)
	$(call stage,packages,$(MAKE) --no-print-directory deps)
	$(call stage,lint,$(MAKE) --no-print-directory lint)
	$(call stage,build,$(MAKE) --no-print-directory build)
	$(call stage,tests with the race detector,OPS=20000 CGO_ENABLED=1 $(GO) test -race -count=1 -p 1 -parallel 3 -timeout 60m ./...)
	$(call stage,unit and model tests on one processor,GOMAXPROCS=1 $(GO) test -count=1 -p 1 -timeout 60m $(UNIT))
	$(call stage,quickstart,QUICKSTART_SECONDS=3 docs/quickstart.sh)

.PHONY: test-long
test-long: build ## the same suites at full length, hours (root)
	$(call packages,$(PACKAGES_TEST))
	$(call stage,tests in a guest,$(MAKE) --no-print-directory test-vm)
	$(call stage,long tests,UNIONMOUNT_LONG=1 $(GO) test -count=1 -p 1 -timeout 0 -v ./...)
	$(call stage,a tenth of them with the race detector,UNIONMOUNT_LONG=1 LONG_PART=10 CGO_ENABLED=1 $(GO) test -race -count=1 -p 1 -timeout 0 -v ./layers/... ./cow/... ./unionfs)

# The guest's kernel is unpacked, not installed: it is no kernel of this machine.
GUEST := bin/guest
.PHONY: test-vm
test-vm: ## lvm, nfs, cifs and quotas in a guest with Debian's kernel, some minutes (root)
	$(call packages,$(PACKAGES_VM))
	@rm -rf $(GUEST) && mkdir -p $(GUEST)
	cd $(GUEST) && apt-get download -q "$$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $$2}')" && dpkg -x *.deb .
	UNIONMOUNT_VM=$(CURDIR)/$(GUEST) $(GO) test -count=1 -timeout 40m -v -run '^TestInGuest$$' ./volumes/driver

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@bad=$$(gofmt -l .); [ -z "$$bad" ] || { echo "gofmt -w is due on:"; echo "$$bad"; exit 1; } >&2
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

.PHONY: deps
deps: ## install the packages the tests need (apt, root)
	$(call packages,$(PACKAGES_TEST))

.PHONY: deps-run
deps-run: ## install the packages the quickstart needs (apt, root)
	$(call packages,$(PACKAGES_RUN))

# mount(8) and umount(8) look for helpers in /sbin only, whatever PREFIX is.
HELPERS := mount.unionmount mount.fuse.unionmount umount.unionmount umount.fuse.unionmount

.PHONY: install
install: build ## install under PREFIX, with mount(8)'s helpers in /sbin
	install -D -m 0755 bin/unionmount $(DESTDIR)$(PREFIX)/bin/unionmount
	install -d $(DESTDIR)/sbin
	for h in $(HELPERS); do ln -sfn $(PREFIX)/bin/unionmount $(DESTDIR)/sbin/$$h; done

.PHONY: uninstall
uninstall: ## remove what install put there
	for h in $(HELPERS); do rm -f $(DESTDIR)/sbin/$$h; done
	rm -f $(DESTDIR)$(PREFIX)/bin/unionmount

.PHONY: clean
clean: ## remove what build made
	rm -rf bin
