#!/usr/bin/env bats
# What gantry sends and prints, against recorded answers: parsing, tables, streams, exit statuses.
load helpers

setup() { make_directory; }
teardown() {
  stop_recorded
  rm -rf "$DIR"
}

exit_record='{"exit":{"kind":"EXITED","code":7,"shell_status":7}}'

@test "run: output comes apart, the exit status is the container's" {
  record '{"GANTRY_RUN":{"records":[{"control":"GANTRY_STARTED"},{"stdout":"out\n"},{"stderr":"err\n"},'"$exit_record"']}}'
  run --separate-stderr gantry run --rm image sh
  [ "$status" = 7 ]
  [ "$output" = out ]
  [ "$stderr" = err ]
  [ "$(requests GANTRY_RUN | jq -r .headers.accept)" = application/recordio ]
  [ "$(requests GANTRY_RUN | jq .body.gantry_run.launch.gantry_spec.remove_on_exit)" = true ]
}

@test "run: a launch that fails says why; the status is docker's" {
  record '{"GANTRY_RUN":{"status":400,"body":"no image \"nope\" in the store","headers":{}}}'
  run --separate-stderr gantry run nope true
  [ "$status" = 125 ]
  [ "$stderr" = 'gantry: no image "nope" in the store' ]
  [ -z "$output" ]
}

@test "run: 126 and 127 come from the executor" {
  record '{"GANTRY_RUN":{"status":400,"body":"exec /nope: no such file or directory","headers":{"Gantry-Exit-Status":"127"}}}'
  run -127 --separate-stderr gantry run image /nope
  [ "$status" = 127 ]
}

@test "run: a memory limit is explained" {
  record '{"GANTRY_RUN":{"records":[{"control":"GANTRY_STARTED"},{"exit":{"kind":"LIMITED","code":9,"reason":"memory limit of 16 MiB reached","shell_status":137}}]}}'
  run --separate-stderr gantry run image hog
  [ "$status" = 137 ]
  [[ "$stderr" == *"ended: memory limit of 16 MiB reached. Give it more with --memory"* ]]
}

@test "run: stdin goes to the container with -i, and its end too" {
  record '{"GANTRY_RUN":{"records":[{"control":"GANTRY_STARTED"},{"await":"ATTACH_CONTAINER_INPUT"},'"$exit_record"']},
           "ATTACH_CONTAINER_INPUT":{}}'
  run --separate-stderr gantry run -i image cat < <(printf hello)
  [ "$status" = 7 ]
  input=$(requests ATTACH_CONTAINER_INPUT)
  [ "$(jq -r '.headers["content-type"]' <<<"$input")" = application/recordio ]
  [ "$(jq -r '.headers["message-content-type"]' <<<"$input")" = application/json ]
  [ "$(jq -r '.body.records[0].attach_container_input.type' <<<"$input")" = CONTAINER_ID ]
  [ "$(jq -r '.body.records[0].attach_container_input.gantry_hand_over' <<<"$input")" = true ]
  [ "$(jq -r .body.stdin <<<"$input")" = hello ]
  [ "$(jq -r '.body.records[-1].attach_container_input.process_io.data.data' <<<"$input")" = "" ]
}

@test "run: without -i nobody touches stdin" {
  record '{"GANTRY_RUN":{"records":[{"control":"GANTRY_STARTED"},'"$exit_record"']}}'
  { gantry run image cat || true; cat; } < <(echo mine) >"$DIR/rest"
  [ "$(cat "$DIR/rest")" = mine ]
  [ -z "$(requests ATTACH_CONTAINER_INPUT)" ]
}

@test "run: a signal goes to the container, and its status comes back" {
  record '{"GANTRY_RUN":{"records":[{"control":"GANTRY_STARTED"},{"stdout":"up\n"},{"await":"KILL_CONTAINER"},{"exit":{"kind":"SIGNALLED","code":15,"shell_status":143}}]},
           "KILL_CONTAINER":{}}'
  "$BIN/gantry" run image sleep 100 >"$DIR/out" &
  pid=$!
  for _ in $(seq 200); do [ -s "$DIR/out" ] && break; sleep 0.02; done
  kill -TERM $pid
  finish $pid
  [ "$status" = 143 ]
  [ "$(requests KILL_CONTAINER | jq .body.kill_container.signal)" = 15 ]
  [ "$(requests KILL_CONTAINER | jq -r .body.kill_container.container_id.value)" = "$(requests GANTRY_RUN | jq -r .body.gantry_run.launch.container_id.value)" ]
}

