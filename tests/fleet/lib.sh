# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash disable=SC2034  # used by those that source it
# Names and paths of this checkout's fleet. Sourced by the scripts beside it.

checkout="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)"
# KEYOPS_FLEET=name is a fleet of its own beside the others; all share the Debian tree.
name="${KEYOPS_FLEET:-}"
fleet="$checkout/.build/fleet${name:+-$name}"
tree="$checkout/.build/fleet/tree"
hosts="$fleet/hosts"

# Two fleets never share a bridge, a namespace or a subnet: all three follow from the fleet's path.
digest="$(printf '%s' "$fleet" | sha256sum)"
id="${digest:0:6}"
bridge="kf-$id"

say() { printf 'fleet: %s\n' "$*"; }
die() { printf 'fleet: %s\n' "$*" >&2; exit 1; }

need_root() {
    [ "$(id -u)" -eq 0 ] || die "network namespaces and overlay mounts need root: run $0 as root"
}

one_at_a_time() {
    mkdir -p "$fleet"
    exec 9>"$fleet/lock"
    flock -w 600 9 || die "another tests/fleet command has held $fleet/lock for ten minutes"
}

namespace_of() { printf '%s-%s' "$bridge" "$1"; }
number_of() { printf '%s' "${1#host}"; }
link_of() { printf 'k%s-%s' "$id" "$(number_of "$1")"; }
address_of() { printf '%s.%s' "$(cat "$fleet/network")" "$((10 + $(number_of "$1")))"; }

made_hosts() { if [ -d "$hosts" ]; then find "$hosts" -mindepth 1 -maxdepth 1 -name 'host*' -printf '%f\n' | sort -V; fi; }

# A process is ours only if its number and its start time are both the recorded ones. One that has ended and that nobody
# has waited for yet (state Z) has no start time here.
start_time() {
    local stat
    stat="$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null)" || return 0
    [ "${stat:0:1}" = Z ] || cut -d' ' -f20 <<<"$stat"
}

pid_of() {
    local pid started
    [ -f "$hosts/$1/pid" ] || return 1
    read -r pid started <"$hosts/$1/pid"
    [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && printf '%s' "$pid"
}

start_host() {
    local host="$1" namespace pid
    namespace="$(namespace_of "$host")"
    mkdir -p "$hosts/$host"/{layer,merged,ssh}
    make_host_key "$host"
    # A killed run may have left half a network.
    unplug "$host"
    plug_in "$host"
    ip netns exec "$namespace" \
        unshare --mount --uts --ipc --pid --fork --kill-child \
        "$checkout/tests/fleet/init" "$host" 9>&- </dev/null >"$hosts/$host/log" 2>&1 &
    pid=$!
    printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$hosts/$host/pid"
    wait_for_ssh "$host"
}

make_host_key() {
    local key="$hosts/$1/ssh/ssh_host_ed25519_key"
    [ -f "$key" ] || ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$key"
}

plug_in() {
    local namespace inside outside
    namespace="$(namespace_of "$1")"
    outside="$(link_of "$1")"
    inside="$outside-p"
    ip netns add "$namespace"
    ip link add "$outside" type veth peer name "$inside"
    ip link set "$outside" master "$bridge" up
    ip link set "$inside" netns "$namespace"
    ip -n "$namespace" link set "$inside" name eth0
    ip -n "$namespace" link set lo up
    ip -n "$namespace" link set eth0 up
    ip -n "$namespace" address add "$(address_of "$1")/24" dev eth0
}

wait_for_ssh() {
    local address
    address="$(address_of "$1")"
    for _ in $(seq 100); do
        if (exec 3<>"/dev/tcp/$address/22") 2>/dev/null; then return 0; fi
        pid_of "$1" >/dev/null || break
        sleep 0.1
    done
    cat "$hosts/$1/log" >&2
    die "$1 does not answer on $address:22; its log is above"
}

# Ends the host's first process; its PID namespace takes all others with it, its mount namespace the mounts.
stop_host() {
    local pid inside
    if pid="$(pid_of "$1")"; then
        inside="$(cut -d' ' -f1 "/proc/$pid/task/$pid/children")"
        kill -KILL "$pid"
        # The overlay is free only when the host's own first process is gone.
        while [ -n "$(start_time "$inside")" ]; do sleep 0.05; done
    fi
    rm -f "$hosts/$1/pid"
}

unplug() {
    local namespace link
    namespace="$(namespace_of "$1")"
    link="$(link_of "$1")"
    if [ -e "/sys/class/net/$link" ]; then ip link delete "$link"; fi
    if [ -e "/run/netns/$namespace" ]; then ip netns delete "$namespace"; fi
}
