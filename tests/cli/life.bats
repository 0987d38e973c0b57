#!/usr/bin/env bats
# The commands about containers that exist, against a real executor.
load helpers

setup_file() { begin_private_host; }
teardown_file() { end_private_host; }
teardown() {
  ids=$(gantry ps -aq --no-trunc)
  # shellcheck disable=SC2086
  [ -z "$ids" ] || gantry rm -f $ids
}
logged() { gantry logs "$1" | grep -qxF "$2"; }  # CONTAINER LINE
has_state() { [ "$(gantry inspect "$1" | jq -r '.[0].container.state')" = "$2" ]; }
start() { gantry run -d --name "$1" --rootfs "$ROOT" "${@:2}"; }

@test "ps, by name and by the beginning of the id" {
  id=$(start web /bin/sleep 100)
  run gantry ps
  [[ "${lines[1]}" == "${id:0:12}  web "*"/bin/sleep 100"*running* ]]
  [ "$(gantry inspect "${id:0:6}" | jq -r '.[0].container.name')" = web ]
  [ "$(gantry ps -q --filter name=we)" = "${id:0:12}" ]
  gantry kill web
  [ "$(gantry wait web)" = 137 ]
  [ -z "$(gantry ps -q)" ]
  [ "$(gantry ps -a --json | jq -r '.[0].exit.kind')" = SIGNALLED ]
}

@test "a beginning that fits two ids is refused" {
  for id in abc1 abc2; do
    curl -s --unix-socket "$GANTRY_RUNTIME_DIR/gantry.sock" -H 'Content-Type: application/json' http://x/api/v1 -d \
      '{"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"'$id'"},"gantry_spec":{"rootfs":"'"$ROOT"'","args":["/bin/sleep","100"]}}}'
  done
  run -1 --separate-stderr gantry kill abc
  [[ "$stderr" == "gantry: "*abc* ]]
  gantry kill abc1
  gantry kill abc2
}

@test "wait: before, during, after; several in order" {
  start a /bin/sh -c 'sleep 0.3; exit 3'
  start b /bin/sh -c 'exit 4'
  [ "$(gantry wait a b)" = $'3\n4' ]
  [ "$(gantry wait a)" = 3 ]
  [ "$(gantry wait b --json | jq -r .exit.code)" = 4 ]
  run -1 --separate-stderr gantry wait nope
  [ "$stderr" = "gantry: no container \"nope\". 'gantry ps -a' lists those there are" ]
}

@test "stop: signal, grace, SIGKILL" {
  start polite /bin/sh -c 'trap "exit 0" TERM; echo up; while :; do sleep 0.05; done'
  start deaf /bin/sh -c 'trap "" TERM; echo up; while :; do sleep 0.05; done'
  wait_until logged polite up
  wait_until logged deaf up
  [ "$(gantry stop polite)" = polite ]
  [ "$(gantry wait polite)" = 0 ]
  [ "$(gantry stop -t 1 deaf --json | jq -r .exit.shell_status)" = 137 ]
}

@test "kill --signal reaches a handler" {
  start h /bin/sh -c 'trap "exit 21" HUP; echo up; while :; do sleep 0.05; done'
  wait_until logged h up
  gantry kill -s HUP h
  [ "$(gantry wait h)" = 21 ]
}

@test "pause and resume: nothing runs in between" {
  start tick /bin/sh -c 'while :; do echo .; sleep 0.02; done'
  wait_until logged tick .
  gantry pause tick
  [ "$(gantry ps --json | jq -r '.[0].state')" = paused ]
  sleep 0.2
  before=$(gantry logs tick | wc -l)
  sleep 0.4
  [ "$(gantry logs tick | wc -l)" = "$before" ]
  gantry pause tick  # again: still paused
  gantry resume tick
  wait_until sh -c "[ \$('$BIN/gantry' logs tick | wc -l) -gt $before ]"
  gantry resume tick
}