@test "run | head ends, and the container is ended" {
  record '{"GANTRY_RUN":{"records":[{"control":"GANTRY_STARTED"},{"stdout":"one\n"},{"sleep":0.3},{"stdout":"two\n"},{"await":"KILL_CONTAINER"},{"exit":{"kind":"SIGNALLED","code":9,"shell_status":137}}]},
           "KILL_CONTAINER":{}}'
  set +e
  "$BIN/gantry" run image yes | head -1 >"$DIR/out"
  statuses=("${PIPESTATUS[@]}")
  set -e
  [ "${statuses[0]}" = 141 ]
  [ "$(cat "$DIR/out")" = one ]
  [ "$(requests KILL_CONTAINER | jq .body.kill_container.signal)" = 9 ]
}

@test "run: when the executor dies, output goes on where it was" {
  record '{"GANTRY_RUN":{"records":[{"control":"GANTRY_STARTED"},{"stdout":"abc"},{"stderr":"xy"}],"then":"close"},
           "ATTACH_CONTAINER_OUTPUT":[{"then":"close"},{"records":[{"stdout":"d"},{"stderr":"z"}],"then":"close"},{"records":[{"stdout":"ef\n"},'"$exit_record"']}]}'
  run --separate-stderr gantry run image job
  [ "$status" = 7 ]
  [ "$output" = abcdef ]
  [ "$stderr" = xyz ]
  [ "$(requests ATTACH_CONTAINER_OUTPUT | jq -c '.body.attach_container_output.gantry_output | [.from_start, .stdout_offset, .stderr_offset]' | tr '\n' ' ')" = "[true,3,2] [true,3,2] [true,4,3] " ]
}

@test "run: an executor that dies while it launches: what runs already is not run again" {
  record '{"GANTRY_RUN":[{"then":"close"},{"status":409,"body":"Container x exists already"}],
           "ATTACH_CONTAINER_OUTPUT":{"records":[{"stdout":"ok\n"},'"$exit_record"']}}'
  run --separate-stderr gantry run image job
  [ "$status" = 7 ]
  [ "$output" = ok ]
  stop_recorded
  record '{"GANTRY_RUN":[{"then":"close"},{"status":409,"body":"name: taken"}],
           "ATTACH_CONTAINER_OUTPUT":{"status":404,"body":"cannot be found"}}'
  run -125 --separate-stderr gantry run --name taken image job
  [ "$stderr" = "gantry: name: taken" ]
}

@test "run: an executor that leaves before it answers is asked again" {
  record '{"GANTRY_RUN":[{"then":"close"},{"records":[{"control":"GANTRY_STARTED"},{"stdout":"ok\n"},'"$exit_record"']}]}'
  run --separate-stderr gantry run image job
  [ "$status" = 7 ]
  [ "$output" = ok ]
  [ "$(requests GANTRY_RUN | jq -r .body.gantry_run.launch.container_id.value | sort -u | wc -l)" = 1 ]
}

@test "run -d prints the id" {
  record '{"LAUNCH_CONTAINER":{}}'
  run --separate-stderr gantry run -d --name web image
  [ "$status" = 0 ]
  [ "$output" = "$(requests LAUNCH_CONTAINER | jq -r .body.launch_container.container_id.value)" ]
  [ "${#output}" = 32 ]
}

