#!/bin/sh
# run.sh COMMAND…: the command on a host with v1 hierarchies alone: cgroup2 is unmounted in a mount namespace of its own.
if [ "$1" != inside ]; then exec unshare --mount --propagation private "$0" inside "$@"; fi
shift
umount -a -t cgroup2
if ! grep -q ' cgroup ' /proc/self/mounts; then
  echo "needs cgroup v1 hierarchies: this host has none"
  if [ "$GANTRY_NO_SKIP" = 1 ]; then exit 1; fi
  exit 77
fi
export GANTRY_TEST_FLAGS=--here  # this is not pid 1's mount namespace
exec "$@"
