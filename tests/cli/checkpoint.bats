#!/usr/bin/env bats
# gantry checkpoint and restore, against a real executor and CRIU.
load helpers

setup_file() {
  begin_private_host
  CRIU=$(command -v criu) || { echo "criu is not installed: tools/setup does it" >&2; return 1; }
  export GANTRY_CRIU=$CRIU
}
teardown_file() { end_private_host; }

@test "a counter goes on where it was: same id, same log, no number twice or missing" {
  gantry run -d --name count --rootfs "$ROOT" /bin/sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done'
  id=$(gantry ps -q --no-trunc)
  wait_until sh -c "'$BIN/gantry' logs count | grep -qx 5"
  run -0 --separate-stderr gantry checkpoint count
  [ -n "$output" ]
  [ -z "$(gantry ps -q)" ]
  run -0 --separate-stderr gantry restore count
  [ "$output" = count ]
  [ "$(gantry ps -q --no-trunc)" = "$id" ]
  last=$(gantry logs count | tail -1)
  wait_until sh -c "'$BIN/gantry' logs count | grep -qx $((last + 5))"
  gantry kill count
  [ "$(gantry wait count)" = 137 ]
  [ "$(gantry logs count)" = "$(seq 0 "$(gantry logs count | tail -1)")" ]
}

@test "--leave-running: it goes on, and the checkpoint is there" {
  gantry run -d --name live --rootfs "$ROOT" /bin/sh -c 'while :; do sleep 0.05; done'
  run -0 --separate-stderr gantry checkpoint --leave-running --name snap live --json
  [ "$(jq -r .checkpoint <<<"$output")" = snap ]
  [ "$(gantry ps --json | jq -r '.[0].state')" = running ]
  gantry rm -f live
}

@test "what cannot be: said, and the container goes on" {
  run -1 --separate-stderr gantry checkpoint nope
  [[ "$stderr" == "gantry: "*nope* ]]
  run -1 --separate-stderr gantry restore nope
  [[ "$stderr" == "gantry: "*nope* ]]
}