@test "ps: a table for people, JSON for programs" {
  now=$(date +%s)
  record '{"GANTRY_LIST":{"json":{"type":"GANTRY_LIST","gantry_list":{"containers":[
    {"container_id":{"value":"0123456789abcdef0123456789abcdef"},"name":"web","state":"running","image":"nginx","command":["nginx","-g"],"created":{"nanoseconds":'$((now - 200))'000000000},"started":{"nanoseconds":'$((now - 130))'000000000},"ip_addresses":["10.1.0.2"],"ports":[{"host_port":8080,"container_port":80,"protocol":"tcp"}],"labels":{"tier":"front"}},
    {"container_id":{"value":"job-1"},"state":"exited","exit":{"kind":"SIGNALLED","code":9,"shell_status":137},"created":{"nanoseconds":'$((now - 90))'000000000},"finished":{"nanoseconds":'$((now - 61))'000000000}}]}}}}'
  run --separate-stderr gantry ps -a
  [ "$status" = 0 ]
  [[ "${lines[0]}" == ID*NAME*IMAGE*COMMAND*STATE*ADDRESS*PORTS ]]
  [[ "${lines[1]}" == "job-1 "*"exited (SIGKILL) 1 minute ago" ]]
  [[ "${lines[2]}" == "0123456789ab  web "*"nginx -g"*"running for 2 minutes "*"10.1.0.2  8080->80/tcp" ]]
  [ "$(gantry ps -q)" = 0123456789ab ]
  [ "$(gantry ps -a --filter label=tier=front -q --no-trunc)" = 0123456789abcdef0123456789abcdef ]
  [ "$(gantry ps -a --json | jq -r '.[0].id')" = job-1 ]
  run -125 --separate-stderr gantry ps --filter color=red
  [ "$stderr" = $'gantry: --filter color=red: the key is name, id, state, exited, image, label or health\nSee \'gantry ps --help\'' ]
  run -125 --separate-stderr gantry ps --filter state=bogus
  [ "$stderr" = $'gantry: --filter state=bogus: the state is one of creating, created, provisioning, preparing, launching, restoring, running, paused, checkpointing, destroying, exited, checkpointed\nSee \'gantry ps --help\'' ]
  run -125 --separate-stderr gantry ps --filter exited=well
  [ "$stderr" = $'gantry: --filter exited=well: the exit status is a number\nSee \'gantry ps --help\'' ]
  [ "$(gantry ps -q --filter exited=137)" = job-1 ]
  [ "$(gantry ps -q --filter status=exited)" = job-1 ]
  [ "$(gantry ps -q --filter exited=0)" = "" ]
  [ "$(gantry ps -l -q)" = job-1 ]
  [ "$(gantry ps -n 5 -q | wc -l)" = 2 ]
  [ "$(gantry ps --format '{{.ID}}\t{{ .Names }}|{{.Ports}}|{{.Labels}}')" = $'0123456789ab\tweb|8080->80/tcp|tier=front' ]
  run --separate-stderr gantry ps --format '{{.Color}}'
  [ "$status" = 125 ]
}

@test "run: docker's spellings, variables from a file, complaints in the flags' words" {
  record '{"GANTRY_RUN":[{"records":[{"control":"GANTRY_STARTED"},'"$exit_record"']},{"status":400,"body":"Failed to validate agent::Call: gantry_run.launch.gantry_spec.resources.cpus: must be 0.01 to 8192"}]}'
  printf '# comment\nA=1\n\nHERE\nB=file\n' >"$DIR/env"
  HERE=yes run -7 gantry run --pids-limit 5 --cpuset-cpus 0 --net host -l k=v --init --env-file "$DIR/env" -e B=flag image
  spec=$(requests GANTRY_RUN | jq -c .body.gantry_run.launch.gantry_spec)
  [ "$(jq -c '[.resources.pids_limit, .resources.cpuset_cpus, .network.mode, .labels.k, .init]' <<<"$spec")" = '[5,"0","HOST","v",true]' ]
  [ "$(jq -c .env <<<"$spec")" = '["A=1","HERE=yes","B=file","B=flag"]' ]
  run -125 --separate-stderr gantry run --cpus 9999 image
  [ "$stderr" = "gantry: --cpus 9999: must be 0.01 to 8192" ]
}

@test "a container that is not there: what to do next" {
  record '{"KILL_CONTAINER":{"status":404},"REMOVE_CONTAINER":{"status":409,"body":"container \"web\" is running: stop it first, or use rm -f"}}'
  run --separate-stderr gantry kill nope
  [ "$status" = 1 ]
  [ "$stderr" = "gantry: no container \"nope\" runs. 'gantry ps -a' lists those there are" ]
  run --separate-stderr gantry rm web
  [ "$status" = 1 ]
  [[ "$stderr" == "gantry: container \"web\" is running"* ]]
}

@test "several containers: all are tried, one failure is the status" {
  record '{"GANTRY_PAUSE":[{},{"status":404},{}]}'
  run --separate-stderr gantry pause a b c
  [ "$status" = 1 ]
  [ "$output" = $'a\nc' ]
  [[ "$stderr" == *'"b"'* ]]
}

