#!/usr/bin/env bats
# Starting an executor where none listens.
load helpers

setup() { begin_private_host; }
teardown() { end_private_host; }

nothing_of_us() { ! pgrep -f "gantry-(executor|launcher).*$GANTRY_RUNTIME_DIR"; }

@test "many at once start one executor and do not disturb each other" {
  for i in $(seq 12); do
    "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c "echo $i; exit $i" >"$DIR/out.$i" 2>"$DIR/err.$i" 3>&- &
    pids[i]=$!
  done
  for i in $(seq 12); do
    finish "${pids[i]}"
    [ "$status" = "$i" ] || { cat "$DIR/err.$i" >&2; false; }
    [ "$(cat "$DIR/out.$i")" = "$i" ]
  done
  # Who lost the race for the lock leaves at once; the last may still be about it.
  for _ in $(seq 50); do
    [ "$(pgrep -fc -- "gantry-executor.*$GANTRY_RUNTIME_DIR")" = 1 ] && return 0
    sleep 0.1
  done
  false
}

@test "one dying in between: the next command starts another, and finds the containers" {
  gantry run -d --name web --rootfs "$ROOT" /bin/sh -c 'sleep 1; exit 8'
  first=$(executor_pid)
  kill -9 "$first"
  [ "$(gantry wait web)" = 8 ]
  [ "$(executor_pid)" != "$first" ]
}

@test "one that cannot start says why" {
  GANTRY_CGROUP_ROOT=relative run -1 --separate-stderr gantry ps
  [[ "$stderr" == "gantry: the executor did not start: "*cgroup-root* ]]
}

@test "outside pid 1's namespaces it is refused, naming the namespace; --here overrides" {
  run -125 --separate-stderr unshare --net "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/true
  [[ "$stderr" == *"pid 1's net namespace"*"--here"* ]]
  [ ! -e "$GANTRY_RUNTIME_DIR/gantry.sock" ]
  [ "$(unshare --net "$BIN/gantry" --here run --rm --rootfs "$ROOT" /bin/echo yes)" = yes ]
}

@test "what the starting shell had open is not the executor's" {
  exec 9>"$DIR/held"
  gantry ps
  exec 9>&-
  run ! ls -l "/proc/$(executor_pid)/fd" --time-style=+ 2>/dev/null \| grep -q "$DIR/held"
  [ "$(readlink "/proc/$(executor_pid)/cwd")" = / ]
}

@test "SIGTERM: with nothing running it takes all along, else containers go on" {
  gantry ps
  pid=$(executor_pid)
  kill "$pid"
  wait_until [ ! -e "/proc/$pid" ]
  wait_until nothing_of_us
  gantry run -d --name web --rootfs "$ROOT" /bin/sleep 100
  pid=$(executor_pid)
  kill "$pid"
  wait_until [ ! -e "/proc/$pid" ]
  gantry ps | grep -q running
}

@test "an executor in the foreground by gantry executor; stop ends it" {
  "$BIN/gantry" executor >"$DIR/executor-out" 2>&1 3>&- &
  pid=$!
  wait_until test -S "$GANTRY_RUNTIME_DIR/gantry.sock"
  [ "$(executor_pid)" = "$pid" ]
  [ "$(gantry executor stop)" = stopped ]
  finish $pid
  [ "$status" = 0 ]
}
