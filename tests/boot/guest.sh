#!/bin/busybox sh
# Both halves of a machine that flashes a USB disk: as /init it mounts base and tools with busybox, as `guest` inside of
# the base it runs udev and imagekit, and says on the console what it found. The test plugs in, and pulls out.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin PYTHONPATH=/mnt/python HOME=/run XDG_STATE_HOME=/run/state TERM=dumb
b=/bin/busybox

found() { # name, then a command: what that writes to stdout, between marks, and how it ended
	name=$1
	shift
	echo "guest: begin $name"
	"$@" 2>/run/said
	echo "guest: end $name $?"
	sed 's/^/guest: said: /' /run/said
}

imagekit() { python3 -m imagekit.cli "$@"; }

if [ "$1" = guest ]; then
	/usr/lib/systemd/systemd-udevd --daemon
	udevadm trigger --action=add
	udevadm settle
	echo "guest: ready"
	until [ -b /dev/sda ]; do sleep 0.2; done
	udevadm settle
	found plugged imagekit flash list --json
	found write imagekit flash write /mnt/disk.img --foreign --serial CARD-1 --json
	until [ -b /dev/sda1 ]; do sleep 0.2; done # udev has noticed that it was written, on its own time
	udevadm settle
	found written imagekit flash list --json
	found pulled imagekit flash write /mnt/disk.img --foreign --serial CARD-1 --json
	found gone imagekit flash list --json
	echo "guest: over"
	sleep 600
fi

$b mkdir -p /proc /sys /dev /base
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
while read -r module; do $b insmod "/guest/$module" || echo "guest: no $module"; done </guest/order
until [ -b /dev/vdb ]; do $b sleep 0.1; done
$b mount -t erofs -o ro /dev/vda /base
$b mount -t erofs -o ro /dev/vdb /base/mnt
$b mount -o bind /base/mnt/modules /base/usr/lib/modules
for folder in proc sys dev; do $b mount -o move /$folder /base/$folder; done
$b mount -t tmpfs run /base/run
$b mount -t tmpfs tmp /base/tmp
exec $b chroot /base /bin/sh /mnt/guest.sh guest