@test "wait prints the status, in docker's numbers" {
  record '{"WAIT_CONTAINER":[{"json":{"type":"WAIT_CONTAINER","wait_container":{"exit_status":1792,"gantry_exit":{"kind":"EXITED","code":7,"shell_status":7}}}},{"json":{"type":"WAIT_CONTAINER","wait_container":{"exit_status":9}}}]}'
  run --separate-stderr gantry wait a b
  [ "$status" = 0 ]
  [ "$output" = $'7\n137' ]
}

@test "stop and kill send what was asked for" {
  record '{"GANTRY_STOP":{"json":{"type":"GANTRY_STOP","gantry_stop":{}}},"KILL_CONTAINER":{}}'
  gantry stop -t 3 --signal INT web
  gantry kill -s HUP web
  [ "$(requests GANTRY_STOP | jq -c .body.gantry_stop)" = '{"container_id":{"value":"web"},"timeout_seconds":3,"signal":"INT"}' ]
  [ "$(requests KILL_CONTAINER | jq .body.kill_container.signal)" = 1 ]
  run --separate-stderr gantry kill -s NOPE web
  [ "$status" = 125 ]
}

@test "logs: streams apart, tail and follow are sent" {
  record '{"ATTACH_CONTAINER_OUTPUT":{"records":[{"stdout":"a\n"},{"stderr":"b\n"}]}}'
  run --separate-stderr gantry logs -f --tail 5 web
  [ "$status" = 0 ]
  [ "$output" = a ]
  [ "$stderr" = b ]
  [ "$(requests | jq -c '.body.attach_container_output.gantry_output | [.follow, .tail_lines, .from_start]')" = '[true,5,true]' ]
}

@test "images and rmi" {
  record '{"GANTRY_IMAGES":{"json":{"type":"GANTRY_IMAGES","gantry_images":{"images":[{"references":["tools:1","tools:latest"],"digest":"sha256:0123456789abcdef","size_bytes":1048576,"layers":2}]}}},
           "GANTRY_REMOVE_IMAGE":{"json":{"type":"GANTRY_REMOVE_IMAGE","gantry_remove_image":{"untagged":["tools:1"],"deleted":["sha256:01"],"freed_bytes":5}}}}'
  run --separate-stderr gantry images
  [[ "${lines[1]}" == "tools:1 "*"0123456789ab"*"1.00 MiB  2" ]]
  [ "${#lines[@]}" = 3 ]
  run --separate-stderr gantry rmi tools:1
  [ "$output" = $'untagged tools:1\nremoved sha256:01' ]
}

@test "images: by name, then the newest; those without a name last" {
  record '{"GANTRY_IMAGES":{"json":{"type":"GANTRY_IMAGES","gantry_images":{"images":[
    {"digest":"sha256:01","created":{"nanoseconds":5}},
    {"references":["b:1","a:2"],"digest":"sha256:02","created":{"nanoseconds":7}},
    {"references":["a:1"],"digest":"sha256:03","created":{"nanoseconds":9}}]}}}}'
  [ "$(gantry images --format '{{.Name}} {{.Digest}}' | tr '\n' ' ')" = "a:1 03 a:2 02 b:1 02 <none> 01 " ]
  [ "$(gantry images -q | tr '\n' ' ')" = "03 02 01 " ]
  run -125 --separate-stderr gantry images --format '{{.Colour}}'
  [[ "$stderr" == "gantry: --format: there is no {{.Colour}}; there are {{.Name}} {{.Digest}} {{.Created}} {{.Size}} {{.Layers}}"* ]]
}

@test "import: a directory is sent as a tar, a layout is recognised, an early refusal is heard" {
  record '{"GANTRY_IMPORT":{"json":{"type":"GANTRY_IMPORT","gantry_import":{"images":[{"references":["t:latest"],"digest":"sha256:ab","size_bytes":10}]}}}}'
  mkdir "$DIR/root" && echo hello >"$DIR/root/file"
  run --separate-stderr gantry import "$DIR/root" t
  [ "$status" = 0 ]
  [ "$output" = "imported t:latest sha256:ab (10 B)" ]
  [ "$(requests | jq -c '.body.gantry_import')" = '{"reference":"t","format":"ROOTFS"}' ]
  [ "$(requests | jq .bytes)" -gt 1024 ]
  run --separate-stderr gantry import "$DIR/root"
  [ "$status" = 125 ]
  [[ "$stderr" == *"gantry import PATH NAME"* ]]
  echo '{}' >"$DIR/root/oci-layout"
  gantry import "$DIR/root"
  [ "$(requests | tail -1 | jq -r .body.gantry_import.format)" = OCI_LAYOUT ]
  run --separate-stderr gantry import /nonexistent
  [ "$status" = 1 ]
}

