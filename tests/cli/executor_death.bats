#!/usr/bin/env bats
# Executors that die under `gantry run`: nothing is lost, nothing comes twice, nothing runs twice.
load helpers

setup() { begin_private_host; }
teardown() { end_private_host; }
kill_executor() {
  local pid
  pid=$(executor_pid 2>/dev/null) || true
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
}
stop_all() {
  gantry executor stop || true
  ! pgrep -f "gantry-executor.*$GANTRY_RUNTIME_DIR"
}
# An executor in the foreground's stead that dies at a failpoint.
start_doomed() {
  "$BIN/gantry-executor" --failpoints "$1=kill" >"$DIR/doomed" 2>&1 3>&- &
  wait_until test -S "$GANTRY_RUNTIME_DIR/gantry.sock"
}

@test "killed again and again: each byte of both streams comes once, in order" {
  "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c 'i=0; while [ $i -lt 3000 ]; do echo $i; echo e$i >&2; i=$((i+1)); [ $((i%50)) != 0 ] || sleep 0.05; done; exit 6' >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until grep -q 5 "$DIR/out"
  for _ in 1 2 3 4 5 6; do
    kill_executor
    sleep 0.3
  done
  finish $pid
  [ "$status" = 6 ]
  cmp "$DIR/out" <(seq 0 2999)
  cmp "$DIR/err" <(seq -f 'e%g' 0 2999)
  wait_until none_left
}

@test "killed as often as not before it listens" {
  "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c 'i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); [ $((i%10)) != 0 ] || sleep 0.1; done; exit 6' >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until grep -q 5 "$DIR/out"
  for _ in $(seq 60); do
    kill_executor
    sleep 0.03
  done
  finish $pid
  [ "$status" = 6 ] || { tail -3 "$DIR/err" >&2; false; }
  cmp "$DIR/out" <(seq 0 299)
}

@test "a start whose answer was lost is sent again, and the command runs once" {
  mkdir "$DIR/count"
  for words in "start" "start -a" "restart"; do
    "$BIN/gantry" create --name once -v "$DIR/count:/tmp" --rootfs "$ROOT" /bin/sh -c 'echo x >>/tmp/n; echo once'
    [ "$words" != restart ] || { "$BIN/gantry" start -a once; rm "$DIR/count/n"; }
    stop_all
    start_doomed launch.after_exec
    # shellcheck disable=SC2086  # a command and its flag
    run "$BIN/gantry" $words once
    [ "$status" = 0 ]
    [ "$("$BIN/gantry" wait once)" = 0 ]
    [ "$(cat "$DIR/count/n")" = x ] || { echo "$words: it ran more than once" >&2; false; }
    [ "$words" != "start -a" ] || [ "$output" = once ]
    "$BIN/gantry" rm once
    rm "$DIR/count/n"
  done
}

@test "a commit whose answer was lost is sent again, and one image is made" {
  tar -C "$ROOT" -c . | "$BIN/gantry" import - base
  base=$("$BIN/gantry" images --json | jq -r '.[].digest')
  "$BIN/gantry" run --name work base /bin/touch /tmp/new
  for name in "" made; do
    stop_all
    start_doomed image.after_commit
    # The image says when it was made, in seconds.
    # shellcheck disable=SC2086  # a name or none
    digest=$(GANTRY_FAILPOINTS='recover.after_records=sleep(1100)' "$BIN/gantry" commit work $name)
    [ "$("$BIN/gantry" images --json | jq -r '.[].digest' | grep -v "$base")" = "$digest" ]
    "$BIN/gantry" rmi "$digest"
  done
  "$BIN/gantry" rm work
}

@test "what ends while no executor runs is reported, with --rm too" {
  # The next executor takes a second to look around, and by then it is over.
  GANTRY_FAILPOINTS='recover.after_records=sleep(1000)' "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c 'echo up; sleep 0.5; echo down; exit 9' >"$DIR/out" 3>&- &
  pid=$!
  wait_until grep -q up "$DIR/out"
  kill_executor
  finish $pid
  [ "$status" = 9 ]
  [ "$(cat "$DIR/out")" = $'up\ndown' ]
  wait_until none_left
}

@test "killed in the middle of a launch: the command runs once" {
  mkdir "$DIR/shared"
  for point in launch.after_record launch.after_sandbox launch.after_clone launch.after_pid_recorded launch.before_signal launch.after_signal launch.after_exec; do
    : >"$DIR/shared/runs"
    start_doomed "$point"
    run -6 --separate-stderr gantry run --rm --name job -v "$DIR/shared:/srv" --rootfs "$ROOT" /bin/sh -c 'echo ran >>/srv/runs; echo done; exit 6'
    [ "$output" = done ] || { echo "$point: $output, $stderr" >&2; false; }
    [ "$(cat "$DIR/shared/runs")" = ran ] || { echo "$point" >&2; false; }
    gantry executor stop
  done
}

