# Shared by tests/cli: where the programs are, and a directory of the test's own.
bats_require_minimum_version 1.5.0
GANTRY_TOP=${GANTRY_TOP:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
BIN=${GANTRY_BIN:-$GANTRY_TOP/build/release/bin}
gantry() { "$BIN/gantry" "$@"; }

make_directory() {
  DIR=$(mktemp -d /tmp/gantry-cli-XXXXXX)
  unset GANTRY_SOCKET GANTRY_RUNTIME_DIR
}

# record ANSWERS-JSON: starts the recorded executor and points gantry at it.
record() {
  printf '%s' "$1" >"$DIR/answers.json"
  : >"$DIR/log"
  python3 "$BATS_TEST_DIRNAME/recorded_executor.py" "$DIR/socket" "$DIR/log" "$DIR/answers.json" \
    >"$DIR/ready" 2>"$DIR/server-errors" 3>&- &
  SERVER=$!
  export GANTRY_SOCKET=$DIR/socket
  for _ in $(seq 200); do
    [ -s "$DIR/ready" ] && return 0
    sleep 0.02
  done
  cat "$DIR/server-errors" >&2
  return 1
}

stop_recorded() {
  [ -z "${SERVER:-}" ] || { kill "$SERVER" 2>/dev/null; wait "$SERVER" 2>/dev/null; } || true
}

# The requests that came, one JSON a line; `requests TYPE` only those of one type.
requests() { jq -c "select(.type == \"${1:-}\" or \"${1:-}\" == \"\")" "$DIR/log"; }

# ---- A real executor of the test file's own -----------------------------------------------------

# Nothing is started here: the first command does it, on demand. All state is below $DIR and one cgroup.
begin_private_host() {
  [ "$(id -u)" = 0 ] || { echo "needs root" >&2; return 1; }
  make_directory
  export DIR
  export GANTRY_RUNTIME_DIR=$DIR/run GANTRY_DATA_DIR=$DIR/data GANTRY_CGROUP_ROOT=/gantry-cli-test-$$-$RANDOM
  ROOT=$DIR/root
  export ROOT
  mkdir -p "$ROOT"/{bin,etc,proc,sys,dev,tmp,root,srv}
  cp "$(command -v busybox)" "$ROOT/bin/busybox"
  for applet in sh true false echo cat sleep ls id yes head wc env hostname kill pwd touch mount grep test printf nproc dd; do
    ln -s busybox "$ROOT/bin/$applet"
  done
  printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/srv:/bin/sh\n' >"$ROOT/etc/passwd"
  printf 'root:x:0:\nuser:x:1000:\n' >"$ROOT/etc/group"
}

# Ends everything and requires that nothing is left: containers, executor, cgroups, mounts.
end_private_host() {
  local ids
  ids=$(gantry ps -aq --no-trunc 2>/dev/null) || true
  # shellcheck disable=SC2086
  [ -z "$ids" ] || gantry rm -f $ids >/dev/null
  gantry executor stop >/dev/null 2>"$DIR/stop-errors" || grep -q 'no executor listens' "$DIR/stop-errors"
  "$GANTRY_TOP/tools/leakcheck" --runtime-dir "$GANTRY_RUNTIME_DIR" --data-dir "$GANTRY_DATA_DIR" \
    --cgroup-root "$GANTRY_CGROUP_ROOT"
  [ ! -e "$GANTRY_RUNTIME_DIR.lock" ]
  rm -rf "$DIR"
}

# finish PID: waits for a child and sets $status. Not `run wait`: that is a subshell, which has no children.
finish() {
  status=0
  # shellcheck disable=SC2034  # what bats tests look at
  wait "$1" || status=$?
}
# wait_until COMMAND…: at most ten seconds.
wait_until() {
  for _ in $(seq 200); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.05
  done
  echo "never came true: $*" >&2
  return 1
}
none_left() { [ -z "$(gantry ps -aq)" ]; }
executor_pid() { head -n 1 "$GANTRY_RUNTIME_DIR/lock"; }