@test "stats: percent of a CPU between two looks" {
  record '{"GANTRY_STATS":[
   {"json":{"gantry_stats":{"containers":[{"container_id":{"value":"web"},"name":"web","statistics":{"timestamp":100.0,"cpus_user_time_secs":1.0,"cpus_system_time_secs":1.0,"mem_total_bytes":1048576,"mem_limit_bytes":67108864}}]}}},
   {"json":{"gantry_stats":{"containers":[{"container_id":{"value":"web"},"name":"web","statistics":{"timestamp":102.0,"cpus_user_time_secs":2.0,"cpus_system_time_secs":1.0,"mem_total_bytes":1048576,"mem_limit_bytes":67108864,"threads":3,"gantry_pids_limit":100}}]}}}]}'
  run --separate-stderr gantry stats
  [ "$status" = 0 ]
  [[ "${lines[1]}" == web*web*50.0%*"1.00 MiB / 64.0 MiB (1.6%)"*"3 / 100"* ]]
}

@test "stats: with nothing running there is nothing to measure, and no waiting" {
  record '{"GANTRY_STATS":{"json":{"gantry_stats":{}}}}'
  begin=$(date +%s%N)
  for _ in 1 2 3 4 5 6 7 8 9 10; do gantry stats >/dev/null; done
  [ $(($(date +%s%N) - begin)) -lt 5000000000 ]  # ten times the half second
  [[ "$(gantry stats)" == ID*NAME*CPU* ]]
}

task_status() { echo '{"type":"UPDATE","update":{"status":{"task_id":{"value":"t1"},"state":"'"$1"'","agent_id":{"value":"A"},"uuid":"'"$2"'","container_status":{"container_id":{"value":"C"}}}}}'; }

@test "submit: launches on an offer, acknowledges, prints output, ends with the task" {
  record '{"SUBSCRIBE":{"headers":{"Mesos-Stream-Id":"S-1"},"records":[{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"F"}}},{"type":"HEARTBEAT"},
     {"type":"OFFERS","offers":{"offers":[{"id":{"value":"O-small"},"agent_id":{"value":"A"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.01}}]},{"id":{"value":"O-1"},"agent_id":{"value":"A"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":2}},{"name":"mem","type":"SCALAR","scalar":{"value":900}}]}]}},
     {"await":"ACCEPT"},'"$(task_status TASK_STARTING u1)"','"$(task_status TASK_RUNNING u2)"','"$(task_status TASK_FINISHED u3)"',{"sleep":5}]},
   "ACCEPT":{"status":202},"DECLINE":{"status":202},"ACKNOWLEDGE":{"status":202},"TEARDOWN":{"status":202},
   "ATTACH_CONTAINER_OUTPUT":{"records":[{"stdout":"hello\n"},{"stderr":"oops\n"}]}}'
  run --separate-stderr gantry submit - <<<'{"task_id":{"value":"t1"},"command":{"value":"echo hello"}}'
  [ "$status" = 0 ]
  [ "$output" = hello ]
  [[ "$stderr" == *"t1 TASK_RUNNING"*"oops"* ]]
  [[ "$stderr" == *"t1 TASK_FINISHED"* ]]
  [ "$(requests ACCEPT | jq -r '.body.accept.operations[0].launch.task_infos[0].agent_id.value')" = A ]
  [ "$(requests ACCEPT | jq -r '.headers["mesos-stream-id"]')" = S-1 ]
  [ "$(requests ACCEPT | jq -r .target)" = /api/v1/scheduler ]
  [ "$(requests DECLINE | jq -r '.body.decline.offer_ids[0].value')" = O-small ]
  [ "$(requests ACKNOWLEDGE | jq -r .body.acknowledge.uuid | tr '\n' ' ')" = "u1 u2 u3 " ]
  [ "$(requests TEARDOWN | wc -l)" = 1 ]
}

