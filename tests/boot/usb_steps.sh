# shellcheck shell=sh
# What happens to a USB disk and to boards in their guest (guest.sh): the test plugs them in, and pulls them out.
until [ -b /dev/sda ]; do sleep 0.2; done
udevadm settle
found plugged imagekit flash list --json
# as of a board that shows its disk (ums); nobody can be asked, so the plan's word confirms it
word=$(imagekit flash plan /mnt/disk.img /dev/sda --foreign --json | sed -n 's/.*"token": "\(.*\)".*/\1/p')
found write imagekit board flash /mnt/disk.img --foreign --ums usb:CARD-1 --confirm "$word" --json
until [ -b /dev/sda1 ]; do sleep 0.2; done # udev has noticed that it was written, on its own time
udevadm settle
found written imagekit flash list --json
found pulled imagekit flash write /mnt/disk.img --foreign --serial CARD-1 --json
found gone imagekit flash list --json

board() { # command: for whoever may use boards, and nothing else
	HOME=/tmp XDG_STATE_HOME=/tmp/state setpriv --reuid=nobody --regid=plugdev --clear-groups python3 -m imagekit.cli \
		board "$@"
}

flash() { board flash /mnt/disk.img --foreign --partition all --fastboot usb --json "$@"; }

until grep -qs BOARD-1 /sys/bus/usb/devices/*/serial; do sleep 0.2; done
udevadm settle
ldconfig -C /run/ld.so.cache /mnt/usr/lib/*-linux-gnu
mount -o bind /run/ld.so.cache /etc/ld.so.cache
found denied flash --dry-run
mkdir -p /run/udev/rules.d
cp /mnt/70-imagekit.rules /run/udev/rules.d/
udevadm control --reload
udevadm trigger --action=add --subsystem-match=usb
udevadm settle
word=$(flash --dry-run | sed -n 's/.*"token": *"\([^"]*\)".*/\1/p')
found flashed flash --confirm "$word" --reboot
until grep -qs BOARD-2 /sys/bus/usb/devices/*/serial; do sleep 0.2; done
udevadm settle
word=$(flash --dry-run | sed -n 's/.*"token": *"\([^"]*\)".*/\1/p')
found torn flash --confirm "$word"
found absent flash --dry-run --wait 0
until grep -qs ROM /sys/bus/usb/devices/*/serial; do sleep 0.2; done
udevadm settle
port=$(grep -ls ROM /sys/bus/usb/devices/*/serial)
port=${port%/serial}
found recovered board recover /mnt/disk.img --foreign --board sabrelite --partition all --loader /mnt/loader.imx \
	--port "${port##*/}" --wait 120 --json
