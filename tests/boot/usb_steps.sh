# shellcheck shell=sh
# What happens to a USB disk in its guest (guest.sh): the test plugs it in, and pulls it out.
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