@test "submit: output that comes in one piece with the answer's head is printed at once" {
  record '{"SUBSCRIBE":{"headers":{"Mesos-Stream-Id":"S-1"},"records":[{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"F"}}},
     {"type":"OFFERS","offers":{"offers":[{"id":{"value":"O-1"},"agent_id":{"value":"A"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":2}},{"name":"mem","type":"SCALAR","scalar":{"value":900}}]}]}},
     {"await":"ACCEPT"},'"$(task_status TASK_RUNNING u1)"',{"await":"KILL"},'"$(task_status TASK_KILLED u2)"',{"sleep":5}]},
   "ACCEPT":{"status":202},"ACKNOWLEDGE":{"status":202},"KILL":{"status":202},"TEARDOWN":{"status":202},
   "ATTACH_CONTAINER_OUTPUT":{"at_once":true,"records":[{"stdout":"early\n"},{"await":"KILL"}]}}'
  "$BIN/gantry" submit - <<<'{"task_id":{"value":"t1"},"command":{"value":"x"}}' >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until grep -q early "$DIR/out"
  kill -TERM $pid
  finish $pid
  [ "$status" = 1 ]
  grep -q TASK_KILLED "$DIR/err"
}

@test "submit: any other end is a failure" {
  record '{"SUBSCRIBE":{"headers":{"Mesos-Stream-Id":"S-1"},"records":[{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"F"}}},
     {"type":"OFFERS","offers":{"offers":[{"id":{"value":"O-1"},"agent_id":{"value":"A"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":2}},{"name":"mem","type":"SCALAR","scalar":{"value":900}}]}]}},
     {"type":"UPDATE","update":{"status":{"task_id":{"value":"t1"},"state":"TASK_FAILED","reason":"REASON_CONTAINER_LAUNCH_FAILED","message":"no image","agent_id":{"value":"A"},"uuid":"u"}}}]},
   "ACCEPT":{"status":202},"ACKNOWLEDGE":{"status":202},"TEARDOWN":{"status":202}}'
  run --separate-stderr gantry submit - <<<'{"command":{"value":"x"}}'
  [ "$status" = 1 ]
  [[ "$stderr" == *"TASK_FAILED REASON_CONTAINER_LAUNCH_FAILED: no image"* ]]
  run --separate-stderr gantry submit - <<<'{}'
  [ "$status" = 1 ]
  [[ "$stderr" == *"exactly one of command and executor"* ]]
}

@test "executor stop: refused while containers run; nothing there is an error" {
  record '{"GANTRY_SHUTDOWN":{"status":409,"body":"2 containers are running: stop them first"}}'
  run --separate-stderr gantry executor stop
  [ "$status" = 1 ]
  [ "$stderr" = "gantry: 2 containers are running: stop them first" ]
  run --separate-stderr gantry executor stop --socket "$DIR/none"
  [ "$status" = 1 ]
  [ "$stderr" = "gantry: no executor listens on $DIR/none" ]
}

@test "doctor: one line a feature, 1 when something is missing" {
  record '{"GANTRY_DOCTOR":{"json":{"gantry_doctor":{"findings":[{"feature":"kernel","verdict":"OK","detail":"Linux 6"},{"feature":"overlayfs","verdict":"DEGRADED","detail":"none","remedy":"modprobe overlay"}]}}}}'
  run --separate-stderr gantry doctor
  [ "$status" = 0 ]
  [[ "$output" == *"ok       kernel"*"limited  overlayfs"*"→ modprobe overlay"* ]]
  [ "$(gantry doctor --json | jq -r '.findings[2].verdict')" = limited ]
}

@test "restore --json: the executor goes away, and the next one has it running" {
  record '{"GANTRY_RESTORE":[{"then":"close"},{"status":409,"body":"it runs"}],
           "GANTRY_INSPECT":{"json":{"gantry_inspect":{"container":{"container_id":{"value":"abc"},"state":"running"}}}}}'
  run -0 --separate-stderr gantry restore --json db
  [ "$output" = '{"container_id":{"value":"abc"},"id":"abc"}' ]
}

@test "cp: an older executor that does not know of holes is asked without" {
  nothing=$(head -c 10240 /dev/zero | sed 's/\x0/\\u0000/g')
  record '{"GANTRY_COPY_OUT":[{"status":400,"body":"Failed to convert JSON into Call protobuf: gantry_copy_out: has no field '"'sparse'"' in this version of gantry"},
                              {"body":"'"$nothing"'"}]}'
  run -0 --separate-stderr gantry cp web:/dir/. "$DIR"
  [ -z "$stderr" ]
  [ "$(requests GANTRY_COPY_OUT | jq -c '[.body.gantry_copy_out | .no_devices, .sparse]')" = $'[true,true]\n[true,null]' ]
}
