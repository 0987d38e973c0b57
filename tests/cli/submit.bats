#!/usr/bin/env bats
# gantry submit, against a real executor's scheduler API.
load helpers

setup_file() { begin_private_host; }
teardown_file() { end_private_host; }

@test "a task: states on stderr, output apart, 0 only when it finished" {
  echo '{"command":{"value":"echo hello; echo oops >&2"}}' >"$DIR/task.json"
  run -0 --separate-stderr gantry submit "$DIR/task.json"
  [ "$output" = hello ]
  [[ "$stderr" == *TASK_RUNNING*oops* ]]
  [[ "$stderr" == *TASK_FINISHED* ]]
}

@test "a task that fails is 1, and its status is said" {
  run -1 --separate-stderr gantry submit - <<<'{"command":{"value":"exit 3"}}'
  [[ "$stderr" == *TASK_FAILED*3* ]]
}

@test "the example" {
  run -0 --separate-stderr gantry submit "$GANTRY_TOP/examples/tasks/hello.json"
  [[ "$output" == "hello from task "* ]]
}

@test "an interrupt kills the task" {
  "$BIN/gantry" submit - <<<'{"command":{"value":"echo up; sleep 100"}}' >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until grep -q up "$DIR/out"
  kill -TERM $pid
  finish $pid
  [ "$status" = 1 ]
  grep -q TASK_KILLED "$DIR/err"
  [ -z "$(gantry ps -q)" ]
}

@test "the executor killed under a task: the end is reported once it is known" {
  "$BIN/gantry" submit - <<<'{"command":{"value":"echo up; sleep 2; echo down"}}' >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until grep -q up "$DIR/out"
  kill -9 "$(executor_pid)"
  finish $pid
  [ "$status" = 0 ]
  [ "$(cat "$DIR/out")" = $'up\ndown' ]
}