@test "logs: both streams, tail, follow to the end" {
  start talk /bin/sh -c 'for i in 1 2 3; do echo o$i; echo e$i >&2; done; sleep 0.5; echo last'
  run --separate-stderr gantry logs -f talk
  [ "$output" = $'o1\no2\no3\nlast' ]
  [ "$stderr" = $'e1\ne2\ne3' ]
  run --separate-stderr gantry logs --tail 2 --no-stderr talk
  [ "$output" = $'o3\nlast' ]
  [ -z "$stderr" ]
  [ "$(gantry logs talk --json | jq -r 'select(.stream == "stdout") | .text' | head -1)" = o1 ]
  run -1 --separate-stderr gantry logs nope
  [ "$stderr" = "gantry: no container \"nope\". 'gantry ps -a' lists those there are" ]
}

@test "echo x > /dev/stderr loses nothing" {
  start reopen /bin/sh -c 'echo one; echo two > /dev/stdout; echo three > /dev/stderr; echo four'
  gantry wait reopen
  run --separate-stderr gantry logs reopen
  [ "$output" = $'one\ntwo\nfour' ]
  [ "$stderr" = three ]
}

@test "stats: a busy one shows its share" {
  gantry run -d --name busy --cpus 0.3 --memory 64m --pids 9 --rootfs "$ROOT" /bin/sh -c 'while :; do :; done'
  sleep 0.5
  run gantry stats busy
  [[ "${lines[1]}" == *busy*%*"/ 64.0 MiB"*"1 / 9"* ]]
  percent=$(gantry stats busy --json | jq '.[0].cpu_percent | floor')
  [ "$percent" -ge 5 ]
  [ "$percent" -le 45 ]
}

@test "inspect: everything, and the phases of the launch" {
  start web /bin/sleep 100
  [ "$(gantry inspect web | jq -r '.[0].container.state')" = running ]
  run gantry inspect --phases web
  [[ "${lines[0]}" == PHASE*MICROSECONDS*SHARE ]]
  [[ "$output" == *clone*exec*total* ]]
  run -1 --separate-stderr gantry inspect nope
  [ "$(gantry inspect -f '{{.container.state}} {{json .container.name}}\t{{.container.exit.code}}' web)" = $'running "web"\t<no value>' ]
  [ "$(gantry stats --format '{{.Name}}' web)" = web ]
  run -125 --separate-stderr gantry inspect -f '{{state}}' web
  [[ "$stderr" == "gantry: --format: {{state}}: a name begins with a dot"* ]]
}

@test "top: processes of the container and of what was executed in it" {
  start web /bin/sleep 100
  gantry exec -d web sleep 200
  [ "$(gantry top --format '{{.User}} {{.State}} {{.Command}}' web)" = $'0 S /bin/sleep 100\n0 S sleep 200' ]
  [[ "$(gantry top web | head -n 1)" == PID*INSIDE*PARENT*USER*STATE*CPU*MEMORY*COMMAND ]]
  pid=$(gantry inspect -f '{{.container.pid}}' web)
  [ "$(gantry top --json web | jq -c '.[0] | [.pid, .inside, .command]')" = "[$pid,1,\"/bin/sleep 100\"]" ]
  gantry kill web
  run -1 --separate-stderr gantry top web
  [[ "$stderr" == *"does not run"* ]]
}

@test "rm: not a running one, unless forced" {
  start web /bin/sleep 100
  run -1 --separate-stderr gantry rm web
  [[ "$stderr" == "gantry: "*running* ]]
  [ "$(gantry rm -f web)" = web ]
  run -1 --separate-stderr gantry rm web
  [[ "$stderr" == *'no container "web"'* ]]
}

