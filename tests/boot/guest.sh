#!/bin/busybox sh
# Both halves of a machine that imagekit runs in: as /init it mounts base and tools with busybox, as `guest` inside of
# the base it starts udev and says on the console what the steps of its test find. The rest is done by the test.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin:/mnt/usr/bin HOME=/run XDG_STATE_HOME=/run/state TERM=dumb
export PYTHONPATH=/mnt/python:/mnt/usr/lib/python3/dist-packages
b=/bin/busybox

found() { # name, then a command: what that writes to stdout, between marks, and how it ended
	name=$1
	shift
	echo "guest: begin $name"
	"$@" 2>/run/said
	status=$?
	sed 's/^/guest: said: /' /run/said
	[ "$status" -ne 1 ] || tail -n 30 "$XDG_STATE_HOME"/imagekit/logs/* # a mistake in imagekit itself
	echo "guest: end $name $status"
}

imagekit() { python3 -m imagekit.cli "$@"; }

if [ "$1" = guest ]; then
	/usr/lib/systemd/systemd-udevd --daemon
	udevadm trigger --action=add
	udevadm settle
	echo "guest: ready"
	. /mnt/steps.sh
	echo "guest: over"
	sleep 600
fi

$b mkdir -p /proc /sys /dev /base
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
while read -r module; do $b insmod "/guest/$module" || echo "guest: no $module"; done </guest/order
read -r base tools </guest/disks # block devices, or files
until [ -e "$tools" ]; do $b sleep 0.1; done
$b mount -t erofs -o ro "$base" /base
$b mount -t erofs -o ro "$tools" /base/mnt
$b mount -o bind /base/mnt/modules /base/usr/lib/modules
for folder in proc sys dev; do $b mount -o move /$folder /base/$folder; done
$b mount -t tmpfs run /base/run
$b mount -t tmpfs tmp /base/tmp
exec $b chroot /base /bin/sh /mnt/guest.sh guest
