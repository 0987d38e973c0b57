# Shared by the scripts of tools/: sourced, never run. Needs bash.
# shellcheck shell=bash disable=SC2034

GANTRY_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What several checkouts on one machine can share: CRIU, peers of benchmarks.
GANTRY_TOOLS_CACHE=${GANTRY_TOOLS_CACHE:-/var/cache/gantry-tools}

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# step TEXT COMMAND…: what takes longer than a second says so, and says how long it took. Its output goes to a log
# that is shown only when it fails; on a terminal ninja's count of it ("[12/243]") is shown meanwhile.
step() {
  local text=$1 log start job
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/gantry-step.XXXXXX")
  start=$(date +%s)
  printf '%s … ' "$text" >&2
  # In the background, because `set -e` is ignored in all that an `if` runs itself.
  ("$@") >"$log" 2>&1 </dev/null &
  job=$!
  while [ -t 2 ] && kill -0 "$job" 2>/dev/null; do
    printf '\r%s … %s ' "$text" "$(tail -n 1 "$log" | grep -o '^\[[0-9]*/[0-9]*\]')" >&2
    sleep 0.2
  done
  if wait "$job"; then
    say "done ($(($(date +%s) - start)) s)"
    rm -f "$log"
  else
    local code=$?
    say "failed"
    tail -n 60 "$log" >&2
    rm -f "$log"
    return "$code"
  fi
}

need_root() { [ "$(id -u)" = 0 ] || die "needs root: try sudo $0"; }