@test "executor stop: refused while one runs; then executor, launcher and logger are gone" {
  start web /bin/sleep 100
  run -1 --separate-stderr gantry executor stop
  [[ "$stderr" == "gantry: 1 container is running"* ]]
  gantry rm -f web
  pid=$(executor_pid)
  [ "$(gantry executor stop)" = stopped ]
  # Whose child it is may not have reaped it yet.
  [ ! -d "/proc/$pid" ] || grep -q '^State:.Z' "/proc/$pid/status"
  run -1 --separate-stderr gantry executor stop
  [ "$stderr" = "gantry: no executor listens on $GANTRY_RUNTIME_DIR/gantry.sock" ]
}

@test "doctor on this host: nothing a default container needs is missing" {
  run gantry doctor
  [ "$status" = 0 ]
  [[ "$output" == *"ok"*kernel* ]]
  [ "$(gantry doctor --json | jq '[.findings[] | select(.verdict == "missing")] | length')" = 0 ]
}

@test "doctor --bundle: a report without secrets, also where none runs" {
  gantry run -d --name web --label token=tell-nobody --rootfs "$ROOT" -e PLAIN=tell-nobody /bin/sh -c 'sleep 1000 # --password tell-nobody KEY=tell-nobody; mysql -ptell-nobody; x -p tellN0body'
  cd "$BATS_TEST_TMPDIR"
  run -0 --separate-stderr gantry doctor --bundle
  [[ "$output" == "wrote gantry-report-"*.tar:* ]]
  tar -xf gantry-report-*.tar
  [ "$(ls gantry-report | tr '\n' ' ')" = "README.txt cgroups.txt config.txt containers.json directories.txt doctor.txt executor.log host.txt images.json metrics.json mounts.txt settings.json version.json " ]
  ! grep -rqi 'tell-\?n[o0]body' gantry-report
  grep -q '"web"' gantry-report/containers.json
  grep -q 'sleep 1000' gantry-report/containers.json
  grep -q 'ok .*kernel' gantry-report/doctor.txt
  grep -q data_dir gantry-report/settings.json
  [ "$(stat -c %a gantry-report-*.tar)" = 600 ]
  run -1 --separate-stderr gantry doctor --bundle no/such/place.tar
  [[ "$stderr" == *no/such/place.tar* ]]
  run -125 --separate-stderr gantry doctor --bundle a b
  run -125 --separate-stderr gantry doctor --bundle=a b
  [[ "$stderr" == "gantry: two files: a and b"* ]]
  [ "$(gantry doctor --bundle=named.tar)" = "wrote named.tar: read it before you hand it on" ]
  tar -tf named.tar | grep -qx gantry-report/doctor.txt
  for words in '--bundle -' '--bundle=-'; do
    # shellcheck disable=SC2086
    gantry doctor $words | tar -xO gantry-report/containers.json | grep -q '"web"'
  done
  # Where none can be started.
  run -0 --separate-stderr env GANTRY_DATA_DIR=/proc/nothing "$BIN/gantry" doctor --runtime-dir /proc/nothing --bundle down.tar
  tar -xOf down.tar gantry-report/doctor.txt | grep -q 'missing *executor'
  gantry rm -f web
}

@test "system: info and df" {
  start web /bin/sleep 100
  gantry run --name done --rootfs "$ROOT" /bin/echo twelve_bytes
  wait_until has_state done exited
  [ "$(gantry system info --json | jq -c '[.containers.running, .containers.exited, .images]')" = '[1,1,0]' ]
  gantry system info | grep -qx 'containers:  1 exited, 1 running'
  [ "$(gantry system df --json | jq -c '.logs | [.count, .in_use, .reclaimable_bytes >= 13]')" = '[2,1,true]' ]
  tar -C "$ROOT" -c . | gantry import - base:1 >/dev/null
  gantry run --name wrote base:1 /bin/busybox dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null
  wait_until has_state wrote exited
  [ "$(gantry system df --json | jq -c '.written | [.count, .in_use, .bytes >= 3145728, .reclaimable_bytes >= 3145728]')" = '[1,0,true,true]' ]
  gantry rm wrote
  gantry rmi base:1
  [[ "$(gantry system df | head -n 1)" == WHAT*COUNT*"IN USE"*SIZE*RECLAIMABLE ]]
  run -125 --separate-stderr gantry system inof
  [[ "$stderr" == *'did you mean "gantry system info"?'* ]]
}

