#!/bin/sh
# Ends and removes what Gantry has on a host, with nothing but the essential packages and, where they are installed, ip and nft.
# Sourced by tools/uninstall, and part of the Debian package's postrm.

# How a command is run; `echo` only tells.
RUN=

# gantry_setting NAME DEFAULT: from the environment or /etc/gantry/config.json, as the executor reads it.
gantry_setting() {
  variable=GANTRY_$(echo "$1" | tr '[:lower:]' '[:upper:]')
  eval "value=\${$variable:-}"
  if [ -z "$value" ] && [ -r /etc/gantry/config.json ]; then
    value=$(sed -n -e '/^[[:space:]]*\/\//d' -e "s|.*\"$1\"[[:space:]]*:[[:space:]]*\"\([^\"]*\)\".*|\1|p" \
      /etc/gantry/config.json | tail -n 1)
  fi
  echo "${value:-$2}"
}

# The executor of a runtime directory, if the process that its lock names is one.
executor_of() {
  pid=$(head -n 1 "$1/lock" 2>/dev/null) || return 0
  case $pid in '' | *[!0-9]*) return 0 ;; esac
  case $(readlink "/proc/$pid/exe") in */gantry-executor*) echo "$pid" ;; esac
}

# wait_for SECONDS COMMAND…: until the command fails; 1 when it still succeeds.
wait_for() {
  left=$(($1 * 10))
  shift
  while "$@" >/dev/null 2>&1; do
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    sleep 0.1
  done
}

end_executor() {
  pid=$(executor_of "$1")
  [ -n "$pid" ] || return 0
  $RUN kill "$pid"
  [ "$RUN" = echo ] || wait_for 30 kill -0 "$pid" || kill -9 "$pid"
}

# Where a cgroup is in every hierarchy that is mounted.
cgroups_of() {
  awk -v root="$1" '$3 == "cgroup" || $3 == "cgroup2" {print $2 root}' /proc/self/mounts | sort -u | while read -r path; do
    if [ -d "$path" ]; then echo "$path"; fi
  done
}

# The processes of a cgroup and all below it.
processes_in() {
  cgroups_of "$1" | while read -r path; do
    find "$path" -name cgroup.procs -exec cat {} + 2>/dev/null
  done | sort -un
}
has_processes() { [ -n "$(processes_in "$1")" ]; }

# A frozen process of cgroup v1 does not even die.
thaw() {
  cgroups_of "$1" | while read -r path; do
    find "$path" \( -name freezer.state -exec sh -c 'echo THAWED >"$1"' - {} \; \) -o \
      \( -name cgroup.freeze -exec sh -c 'echo 0 >"$1"' - {} \; \) 2>/dev/null
  done
}

kill_all_in() {
  # shellcheck disable=SC2046  # a word for each process
  kill -9 $(processes_in "$1") 2>/dev/null
  thaw "$1"
  has_processes "$1"
}

end_containers() {
  processes=$(processes_in "$1")
  [ -n "$processes" ] || return 0
  # shellcheck disable=SC2086  # a word for each process
  if [ "$RUN" = echo ]; then echo kill -9 $processes; return 0; fi
  # Again and again: what forks meanwhile is in the next list.
  wait_for 30 kill_all_in "$1" || echo "processes of $1 do not end: $(processes_in "$1" | tr '\n' ' ')" >&2
}

rmdir_below() {
  find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
  [ -d "$1" ]
}

remove_cgroups() {
  cgroups_of "$1" | while read -r path; do
    if [ "$RUN" = echo ]; then echo rmdir "$path"; continue; fi
    # Busy until the last of the killed has been reaped.
    wait_for 5 rmdir_below "$path" || echo "the cgroup $path stays: it has processes" >&2
  done
  # What was made on the way to it, if nobody else uses it.
  parent=$(dirname "$1")
  while [ "$parent" != / ]; do
    cgroups_of "$parent" | while read -r path; do
      if [ "$RUN" != echo ]; then rmdir "$path" 2>/dev/null; fi
    done
    parent=$(dirname "$parent")
  done
}

# Mounts of this namespace at or below a directory, the last first; those of containers go with them.
unmount_below() {
  awk -v top="$1" '$5 == top || index($5, top "/") == 1 {print $5}' /proc/self/mountinfo | tac | while read -r point; do
    $RUN umount -l "$(printf '%b' "$point")"
  done
}

# network_suffix RUNTIME: as network/README.md has it; empty for the usual one.
network_suffix() {
  [ "$1" = /run/gantry ] || printf -- '-%s' "$(printf %s "$1" | sha256sum | cut -c1-6)"
}

remove_network() {
  suffix=$(network_suffix "$1")
  for link in /sys/class/net/*; do
    name=${link##*/}
    case $name:$(cat "$link/ifalias" 2>/dev/null) in
      "gantry$suffix:"* | *":gantry:${suffix#-}:"*) ;;
      gantry0:*) [ -z "$suffix" ] || continue ;;
      *) continue ;;
    esac
    if command -v ip >/dev/null; then
      $RUN ip link delete "$name"
    else
      echo "the link $name stays until the next boot: there is no ip (package iproute2)" >&2
    fi
  done
  command -v nft >/dev/null || return 0
  nft list tables 2>/dev/null | while read -r _ family name; do
    if [ "$name" = "gantry$suffix" ]; then $RUN nft delete table "$family" "$name"; fi
  done
}

# What is the executor's in its data directory; anything else stays, and the directory with it.
remove_data() {
  for name in agent_id audit.log catalog checkpoints empty executor.log fetcher images layers lock registrations removed-package \
    roots sandboxes staging trash volumes work; do
    for path in "$1/$name" "$1/$name".[0-9]*; do
      if [ -e "$path" ]; then $RUN rm -rf --one-file-system "$path"; fi
    done
  done
  if [ -d "$1" ] && [ "$RUN" != echo ]; then
    rmdir "$1" 2>/dev/null || echo "$1 stays: there are files in it that are not Gantry's" >&2
  fi
}

# take_down RUNTIME DATA CGROUP
take_down() {
  end_executor "$1"
  end_containers "$3"
  remove_network "$1"
  remove_cgroups "$3"
  unmount_below "$1"
  unmount_below "$2"
  for path in "$1" "$1.lock"; do
    if [ -e "$path" ]; then $RUN rm -rf --one-file-system "$path"; fi
  done
  remove_data "$2"
}
