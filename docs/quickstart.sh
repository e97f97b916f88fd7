#!/usr/bin/env bash
# quickstart.sh shows a union at work on the Go source tree and checks each
# claim it makes; it exits non-zero at the first that does not hold. All it
# makes lies in one temporary directory, its own --root included, and is gone
# when it ends. Run as root, by `make quickstart` or alone after `make build`.
#
#   QUICKSTART_SECONDS  how long fio runs on each path, in seconds (default 20)
#   TMPDIR              where the temporary directory is made (default /var/tmp)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export LC_ALL=C PATH="$PWD/bin:$PATH"
seconds=${QUICKSTART_SECONDS:-20}
lower="$(go env GOROOT)/src"
tmp="$(mktemp -d "${TMPDIR:-/var/tmp}/unionmount-quickstart.XXXXXX")"
export UNIONMOUNT_ROOT="$tmp/root"

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
say()  { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '   %s\n' "$*"; }
die()  { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
# show CMD...: print the command, then run it.
show() { printf '%s$ %s%s\n' "$dim" "${*//"$tmp"\//}" "$plain"; "$@" | sed 's/^/   /'; }
# expect WHAT TEST...: the demonstration stands or falls with each of these.
expect() { local what=$1; shift; "$@" || die "expected that $what"; note "checked: $what"; }
gone() { ! [ -e "$1" ] && ! [ -L "$1" ]; }

mounts_left() { awk -v t="$tmp/" 'index($5, t) == 1 {print $5}' /proc/self/mountinfo; }

cleanup() {
	local status=$?
	trap - EXIT
	cd /
	unionmount umount --all >/dev/null 2>&1 || true
	mounts_left | sort -r | while read -r m; do umount -l "$m" 2>/dev/null || fusermount3 -u -z "$m" || true; done
	# Never delete through a mount: what lies behind it is not ours.
	if [ -n "$(mounts_left)" ]; then
		echo "quickstart: still mounted, so not removed: $tmp" >&2
		status=1
	else
		rm -rf --one-file-system "$tmp" || status=1
	fi
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

command -v unionmount >/dev/null || die "bin/unionmount is missing; run: make build"
command -v fio >/dev/null || die "fio is missing; run: make deps-run"
[ -d "$lower" ] || die "no Go source tree at $lower"

mkdir -p "$tmp"/{changes/fmt,upper,one,two,three,four}
touch "$tmp/start"
sleep 0.1 # so that any change to the lower would be newer than this mark
union="$tmp/one" upper="$tmp/upper"

say "1. A stack: a layer of changes over the Go source tree, a volume at /notes."
echo '// the layer of changes has its own print.go' >"$tmp/changes/fmt/print.go"
echo '// only the layer of changes has this file'   >"$tmp/changes/fmt/extra.go"
show unionmount mount --name first --upper "$upper" -v notes:/notes "$tmp/changes" "$lower" "$union"
note "volume of first     $tmp/root/volumes/notes/_data at /notes"
note "upper of first      $upper"
note "lower, topmost      $tmp/changes"
note "lower, bottom       $lower"
show unionmount ls

say "2. Lookup: the topmost layer that has a name serves it; directories merge."
expect "fmt/print.go comes from the layer of changes" cmp -s "$union/fmt/print.go" "$tmp/changes/fmt/print.go"
expect "fmt/format.go comes from the Go tree" cmp -s "$union/fmt/format.go" "$lower/fmt/format.go"
expect "fmt lists the names of both" test "$(ls "$union/fmt")" = "$( (ls "$lower/fmt"; ls "$tmp/changes/fmt") | sort -u)"

say "3. Copy-up: the first write to a lower file copies it to upper; the lower stays."
before="$(sha256sum <"$lower/strings/builder.go")"
inode="$(stat -c %i "$union/strings/builder.go")"
expect "upper has no strings/builder.go yet" gone "$upper/strings/builder.go"
echo '// changed in the union' >>"$union/strings/builder.go"
show ls -l "$upper/strings/"
expect "upper now has the whole file with the new line" \
	cmp -s "$upper/strings/builder.go" <(cat "$lower/strings/builder.go"; echo '// changed in the union')
expect "the union shows it, under the same inode number" \
	test "$(tail -n1 "$union/strings/builder.go") $(stat -c %i "$union/strings/builder.go")" = "// changed in the union $inode"
expect "the lower file is unchanged" test "$(sha256sum <"$lower/strings/builder.go")" = "$before"

say "4. Whiteout: removing a lower file leaves a mark (character device 0/0) in upper."
rm "$union/errors/errors.go"
show ls -l "$upper/errors/"
expect "the name is gone in the union" gone "$union/errors/errors.go"
expect "it is not listed either" test -z "$(ls "$union/errors" | grep -x errors.go)"
expect "upper has a character device 0/0 there" test "$(stat -c '%F %t/%T' "$upper/errors/errors.go")" = "character special file 0/0"
expect "the lower file is still there" test -s "$lower/errors/errors.go"
show unionmount diff first

say "5. Volume: what is written under /notes goes past the union, to the volume."
echo 'hello from the first stack' >"$union/notes/greeting.txt"
show cat "$tmp/root/volumes/notes/_data/greeting.txt"
expect "the host sees the same bytes at once" cmp -s "$union/notes/greeting.txt" "$tmp/root/volumes/notes/_data/greeting.txt"
expect "upper never hears of it" gone "$upper/notes"

say "6. Three other stacks take the same volume, each at another path."
unionmount mount --name second -v notes:/data          "$lower/net"      "$tmp/two"   >/dev/null
unionmount mount --name third  -v notes:/srv/notes     "$lower/encoding" "$tmp/three" >/dev/null
unionmount mount --name fourth -v notes:/testing/notes "$tmp/changes" "$lower" "$tmp/four" >/dev/null
show unionmount ls
everywhere=("$union/notes" "$tmp/two/data" "$tmp/three/srv/notes" "$tmp/four/testing/notes")
for at in "${everywhere[@]:1}"; do
	expect "${at#"$tmp"/} reads the greeting" grep -qx 'hello from the first stack' "$at/greeting.txt"
	echo "and hello from ${at#"$tmp"/}" >>"$at/greeting.txt"
done
show cat "$union/notes/greeting.txt"
all="$(printf '%s\n' 'hello from the first stack' 'and hello from '{two/data,three/srv/notes,four/testing/notes})"
for at in "${everywhere[@]}"; do
	[ "$(cat "$at/greeting.txt")" = "$all" ] || die "expected that ${at#"$tmp"/} has all four lines"
done
note "checked: all four mounts read the same four lines"

say "7. Drop the first mount and its upper: the changes go, the volume stays."
unionmount umount first
unionmount rm first >/dev/null
rm -rf --one-file-system "$upper"
expect "the first mount is gone" test -z "$(mounts_left | grep -Fx "$union" || true)"
expect "the volume keeps all four lines on the host" test "$(cat "$tmp/root/volumes/notes/_data/greeting.txt")" = "$all"
for at in "${everywhere[@]:1}"; do
	[ "$(cat "$at/greeting.txt")" = "$all" ] || die "expected that ${at#"$tmp"/} still has all four lines"
done
note "checked: so do the three other mounts"
expect "no file of the Go tree was changed" test -z "$(find "$lower" -cnewer "$tmp/start" -print -quit)"

say "8. Speed: fio, random 4k reads and writes, for $seconds s each on the union and on the volume."
way="$(unionmount inspect second | tr -d '\n' | sed -n 's/.*"Volumes": *\[[^]]*"IO": *"\([a-z]*\)".*/\1/p')"
[ -n "$way" ] || die "expected that inspect names the volume's way"
case $way in
bind) note "the volume is a bind mount here: its I/O never reaches the daemon" ;;
*)    note "the volume is routed by the daemon here ($way)" ;;
esac
# fio_iops FILE: reads plus writes per second, from fio's terse output
# (version 3: field 5 the error, 8 read IOPS, 49 write IOPS).
fio_iops() {
	fio --name=quickstart --filename="$1" --rw=randrw --bs=4k --size=16m --direct=0 --invalidate=0 \
		--ioengine=psync --time_based --runtime="$seconds" --randrepeat=1 \
		--output-format=terse --terse-version=3 |
		awk -F';' '$1 == 3 && $5 == 0 {printf "%d\n", $8 + $49; ok = 1} END {exit !ok}'
}
on_union="$(fio_iops "$tmp/two/fio.dat")" || die "fio failed on the union"
on_volume="$(fio_iops "$tmp/two/data/fio.dat")" || die "fio failed on the volume"
[ "$on_union" -gt 0 ] && [ "$on_volume" -gt 0 ] || die "fio did no work"
printf '   %-28s %10d IOPS\n' "union path" "$on_union" "volume path ($way)" "$on_volume"
awk -v u="$on_union" -v v="$on_volume" 'BEGIN {printf "   volume / union               %10.1f\n", v / u}'

say "9. Clean up: everything is unmounted and removed."
unionmount umount --all >/dev/null
expect "nothing is left mounted" test -z "$(mounts_left)"
