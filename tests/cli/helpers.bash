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
