# shellcheck shell=sh
# What happens to an eMMC in its guest (guest.sh). `nobody` may read disks there, and is not root.
until [ -b /dev/mmcblk0boot1 ]; do sleep 0.2; done
udevadm settle
found listed imagekit flash list --json
chmod a+r /dev/mmcblk0*
found denied setpriv --reuid=nobody --regid=nogroup --clear-groups python3 -m imagekit.cli flash list --json
found write imagekit flash write /mnt/boot.img /dev/mmcblk0boot0 --foreign --port mmc0 --json
found protected cat /sys/block/mmcblk0boot0/force_ro
found switch imagekit flash write /mnt/boot.img /dev/mmcblk0boot1 --foreign --port mmc0 --boot-from-it --json
found switched imagekit flash list --json