@test "-d: killed in the middle of a launch, the command runs once" {
  mkdir "$DIR/shared"
  for point in launch.after_clone launch.after_signal launch.after_exec; do
    : >"$DIR/shared/runs"
    start_doomed "$point"
    gantry run -d --name job -v "$DIR/shared:/srv" --rootfs "$ROOT" /bin/sh -c 'echo ran >>/srv/runs; exit 6'
    [ "$(gantry wait job)" = 6 ]
    [ "$(cat "$DIR/shared/runs")" = ran ] || { echo "$point" >&2; false; }
    gantry rm job
    gantry executor stop
  done
}

@test "logs -f goes on at the byte where it was" {
  gantry run -d --name talker --rootfs "$ROOT" /bin/sh -c 'i=0; while [ $i -lt 300 ]; do echo $i; echo e$i >&2; i=$((i+1)); [ $((i%10)) != 0 ] || sleep 0.05; done'
  "$BIN/gantry" logs -f -n 3 talker >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until test -s "$DIR/out"
  for _ in 1 2 3; do
    kill_executor
    sleep 0.3
  done
  finish $pid
  [ "$status" = 0 ] || { tail -3 "$DIR/err" >&2; false; }
  cmp "$DIR/out" <(seq "$(head -1 "$DIR/out")" 299)
  cmp "$DIR/err" <(seq -f 'e%g' "$(head -1 "$DIR/err" | tr -d e)" 299)
  gantry rm talker
}

@test "stdin goes on at the byte where it was" {
  head -c 3000000 /dev/urandom >"$DIR/in"
  { for i in 0 1 2 3 4 5; do tail -c +$((i * 500000 + 1)) "$DIR/in" | head -c 500000; sleep 0.3; done; } |
    "$BIN/gantry" run -i --rm --rootfs "$ROOT" /bin/cat >"$DIR/out" 3>&- &
  pid=$!
  wait_until test -s "$DIR/out"
  for _ in 1 2 3 4; do
    kill_executor
    sleep 0.4
  done
  finish $pid
  [ "$status" = 0 ]
  cmp "$DIR/in" "$DIR/out"
}

one_executor() { [ "$(pgrep -fc -- "gantry-executor.*$GANTRY_RUNTIME_DIR")" = 1 ]; }

@test "followers of one dead executor start one new executor" {
  for i in 1 2 3 4 5 6; do
    "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c "for j in 1 2 3 4 5 6 7 8 9; do echo $i.\$j; sleep 0.1; done; exit $i" >"$DIR/out.$i" 3>&- &
    pids[i]=$!
  done
  wait_until test -s "$DIR/out.6"
  kill_executor
  for i in 1 2 3 4 5 6; do
    finish "${pids[i]}"
    [ "$status" = "$i" ]
    [ "$(tr '\n' ' ' <"$DIR/out.$i")" = "$(printf "$i.%s " 1 2 3 4 5 6 7 8 9)" ]
  done
  wait_until one_executor  # a child it has just forked is called as it is, until it execs
}

@test "a client killed while it starts an executor does not disturb the next" {
  for delay in 0.001 0.003 0.01 0.03; do
    "$BIN/gantry" ps >/dev/null 2>&1 3>&- &
    pid=$!
    sleep $delay
    kill -9 $pid 2>/dev/null || true
    [ "$(gantry run --rm --rootfs "$ROOT" /bin/echo fine)" = fine ]
    # What the killed one started may come up after the stop, to leave by itself a minute later.
    wait_until stop_all
  done
}

@test "an upgrade: who waits, follows, types or runs a command notices nothing" {
  gantry run -d --name b --rootfs "$ROOT" /bin/sleep 100
  for _ in 1 2; do
    gantry run -d --name w --rootfs "$ROOT" /bin/sh -c 'sleep 1.5; exit 4'
    "$BIN/gantry" wait w >"$DIR/waited" 3>&- &
    waiting=$!
    (sleep 3; echo typed) | "$BIN/gantry" run -i --rm --rootfs "$ROOT" /bin/cat >"$DIR/typed" 3>&- &
    typing=$!
    "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c 'sleep 1.5; echo x; exit 7' >"$DIR/ran" 3>&- &
    running=$!
    "$BIN/gantry" exec b /bin/sh -c 'sleep 1.5; echo y; exit 8' >"$DIR/exec" 3>&- &
    commanding=$!
    sleep 0.5
    gantry executor upgrade
    finish $waiting
    [ "$status$(cat "$DIR/waited")" = 04 ]
    finish $running
    [ "$status$(cat "$DIR/ran")" = 7x ]
    finish $commanding
    [ "$status$(cat "$DIR/exec")" = 8y ]
    finish $typing
    [ "$status$(cat "$DIR/typed")" = 0typed ]
    gantry rm w
  done
  run -1 --separate-stderr gantry executor upgrade /bin/true
  [[ "$stderr" == *"/bin/true is no gantry-executor"* ]]
  gantry rm -f b
}
