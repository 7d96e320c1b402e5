#!/bin/bash
# Runs systemd's user manager, as at a login, and the service `wrap-buddy` under it; prints the results.
# It has a mount and a PID namespace of its own, so everything ends with it.
# Usage: service.sh DIRECTORY: a home, whose units are in .config/systemd/user
set -eu

if [[ ${2-} != inside ]]; then
    # This directory means that systemd has booted the machine.
    mount -t tmpfs none /run
    # The manager of the system makes these, which are mounted over files that a service is to have no access to.
    mkdir -p /run/systemd/system /run/systemd/inaccessible/dir
    touch /run/systemd/inaccessible/{reg,fifo,sock,chr,blk}
    chmod 0 /run/systemd/inaccessible/*
    group=/sys/fs/cgroup/wrap-buddy-test-${1##*/}
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir "$group"
    echo $$ > "$group/cgroup.procs"
    unshare --cgroup --mount --propagation private bash "$0" "$1" inside || echo "failed=$?"
    echo $$ > /sys/fs/cgroup/cgroup.procs
    find "$group" -depth -type d -exec rmdir '{}' +
    exit
fi

umount /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
export HOME=$1 XDG_RUNTIME_DIR=/run/user XDG_CONFIG_HOME=$1/.config
mkdir -m 700 "$XDG_RUNTIME_DIR"
systemd=$(command -v /usr/lib/systemd/systemd /lib/systemd/systemd | head -n 1)
"$systemd" --user --unit=basic.target --log-target=null &
manager=$!

# Waits for a command to succeed.
await() {
    local n
    for ((n = 0; n < 600; n++)); do
        if "$@"; then
            return
        fi
        sleep 0.1
    done
    echo "never: $*"
    return 1
}
is_up() { systemctl --user list-units >/dev/null 2>&1; }
of() { systemctl --user show --property "$1" --value wrap-buddy; }
# Prints properties of the service as PHASE.NAME=VALUE.
tell() {
    local name
    for name in "${@:2}"; do
        echo "$1.$name=$(of "$name")"
    done
}
was_restarted() { [[ $(of NRestarts) == 1 && $(of ActiveState) == active ]]; }

await is_up
echo "start=$(systemctl --user start wrap-buddy && echo yes)"
tell started ActiveState StatusText Type
[[ -e $HOME/.vscode-server/bin/.node.wrapbuddy ]] && echo "wrapped=when ready"
echo "reload=$(systemctl --user reload wrap-buddy && echo yes)"
tell reloaded ActiveState
# 0 would be this script's own process group, and the caller's.
pid=$(of MainPID)
[[ $pid != 0 ]]
kill -KILL "$pid"
await was_restarted
echo "stop=$(systemctl --user stop wrap-buddy && echo yes)"
tell stopped ActiveState Result ExecMainStatus
systemctl --user exit
wait "$manager" || true
