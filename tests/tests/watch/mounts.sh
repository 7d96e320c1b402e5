#!/bin/bash
# Runs a watch of DIRECTORY, mounts file systems in it and over it, in a mount namespace of its own, and copies programs there.
# Usage: mounts.sh TOOL DIRECTORY PROGRAM; the watch's lines go to standard output
set -eu
tool=$1 directory=$2 program=$3
lines=$directory/../lines
# PROGRAM starts here without wrapping.
"$tool" watch "$directory" --force --settle 50 --format json >"$lines" &
watch=$!
trap 'cat "$lines"; kill -KILL "$watch" 2>/dev/null || true' EXIT

# Waits until the watch has printed this.
said() {
    local n
    for ((n = 0; n < 600; n++)); do
        if grep -qF -e "$1" "$lines"; then
            return
        fi
        sleep 0.1
    done
    echo "never: $1" >&2
    return 1
}
arrives() {
    cp "$program" "$directory/$1"
    said "\"path\":\"$directory/$1\""
}

said '"event":"watching"'
mount -t tmpfs none "$directory/sub"
arrives sub/inside
mount -t tmpfs none "$directory/with space/\\"
cp "$program" "$directory/with space/\\/inside"
said "\"path\":\"$directory/with space/\\\\/inside\""
umount "$directory/sub"
arrives sub/covered

# A file system that sends no events for changes of its source.
if [[ -c /dev/fuse ]]; then
    bindfs --no-allow-other "$directory/../behind" "$directory/fuse"
    cp "$program" "$directory/../behind/program"
    said "\"path\":\"$directory/fuse/program\""
    umount "$directory/fuse"
fi
arrives fuse/covered

# The directory itself.
mount -t tmpfs none "$directory"
arrives over
umount "$directory"
arrives under
arrives sub/last
kill -TERM "$watch"
wait "$watch"