@test "version --executor" {
  [ "$(gantry version --executor --json | jq -r .executor)" = "$(gantry version --json | jq -r .version)" ]
}

@test "logs: tail, since, until, and the time of each line" {
  gantry run -d --name talker --rootfs "$ROOT" /bin/sh -c 'echo one; sleep 0.5; echo two; echo oops >&2; sleep 0.5; printf three'
  # Followed from the first byte on, the times are those of the log read afterwards.
  followed=$(gantry logs -f -t --no-stderr talker)
  [ "$(gantry wait talker)" = 0 ]
  [ "$(gantry logs -t --no-stderr talker)" = "$followed" ]
  [ "$(cut -d' ' -f2 <<<"$followed")" = $'one\ntwo\nthree' ]
  [[ "$(head -1 <<<"$followed")" =~ ^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z\ one$ ]]
  two=$(sed -n 's/Z two$/Z/p' <<<"$followed")
  [ "$(gantry logs --no-stderr --since "$two" talker)" = $'two\nthree' ]
  [ "$(gantry logs --no-stderr --until "$two" talker)" = one ]
  [ "$(gantry logs --no-stderr --since "$two" --tail 1 talker)" = three ]
  [ "$(gantry logs --no-stdout --since "$(date -d "$two" +%s)" talker 2>&1)" = oops ]
  [ -z "$(gantry logs --since 0s talker)" ]
  [ "$(gantry logs --no-stderr --since 1h talker)" = $'one\ntwo\nthree' ]
  run -125 --separate-stderr gantry logs --since yesterday talker
  [[ "$stderr" == *--since* ]]
  gantry rm talker
}

@test "run --restart runs it again, and says which policies there are" {
  gantry run -d --name again --restart on-failure:2 --rootfs "$ROOT" sh -c 'echo run; exit 3'
  for _ in $(seq 100); do [ "$(gantry logs again | wc -l)" = 3 ] && break; sleep 0.1; done
  [ "$(gantry logs again)" = $'run\nrun\nrun' ]
  [ "$(gantry wait again)" = 3 ]
  gantry rm again
  for words in "--restart sometimes" "--restart always:3"; do
    # shellcheck disable=SC2086
    run --separate-stderr gantry run $words --rootfs "$ROOT" true
    [ "$status" = 125 ]
    [[ "$stderr" == "gantry: --restart is no, on-failure[:TIMES], always or unless-stopped, not"* ]]
  done
  run --separate-stderr gantry run --rm --restart always --rootfs "$ROOT" true
  [ "$status" = 125 ]
  [[ "$stderr" == "gantry: --restart and --rm exclude each other"* ]]
}

@test "run --restart in the foreground says that it goes on" {
  run -3 --separate-stderr gantry run --name again --restart always --rootfs "$ROOT" sh -c 'echo run; exit 3'
  [ "$output" = run ]
  [ "$stderr" = 'gantry: it runs again in the background, as --restart always says: `gantry logs -f again` shows it, `gantry stop again` ends it' ]
  gantry rm -f again
  run -3 --separate-stderr gantry run --name once --restart unless-stopped --rootfs "$ROOT" sh -c 'exit 3'
  [[ "$stderr" == *"it runs again"* ]]
  gantry rm -f once
  run -0 --separate-stderr gantry run --name fine --restart on-failure --rootfs "$ROOT" true
  [ -z "$stderr" ]
  gantry rm fine
}

