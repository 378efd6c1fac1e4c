#!/bin/sh
# The floor of the speed table: the image by hand, with the programs one would use, and nothing else.
# Reads shell variables from the plan file $1 (written by measure.py), writes the image $2, uses the scratch folder $3.
set -eu
. "$1"
image=$2
scratch=$3

# 1. the packages are what was signed
while read -r want file; do
    have=$(openssl dgst -sha3-384 -binary "$file" | base64 -w0 | tr '+/' '-_')
    [ "$have" = "$want" ] || { echo "digest of $file" >&2; exit 1; }
done < "$DIGESTS"

# 2. the partition table
truncate -s "$DISK_SIZE" "$image"
sfdisk --quiet --no-tell-kernel "$image" < "$SFDISK_SCRIPT"

# 3. the two FAT volumes and what is in them
mkfs.vfat -F 32 -s 4 -S 512 --offset "$((ESP_START / 512))" "$image" "$((ESP_SIZE / 1024))" > /dev/null
mmd -i "$image@@$ESP_START" $ESP_FOLDERS
while read -r from to; do mcopy -i "$image@@$ESP_START" "$from" "::$to"; done < "$ESP_FILES"
mkfs.vfat -F 32 -S 512 --offset "$((SEED_START / 512))" "$image" "$((SEED_SIZE / 1024))" > /dev/null
mmd -i "$image@@$SEED_START" $SEED_FOLDERS
while read -r from to; do mcopy -i "$image@@$SEED_START" "$from" "::$to"; done < "$SEED_FILES"

# 4. each slot package and its hash tree
while read -r file start salt uuid; do
    size=$(stat -c %s "$file")
    dd if="$file" of="$image" bs=1M seek="$start" oflag=seek_bytes conv=notrunc status=none
    veritysetup format --salt="$salt" --uuid="$uuid" "$file" "$scratch/tree" > /dev/null
    dd if="$scratch/tree" of="$image" bs=1M seek="$((start + size))" oflag=seek_bytes conv=notrunc status=none
done < "$SLOT_PACKAGES"

# 5. the data partition
mke2fs -q -F -t ext4 -E "offset=$DATA_START" "$image" "$((DATA_SIZE / 1024))k"
