#!/usr/bin/env bats
# gantry exec: commands in a running container.
load helpers

setup_file() {
  begin_private_host
  gantry run -d --name web -e A=web --rootfs "$ROOT" /bin/sh -c 'while :; do sleep 1; done' >/dev/null
}
teardown_file() { end_private_host; }
# Nothing of what was executed is left.
only_web() { [ "$(gantry ps -aq | wc -l)" = 1 ] && [ "$(find "$GANTRY_RUNTIME_DIR/containers" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ]; }

@test "stdout and stderr come apart, the exit status is the command's" {
  run -7 --separate-stderr gantry exec web sh -c 'echo out; echo err >&2; exit 7'
  [ "$output" = out ]
  [ "$stderr" = err ]
  wait_until only_web
}

@test "it is in the container: processes, files, environment" {
  [ "$(gantry exec web cat /proc/1/cmdline | tr '\0' ' ')" = "/bin/sh -c while :; do sleep 1; done " ]
  [ "$(gantry exec web sh -c 'echo $A')" = web ]
  gantry exec web touch /tmp/made
  [ -e "$ROOT/tmp/made" ]
}

@test "-e, -u and -w" {
  [ "$(HERE=passed gantry exec -e HERE -e A=b -u user -w /tmp web sh -c 'echo $A $HERE; pwd; id -u')" = $'b passed\n/tmp\n1000' ]
}

@test "--privileged: what the container lacks, and the container goes on without" {
  run ! gantry exec web mount -t tmpfs none /tmp
  gantry exec --privileged web sh -c 'mount -t tmpfs none /tmp && /bin/busybox umount /tmp'
  [ "$(gantry exec --privileged web grep CapEff /proc/self/status)" = "CapEff:	$(sed -n 's/^CapBnd:\t//p' /proc/self/status)" ]
  [ "$(gantry exec web grep CapEff /proc/1/status)" = "$(gantry exec web grep CapEff /proc/self/status)" ]
}

@test "-i passes stdin on, to its end; without it there is none" {
  [ "$(head -c 300000 /dev/zero | gantry exec -i web wc -c)" = 300000 ]
  [ "$(echo hello | gantry exec web wc -c)" = 0 ]
}

@test "-d leaves it running" {
  gantry exec -d web sh -c 'sleep 0.2; touch /tmp/later'
  [ ! -e "$ROOT/tmp/later" ]
  wait_until test -e "$ROOT/tmp/later"
  wait_until only_web
}

@test "125, 126, 127: what cannot be run says why" {
  run -125 --separate-stderr gantry exec nobody true
  [[ "$stderr" == *"nobody"* ]]
  run -127 --separate-stderr gantry exec web /nope
  [[ "$stderr" == *"/nope"*"No such file or directory"* ]]
  run -126 --separate-stderr gantry exec web /etc
  run -125 --separate-stderr gantry exec -w /nowhere web true
  [[ "$stderr" == *"/nowhere"* ]]
  run -125 --separate-stderr gantry exec -u nobody web true
  [[ "$stderr" == *nobody* ]]
  run -125 --separate-stderr gantry exec web
  wait_until only_web
}

@test "a signal reaches it, and it alone" {
  "$BIN/gantry" exec web sh -c 'trap "echo term; exit 3" TERM; echo up; while :; do sleep 0.1; done' >"$DIR/out" 3>&- &
  pid=$!
  wait_until grep -q up "$DIR/out"
  kill -TERM $pid
  finish $pid
  [ "$status" = 3 ]
  [ "$(cat "$DIR/out")" = $'up\nterm' ]
  [ "$(gantry ps -q | wc -l)" = 1 ]
}

@test "the executor's death is not seen: output, stdin and status are whole" {
  mkfifo "$DIR/fifo"
  "$BIN/gantry" exec -i web sh -c 'echo up; cat; exit 5' <"$DIR/fifo" >"$DIR/out" 3>&- &
  pid=$!
  exec 4>"$DIR/fifo"
  wait_until grep -q up "$DIR/out"
  echo one >&4
  wait_until grep -q one "$DIR/out"
  kill -9 "$(executor_pid)"
  echo two >&4
  wait_until grep -q two "$DIR/out"
  exec 4>&-
  finish $pid
  [ "$status" = 5 ]
  [ "$(cat "$DIR/out")" = $'up\none\ntwo' ]
  wait_until only_web
}

@test "it ends with the container" {
  gantry run -d --name brief --rootfs "$ROOT" /bin/sleep 1000 >/dev/null
  "$BIN/gantry" exec brief sleep 1000 3>&- &
  pid=$!
  is_there() { gantry exec brief sh -c 'grep -q sleep /proc/[2-9]*/comm'; }
  wait_until is_there
  gantry kill brief
  finish $pid
  [ "$status" = 137 ]
  gantry rm brief
}

@test "attach: what it says from now on, its exit status, and the executor's death in between" {
  gantry run -d --name talker --rootfs "$ROOT" /bin/sh -c 'echo early; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo late; exit 6' >/dev/null
  said_early() { [ "$(gantry logs talker)" = early ]; }
  wait_until said_early
  "$BIN/gantry" attach talker >"$DIR/attached" 3>&- &
  pid=$!
  sleep 0.3
  kill -9 "$(executor_pid)"
  gantry ps >/dev/null
  touch "$ROOT/tmp/go"
  finish $pid
  [ "$status" = 6 ]
  [ "$(cat "$DIR/attached")" = late ]
  run -125 --separate-stderr gantry attach talker
  [[ "$stderr" == *"talker' has ended; "*"gantry logs"* ]]
  run -125 --separate-stderr gantry attach nobody
  [[ "$stderr" == *nobody* ]]
  gantry rm talker
}