@test "start: the same container once more, its log goes on; -a is there from its first byte" {
  start job /bin/sh -c 'echo run; exit 3'
  [ "$(gantry wait job)" = 3 ]
  id=$(gantry inspect -f '{{.id}}' job)
  [ "$(gantry start job)" = job ]
  [ "$(gantry wait job)" = 3 ]
  run -3 --separate-stderr gantry start -a job
  [ "$output" = run ]
  [ "$(gantry logs job)" = $'run\nrun\nrun' ]
  [ "$(gantry inspect -f '{{.id}}' job)" = "$id" ]
  start web /bin/sleep 100
  id=$(gantry inspect -f '{{.id}}' web)
  for word in web "${id:0:6}" "$id"; do  # as it was asked for
    run -1 --separate-stderr gantry start "$word"
    [ "$stderr" = "gantry: container '$word' is running, only a created or an exited one can be started" ]
  done
  run -1 --separate-stderr gantry start -a web
  [ "$stderr" = "gantry: container 'web' is running, only a created or an exited one can be started" ]
  gantry pause web
  run -125 --separate-stderr gantry exec web true
  [[ "$stderr" == "gantry: container 'web' is paused"* ]]
  gantry resume web
  run -1 --separate-stderr gantry start nope
  [ "$stderr" = "gantry: no container \"nope\". 'gantry ps -a' lists those there are" ]
  run -125 --separate-stderr gantry start -i job
  [[ "$stderr" == *"needs -a"* ]]
}

@test "restart: stopped and started, with a restart policy too" {
  gantry run -d --name web --restart always --stop-timeout 0 --rootfs "$ROOT" /bin/sh -c 'echo up; while :; do sleep 1; done'
  wait_until logged web up
  pid=$(gantry inspect -f '{{.container.pid}}' web)
  [ "$(gantry restart web)" = web ]
  has_state web running
  [ "$(gantry inspect -f '{{.container.pid}}' web)" != "$pid" ]
  gantry kill web
  gantry wait web
  wait_until has_state web exited
  [ "$(gantry restart web)" = web ]
  has_state web running
  run -125 --separate-stderr gantry restart -t soon web
  [[ "$stderr" == 'gantry: --time is a whole number, not "soon"'* ]]
}

@test "update: limits of now and of later, refused ones change nothing; the restart policy" {
  gantry run -d --name web --memory 128m --pids 20 --rootfs "$ROOT" /bin/sh -c 'x=$(head -c 12000000 /dev/zero | /bin/busybox tr "\0" x); echo up; while :; do sleep 1; done'
  wait_until logged web up
  [ "$(gantry update --memory 256m --cpus 0.5 --pids 30 web)" = web ]
  limits() { gantry stats --json web | jq -c '.[0].statistics | [.mem_limit_bytes, .cpus_limit, .gantry_pids_limit]'; }
  [ "$(limits)" = '[268435456,0.5,30]' ]
  run -1 --separate-stderr gantry update --memory 8m --pids 40 web
  [[ "$stderr" == "gantry: --memory: "*"in use"* ]]
  [ "$(limits)" = '[268435456,0.5,30]' ]
  gantry update --memory 96m web
  gantry restart -t 0 web
  wait_until has_state web running
  [ "$(limits)" = '[100663296,0.5,30]' ]
  gantry update --restart on-failure:2 web
  [ "$(gantry inspect -f '{{.launch.gantry_spec.restart.policy}}' web)" = ON_FAILURE ]
  run -125 --separate-stderr gantry update web
  [[ "$stderr" == "gantry: says what to change"* ]]
  run -125 --separate-stderr gantry update --cpus 9999 web
  cpus=$(nproc --all)
  [[ "$stderr" = "gantry: --cpus 9999: must be 0.01 to $cpus: this host has $cpus CPU"* ]]
  run -125 --separate-stderr gantry update --cpus "$cpus.5" web
  gantry update --cpus "$cpus" web
  run -1 --separate-stderr gantry update --cpus 1 nope
  [[ "$stderr" == 'gantry: no container "nope"'* ]]
}

