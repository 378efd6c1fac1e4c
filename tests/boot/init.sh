#!/bin/busybox sh
# The whole user space of the pretended device: it speaks the health protocol and does on request what real ones do
# wrong. What it shall do is the kernel's command line, `play=A,B,...`: one word for each boot, by the CMOS counter.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /tmp
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
echo "imagekit: phase initrd"
for word in $($b cat /proc/cmdline); do
	case $word in
	play=*) play=${word#play=} ;;
	imagekit.slot=*) slot=${word#*=} ;;
	imagekit.base=*) base=${word#*=} ;;
	imagekit.kernel=*) kernel=${word#*=} ;;
	esac
done
echo "imagekit: phase verity"
echo "imagekit: phase switch"

port=
for p in /sys/class/virtio-ports/*; do
	[ "$($b cat $p/name)" = org.imagekit.health ] && port=/dev/${p##*/}
done
exec 3<>$port

hello() { echo '{"imagekit":1,"type":"hello","boot_id":"'"$($b cat /proc/sys/kernel/random/boot_id)"'"}' >&3; }
challenge() {
	hello
	read -r -t 20 line <&3
	nonce=${line#*\"nonce\":}
	nonce=${nonce#*\"}
	nonce=${nonce%%\"*}
}
verdict() { # healthy nonce
	echo '{"imagekit":1,"type":"verdict","nonce":"'"$2"'","healthy":'"$1"',"slot":"'"$slot"'","base_root":"'"$base"'","kernel_root":"'"$kernel"'","confirmed":true,"reasons":[],"checks":[],"phases":{},"degraded":false}' >&3
}

case $play in
healthy) challenge; verdict true "$nonce" ;;
sick) challenge; verdict false "$nonce" ;;
twice) challenge; verdict false "$nonce"; verdict true "$nonce" ;;
stale) challenge; verdict true 0000000000000000000000000000000000000000000000000000000000000000 ;;
garbage) challenge; echo '{"imagekit":1,"type":' >&3 ;;
long) challenge; $b dd if=/dev/zero bs=65536 count=4 2>/dev/null | $b tr '\0' x >&3; verdict true "$nonce" ;;
mute) challenge ;;
panic) echo c >/proc/sysrq-trigger ;;
reboot) hello; $b reboot -f ;;
escape) printf '\033]0;owned\007\033[2Jplain\r\n'; challenge; verdict true "$nonce" ;;
off) $b poweroff -f ;;
write)
	write() { $b dd if=/dev/urandom of=/dev/vda bs=4096 seek=128 count=1 conv=notrunc "$@" 2>/dev/null; }
	while read -r module options; do [ -b /dev/vda ] || $b insmod "$module" $options; done </modules.load 2>/dev/null
	until [ -b /dev/vda ]; do $b sleep 0.1; done
	write conv=fsync
	echo "pretend: flushed"
	for i in 1 2 3 4 5 6 7 8 9 10; do write; done
	echo "pretend: written"
	while :; do write; done
	;;
esac
while :; do $b sleep 60; done
