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
  [[ "$(gantry ps -a --format '{{.Status}}')" == checkpointed* ]]
  run -0 --separate-stderr gantry restore count
  [ "$output" = count ]
  [ "$(gantry ps -q --no-trunc)" = "$id" ]
  last=$(gantry logs count | tail -1)
  wait_until sh -c "'$BIN/gantry' logs count | grep -qx $((last + 5))"
  gantry kill count
  [ "$(gantry wait count)" = 137 ]
  [ "$(gantry logs count)" = "$(seq 0 "$(gantry logs count | tail -1)")" ]
}

@test "a restart policy does not run anew what was checkpointed; after the restore it counts" {
  gantry run -d --name kept --restart always --rootfs "$ROOT" /bin/sh -c 'echo begun; while :; do sleep 0.05; done'
  wait_until sh -c "'$BIN/gantry' logs kept | grep -qx begun"
  gantry checkpoint kept
  sleep 0.3  # the policy's first delay is a tenth of a second
  [[ "$(gantry ps -a --format '{{.Status}}')" == checkpointed* ]]
  gantry restore kept
  [ "$(gantry logs kept)" = begun ]
  kill -9 "$(gantry inspect -f '{{.container.pid}}' kept)"
  again() { [ "$(gantry logs kept)" = $'begun\nbegun' ]; }
  wait_until again
  gantry rm -f kept
}

@test "renamed and with other limits: its checkpoint is still its own" {
  gantry run -d --name first-name -m 64m --rootfs "$ROOT" /bin/sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done'
  gantry checkpoint first-name
  gantry rename first-name second-name
  gantry update --restart always -m 80m second-name
  gantry restore second-name
  [ "$(gantry ps -q --filter name=second-name | wc -l)" = 1 ]
  gantry rm -f second-name
}

@test "--leave-running: it goes on, and the checkpoint is there" {
  gantry run -d --name live --rootfs "$ROOT" /bin/sh -c 'while :; do sleep 0.05; done'
  run -0 --separate-stderr gantry checkpoint --leave-running --name snap live --json
  [ "$(jq -r .checkpoint <<<"$output")" = snap ]
  [ "$(gantry ps --json | jq -r '.[0].state')" = running ]
  gantry rm -f live
}

@test "a checkpoint of a name, twice; an older one by --from; they go with their container" {
  gantry run -d --name many --rootfs "$ROOT" /bin/sh -c 'while :; do sleep 0.05; done'
  gantry checkpoint --leave-running --name first many
  run -1 --separate-stderr gantry checkpoint --leave-running --name first many
  [[ "$stderr" == *"there is a checkpoint 'first'"* ]]
  gantry checkpoint --name second many
  [ "$(gantry inspect many | jq -c '.[0].checkpoints')" = '["first","second"]' ]
  run -1 --separate-stderr gantry restore --from third many
  [ "$stderr" = "gantry: container 'many' has no checkpoint 'third'. It has: first, second (\`gantry inspect many\` lists them)" ]
  gantry restore --from first many
  [ "$(gantry ps --json | jq -r '.[0].state')" = running ]
  gantry rm -f many
  [ ! -e "$DIR/data/checkpoints/first" ] && [ ! -e "$DIR/data/checkpoints/second" ]
}

@test "what cannot be: said, and the container goes on" {
  gantry run -d --name hostly --network host --rootfs "$ROOT" /bin/sh -c 'while :; do sleep 0.05; done'
  run -1 --separate-stderr gantry checkpoint hostly
  [[ "$stderr" == *"host's network"*"--network"* ]]
  [ "$(gantry ps --json | jq -r '.[0].state')" = running ]
  run -1 --separate-stderr gantry restore hostly
  [[ "$stderr" == *"'hostly' has no checkpoint: "* ]]
  gantry rm -f hostly
  run -1 --separate-stderr gantry checkpoint nope
  [[ "$stderr" == "gantry: "*nope* ]]
  run -1 --separate-stderr gantry restore nope
  [[ "$stderr" == "gantry: "*nope* ]]
}

@test "the executor dies after it has done it: asked again, the next one's refusal is no failure" {
  gantry run -d --name twice --rootfs "$ROOT" /bin/sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done'
  for point in checkpoint.after_dump restore.after_resume; do
    kill -9 "$(executor_pid)"
    rm "$GANTRY_RUNTIME_DIR/gantry.sock"
    "$BIN/gantry-executor" --failpoints "$point=kill" >"$BATS_TEST_TMPDIR/doomed" 2>&1 3>&- &
    wait_until test -S "$GANTRY_RUNTIME_DIR/gantry.sock"
    run -0 --separate-stderr gantry "${point%%.*}" twice
    [ -n "$output" ] && [ -z "$stderr" ]
  done
  [ "$(gantry inspect twice | jq -r '.[0].container.state, (.[0].checkpoints | length)' | tr '\n' ' ')" = "running 1 " ]
  gantry kill twice
  [ "$(gantry logs twice)" = "$(seq 0 "$(gantry logs twice | tail -1)")" ]
  gantry rm twice
}