@test "rename: found by the new name, also by the next executor; the old one is free" {
  start web /bin/sleep 100
  id=$(gantry ps -q --no-trunc)
  [ "$(gantry rename web front)" = front ]
  kill -9 "$(executor_pid)"
  [ "$(gantry ps --format '{{.ID}} {{.Name}}' --no-trunc)" = "$id front" ]
  run -1 --separate-stderr gantry rename front front
  [ "$stderr" = "gantry: container 'front' is called 'front' already" ]
  start web /bin/sleep 100
  run -1 --separate-stderr gantry rename web front
  [ "$stderr" = "gantry: name: 'front' is taken by another container" ]
  run -125 --separate-stderr gantry rename web 'a b'
  [[ "$stderr" == 'gantry: "a b": '* ]]
  gantry rm -f front web
}

@test "rename: not to what another one is called by; its limits are not touched" {
  start web /bin/sleep 100
  start db /bin/sleep 100
  id=$(gantry inspect -f '{{.id}}' db)
  for name in "$id" "${id:0:12}"; do
    run -1 --separate-stderr gantry rename web "$name"
    [ "$stderr" = "gantry: name: '$name' is what container $id is called by; choose another one" ]
    run -125 --separate-stderr gantry run --rm --name "$name" --rootfs "$ROOT" true
    [[ "$stderr" == *"is what container $id is called by"* ]]
  done
  gantry update --pids 50 web
  pids=$(gantry inspect web | jq -r '.[0].cgroups[]' | while read -r path; do ls "$path/pids.max" 2>/dev/null || true; done | head -n 1)
  echo 60 >"$pids"
  gantry rename web front
  [ "$(cat "$pids")" = 60 ]
}

@test "update: 0 and -1 lift a limit" {
  gantry run -d --name web --memory 64m --cpus 0.5 --pids 20 --rootfs "$ROOT" sleep 100
  gantry update --memory 0 --cpus 0 --pids -1 web
  limits() { gantry stats --json web | jq -c '.[0].statistics | [.mem_limit_bytes, .cpus_limit, .gantry_pids_limit]'; }
  [ "$(limits)" = '[null,null,null]' ]
  gantry restart -t 0 web
  [ "$(limits)" = '[null,null,null]' ]
  gantry update --memory 64m web
  [ "$(limits)" = '[67108864,null,null]' ]
  gantry update --memory -1 web
  [ "$(limits)" = '[null,null,null]' ]
}

@test "ps: filters with patterns; how long it has been paused is not said wrongly" {
  gantry run -d --name web-1 --label tier=front-a --rootfs "$ROOT" sleep 100
  gantry run -d --name web-2 --label tier=front-b --rootfs "$ROOT" sleep 100
  start db /bin/sleep 100
  shown() { gantry ps --format '{{.Name}}' "$@" | sort | tr '\n' ' '; }
  [ "$(shown -f name=web)" = "web-1 web-2 " ]
  [ "$(shown -f 'name=*-1')" = "web-1 " ]
  [ "$(shown -f 'name=w*')" = "web-1 web-2 " ]
  [ "$(shown -f 'name=b')" = "db web-1 web-2 " ]
  [ "$(shown -f 'name=^db$')" = "db " ]
  [ "$(shown -f 'name=^b')" = "" ]
  [ "$(shown -f 'label=tier=front-*')" = "web-1 web-2 " ]
  [ "$(shown -f 'label=tier=front')" = "" ]
  [ "$(shown -f "image=$DIR/*")" = "db web-1 web-2 " ]
  gantry pause db
  [[ "$(gantry ps -f name=db)" == *"paused, started "*" ago"* ]]
  gantry resume db
}

@test "restart against rm -f, stop and restart: nobody is refused for the other's sake" {
  for _ in 1 2 3 4 5 6; do
    start web /bin/sleep 100
    "$BIN/gantry" restart -t 0 web >/dev/null 2>&1 3>&- &
    gantry rm -f web
    wait $! || true
    none_left || gantry rm -f web  # removed first, and not started again
    none_left
    start web /bin/sleep 100
    "$BIN/gantry" restart -t 0 web 3>&- &
    gantry restart -t 0 web
    finish $!
    [ "$status" = 0 ]
    "$BIN/gantry" restart -t 0 web >/dev/null 2>&1 3>&- &
    gantry stop -t 0 web
    wait $! || true
    gantry rm -f web
  done
}

@test "exec: -- before the command; one that has just ended is said to have" {
  start web /bin/sleep 100
  [ "$(gantry exec web -- echo -- x)" = "-- x" ]
  gantry kill -s KILL web
  gantry wait web
  run -125 --separate-stderr gantry exec web true
  [[ "$stderr" == "gantry: container '"*"' is exited, a command can be run only in a running one" ]]
}

@test "prune: what has ended, not what runs; asks, or needs -f" {
  start runs /bin/sleep 100
  start done /bin/true
  gantry wait done
  run -125 --separate-stderr gantry prune </dev/null
  [[ "$stderr" == *"give -f"* ]]
  wait_until has_state done exited
  [ "$(gantry prune -f --older-than 1h)" = "removed 0 containers" ]
  [ "$(gantry prune -f --json | jq -c '[(.containers | length), .images]')" = '[1,[]]' ]
  [ "$(gantry ps -aq | wc -l)" = 1 ]
  gantry rm -f runs
}

@test "kill and then rm" {
  for _ in 1 2 3 4 5; do
    start short /bin/sleep 100
    gantry kill short && gantry rm short
  done
}

@test "health: shown by ps and inspect, filtered by, acted on" {
  start well --health-cmd 'test -e /bin/sh' --health-interval 50ms /bin/sleep 100
  start ill --health-cmd 'echo broken; false' --health-interval 50ms --health-retries 1 /bin/sleep 100
  start plain /bin/sleep 100
  healthy() { [ "$(gantry inspect -f '{{.container.health.status}}' "$1")" = "$2" ]; }
  wait_until healthy well healthy
  wait_until healthy ill unhealthy
  [[ "$(gantry ps --filter name=well --format '{{.Status}}|{{.Health}}')" == "running for "*" (healthy)|healthy" ]]
  [[ "$(gantry ps)" == *" (unhealthy)"* ]]
  [ "$(gantry ps --filter health=unhealthy --format '{{.Name}}')" = ill ]
  [ "$(gantry ps --filter health=none --format '{{.Name}}')" = plain ]
  [ "$(gantry inspect ill | jq -r '.[0].container.health.log[-1] | "\(.exit_code) \(.output)"')" = "1 broken" ]
  [ "$(gantry ps --json | jq -r '.[] | select(.name == "ill") | .health.status')" = unhealthy ]
  start hung --health-cmd false --health-interval 50ms --health-retries 1 --health-on-failure kill /bin/sleep 100
  [ "$(gantry wait hung)" = 137 ]
  run -125 --separate-stderr gantry ps --filter health=good
  # shellcheck disable=SC2154  # set by run
  [ "${stderr_lines[0]}" = "gantry: --filter health=good: the health is one of starting, healthy, unhealthy, none" ]
}

@test "health: what contradicts itself is refused" {
  refused() {
    run -125 --separate-stderr gantry run --rm --rootfs "$ROOT" "${@:2}" /bin/true
    [[ "$stderr" == "gantry: "*"$1"* ]]
  }
  refused '--no-healthcheck and --health-cmd true contradict' --no-healthcheck --health-cmd true
  refused '--health-retries needs --health-cmd: a directory' --health-retries 3
  refused '--health-on-failure restart and --rm exclude' --health-cmd x --health-on-failure restart
  for count in 9999999 -1 many 1.5; do
    refused "--health-retries is a whole number from 1 to 1000000 (0: as if it were not given), not \"$count\"" --health-cmd x --health-retries="$count"
  done
  for time in fast 10x "1m 30s"; do
    refused "--health-interval is a time like 500ms, 10s or 1m30s, in h, m, s and ms (a number alone is seconds, which docker refuses), not \"$time\"" --health-cmd x --health-interval "$time"
  done
  [ -z "$(gantry ps -aq)" ]
}

@test "create, start: shown, filled, attached to" {
  id=$(gantry create --name made --rootfs "$ROOT" /bin/sh -c 'cat /srv/filled; exit 6')
  [ "$(gantry ps -a --format '{{.Name}} {{.Status}}')" = "made created" ]
  [ -z "$(gantry ps -q)" ]
  [ "$(gantry ps -q --filter state=created)" = "${id:0:12}" ]
  run -1 --separate-stderr gantry stop made
  [[ "$stderr" == *"has not been started"* ]]
  echo content >"$ROOT/srv/filled"
  run -6 gantry start -a made
  [ "$output" = content ]
  [ "$(gantry start made && gantry wait made)" = $'made\n6' ]
  gantry create -i --rm --name in --rootfs "$ROOT" /bin/cat
  [ "$(echo typed | gantry start -ai in)" = typed ]
  wait_until none_named in
  gantry create --name again --rootfs "$ROOT" /bin/sleep 100
  gantry restart again
  has_state again running
  gantry create --name never --rootfs "$ROOT" /bin/true
  gantry rm never
  run -125 --separate-stderr gantry create -d --rootfs "$ROOT" /bin/true
  [[ "$stderr" == *"-d"*"gantry start"* ]]
  run -125 --separate-stderr gantry create --memory lots --rootfs "$ROOT" /bin/true
  [[ "$stderr" == "gantry: --memory is a size"* ]]
  run -125 --separate-stderr gantry create --cpus 9000 --rootfs "$ROOT" /bin/true
  [[ "$stderr" == "gantry: --cpus"* ]]
  run -125 gantry create --name made --rootfs "$ROOT" /bin/true
  rm "$ROOT/srv/filled"
}
none_named() { [ -z "$(gantry ps -aq --filter "name=$1")" ]; }

@test "events: of the past, live, over an executor's death; bad filters" {
  since=@$(date +%s.%N)
  start told /bin/sh -c 'exit 4'
  gantry wait told
  gantry rm told
  [ "$(gantry events --since "$since" --until 0s -f container=told -f type=container --format '{{.Action}}' | xargs)" = \
    "create start die destroy" ]
  line=$(gantry events --since "$since" --until 0s -f event=die)
  [[ "$line" == *"Z container die "*" (name=told, exit_code=4)" ]]
  [ "$(gantry events --since "$since" --until 0s -f event=die --json | jq -r '"\(.type) \(.name) \(.attributes.exit_code)"')" = \
    "container told 4" ]
  "$BIN/gantry" events --since "$since" --filter event=die --format '{{.Name}}' >"$DIR/events" 2>&1 3>&- &
  follower=$!
  wait_until grep -qx told "$DIR/events"
  start sleeper /bin/sleep 1000
  kill -9 "$(executor_pid)"
  start later /bin/true
  wait_until grep -qx later "$DIR/events"
  kill "$follower"
  run -125 --separate-stderr gantry events --filter event=dye
  [[ "${stderr_lines[0]}" == "gantry: --filter event=dye: the event is one of create, "*"; did you mean die?" ]]
  run -125 --separate-stderr gantry events --filter colour=red
  [ "${stderr_lines[0]}" = "gantry: --filter colour=red: the key is type, event, container or image" ]
  run -125 --separate-stderr gantry events --since later
  [[ "$stderr" == "gantry: --since is how long ago"* ]]
  run -125 --separate-stderr gantry events --since 99999999999999999999
  [[ "$stderr" == "gantry: --since is at most 9200000000 seconds"* ]]
  run -125 --separate-stderr gantry events --since 1s --until 2s
  [[ "$stderr" == *"nothing lies between"* ]]
}
