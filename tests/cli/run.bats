#!/usr/bin/env bats
# gantry run against a real executor, started on demand.
load helpers

setup_file() { begin_private_host; }
teardown_file() { end_private_host; }
in_root() { gantry run --rm --rootfs "$ROOT" "$@"; }

@test "stdout and stderr come apart, the exit status is the command's" {
  run -7 --separate-stderr in_root /bin/sh -c 'echo out; echo err >&2; exit 7'
  [ "$output" = out ]
  [ "$stderr" = err ]
  wait_until none_left
}

@test "127 and 126: not found, not executable" {
  run -127 --separate-stderr in_root /nope
  [[ "$stderr" == "gantry: "*"/nope"*"No such file or directory"* ]]
  run -126 --separate-stderr in_root /etc
  [[ "$stderr" == "gantry: "*"/etc"*"Permission denied"* ]]
  wait_until none_left
}

@test "125: what cannot be made says why and leaves nothing" {
  run -125 --separate-stderr gantry run no-such-image true
  [[ "$stderr" == "gantry: "*no-such-image* ]]
  run -125 --separate-stderr gantry run --rm --rootfs "$DIR/nowhere" /bin/true
  [[ "$stderr" == "gantry: "*"$DIR/nowhere"* ]]
  run -125 --separate-stderr in_root -u nobody /bin/true
  [[ "$stderr" == *nobody* ]]
  [ -z "$(gantry ps -q)" ]
}

@test "-i passes stdin on, to its end; without it there is none" {
  [ "$(echo hello | in_root -i /bin/cat)" = hello ]
  [ "$(head -c 300000 /dev/zero | in_root -i /bin/wc -c)" = 300000 ]
  [ "$(echo hello | in_root /bin/wc -c)" = 0 ]
}

@test "much output arrives whole and in order, with --rm too" {
  sum=$(in_root /bin/sh -c 'i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done' | sha256sum)
  [ "$sum" = "$(for ((i = 0; i < 20000; i++)); do echo "line $i"; done | sha256sum)" ]
}

@test "a slow reader loses neither output nor status, with --rm too" {
  set +e
  in_root /bin/sh -c 'dd if=/dev/zero bs=1024 count=2000 2>/dev/null; exit 5' | { sleep 1; wc -c; } >"$DIR/count"
  statuses=("${PIPESTATUS[@]}")
  set -e
  [ "${statuses[0]}" = 5 ]
  [ "$(cat "$DIR/count")" = 2048000 ]
}

@test "run | head ends, and so does the container" {
  set +e
  timeout 20 "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/yes | head -1 >"$DIR/out"
  statuses=("${PIPESTATUS[@]}")
  set -e
  [ "${statuses[0]}" = 141 ]
  [ "$(cat "$DIR/out")" = y ]
  wait_until none_left
}

@test "signals go to the container; its status says by which it ended" {
  "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c 'trap "echo got; exit 9" TERM; echo up; while :; do sleep 0.05; done' >"$DIR/out" 3>&- &
  pid=$!
  wait_until grep -q up "$DIR/out"
  kill -TERM $pid
  finish $pid
  [ "$status" = 9 ]
  grep -q got "$DIR/out"
}

taken() { ! grep -q '^ShdPnd:.*[1-9a-f]' "/proc/$1/status"; }  # PID has read all signals it was sent

@test "a third interrupt kills what ignores the first two" {
  "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c 'trap "" TERM; echo up; while :; do sleep 0.05; done' >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until grep -q up "$DIR/out"
  for _ in 1 2 3; do
    kill -TERM $pid
    wait_until taken $pid  # or the kernel makes two signals one
  done
  finish $pid
  [ "$status" = 137 ]
  grep -q 'killing the container' "$DIR/err"
}

@test "an interrupt that ends nothing: what was sent, and what helps" {
  "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c 'trap "" INT; echo up; while :; do sleep 0.05; done' >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until grep -q up "$DIR/out"
  kill -INT $pid
  wait_until grep -qx 'gantry: SIGINT was sent, and the container still runs; twice more kills it' "$DIR/err"
  kill -TERM $pid
  wait_until grep -qx 'gantry: SIGTERM was sent, and the container still runs; once more kills it' "$DIR/err"
  kill -INT $pid
  finish $pid
  [ "$status" = 137 ]
}

@test "--init: orphans are reaped, signals are forwarded, the status is the command's" {
  [ "$(in_root --init /bin/cat /proc/1/comm)" = gantry-init ]
  [ "$(gantry run -d --name shown --init --rootfs "$ROOT" /bin/sleep 100 >&2; gantry inspect shown | jq -c '.[0].container.command')" = '["/bin/sleep","100"]' ]
  gantry rm -f shown
  run -7 in_root --init /bin/sh -c 'exit 7'
  run -127 --separate-stderr in_root --init /nope
  [[ "$stderr" == *"/nope"*"No such file"* ]]
  run -1 --separate-stderr in_root --init /bin/sh -c ': >/dev/gantry-init'
  # The inner shell's child is orphaned; a zombie would stay where nobody reaps it.
  [ "$(in_root --init /bin/sh -c '(sleep 0.1 &); sleep 0.5; grep -l "State:.Z" /proc/[0-9]*/status 2>/dev/null | wc -l')" = 0 ]
  "$BIN/gantry" run --rm --init --rootfs "$ROOT" /bin/sh -c 'trap "echo got; exit 9" TERM; echo up; while :; do sleep 0.05; done' >"$DIR/out" 3>&- &
  pid=$!
  wait_until grep -q up "$DIR/out"
  kill -TERM $pid
  finish $pid
  [ "$status" = 9 ]
  grep -q got "$DIR/out"
  [ ! -e "$ROOT/dev/gantry-init" ]
}

@test "environment, working directory, user, host name, entrypoint" {
  [ "$(X=here in_root -e A=1 -e X -w /srv -u user --hostname box /bin/sh -c 'echo $A $X $(pwd) $(id -u):$(id -g) $(hostname)')" = "1 here /srv 1000:1000 box" ]
  [ "$(in_root -u 7:8 /bin/id -u)" = 7 ]
  [ "$(in_root --entrypoint /bin/echo ignored)" = ignored ]
}

@test "volumes from relative paths, read-only ones, tmpfs, read-only root" {
  mkdir -p "$DIR/files" && echo content >"$DIR/files/f"
  cd "$DIR"
  [ "$(in_root -v ./files:/srv:ro /bin/cat /srv/f)" = content ]
  run -1 --separate-stderr in_root -v ./files:/srv:ro /bin/touch /srv/g
  [[ "$stderr" == *"Read-only file system"* ]]
  in_root -v "$DIR/files:/srv" /bin/touch /srv/g
  [ -e "$DIR/files/g" ]
  [ "$(in_root --tmpfs /srv:size=1m /bin/sh -c 'touch /srv/x && ls /srv')" = x ]
  run -1 --separate-stderr in_root --read-only /bin/touch /x
  run -125 --separate-stderr in_root -v "$DIR/absent:/srv" /bin/true
  [[ "$stderr" == *"$DIR/absent"* ]]
}

@test "limits: memory ends it with a reason, pids stop forks, cpuset is seen" {
  run -137 --separate-stderr in_root --memory 16m /bin/sh -c 'x=aaaaaaaa; while :; do x=$x$x; done'
  [[ "$stderr" == *memory*"--memory" ]]
  run --separate-stderr in_root --pids 5 /bin/sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait'
  [[ "$stderr" == *"fork"* ]]
  [ "$(in_root --cpuset 0 /bin/nproc)" = 1 ]
  [ "$(in_root --ulimit nofile=77:99 /bin/sh -c 'ulimit -n; ulimit -Hn' | tr '\n' ' ')" = "77 99 " ]
}

@test "--cgroup-parent: its cgroups are below it, with create, too" {
  gantry run -d --name front --cgroup-parent web/front --rootfs "$ROOT" /bin/sleep 1000
  gantry inspect front | grep -q "/parents/web/front/@"
  [ "$(gantry inspect front | grep -c "$GANTRY_CGROUP_ROOT/containers/")" = 0 ]
  gantry rm -f front
  gantry create --name later --cgroup-parent web --rootfs "$ROOT" /bin/sleep 1000
  gantry start later
  gantry inspect later | grep -q "/parents/web/@"
  gantry rm -f later
  run -125 --separate-stderr in_root --cgroup-parent /web /bin/true
  [[ "$stderr" == "gantry: "*'--cgroup-parent /web: must be a path like web'* ]]
  wait_until none_left
}

@test "capabilities: added, dropped, and the wrong name named" {
  all=$(in_root /bin/grep CapEff /proc/self/status)
  [ "$(in_root --cap-drop ALL /bin/grep CapEff /proc/self/status)" = $'CapEff:\t0000000000000000' ]
  [ "$(in_root --cap-add NET_ADMIN /bin/grep CapEff /proc/self/status)" != "$all" ]
  run -125 --separate-stderr in_root --cap-add FLY /bin/true
  [[ "$stderr" == *'--cap-add "FLY" is no capability'* ]]
}

@test "network none has a loopback; host shows the host's" {
  [ "$(in_root /bin/ls /sys/class/net)" = lo ]
  [ "$(in_root --network host /bin/ls /proc/sys/net/ipv4/conf | wc -l)" -ge 3 ]
}

@test "bridge: an address, and a published port reaches the container" {
  ln -sf busybox "$ROOT/bin/httpd"
  echo served >"$ROOT/srv/index.html"
  port=$((20000 + RANDOM % 10000))
  gantry run -d --name web -p "127.0.0.1:$port:80" --rootfs "$ROOT" /bin/httpd -f -p 80 -h /srv
  wait_until curl -sf "http://127.0.0.1:$port/"
  [ "$(curl -s "http://127.0.0.1:$port/")" = served ]
  gantry ps | grep -q "127.0.0.1:$port->80/tcp"
  run -125 --separate-stderr gantry run -d -p "$port:80" --rootfs "$ROOT" /bin/sleep 100
  [[ "$stderr" == "gantry: "*"host port $port/tcp is published by container web; choose another host port" ]] || { echo "$stderr" >&2; false; }
  gantry rename web front
  run -125 --separate-stderr gantry run -d -p "$port:80" --rootfs "$ROOT" /bin/sleep 100
  [[ "$stderr" == *" is published by container front; "* ]]
  gantry rm -f front
  # Free ones, others for each.
  gantry run -d --name free -p 80 -p 0:80 -p 127.0.0.1::80 --rootfs "$ROOT" /bin/httpd -f -p 80 -h /srv
  port=$(gantry inspect free | jq '.[].container.ports[0].host_port')
  wait_until curl -sf "http://127.0.0.1:$port/"
  [ "$(gantry inspect free | jq '[.[].container.ports[].host_port | select(. > 0)] | unique | length')" = 3 ]
  gantry ps | grep -q " $port->80/tcp"
  kill -9 "$(executor_pid)"
  [ "$(gantry inspect free | jq '.[].container.ports[0].host_port')" = "$port" ]
  [ "$(curl -s "http://127.0.0.1:$port/")" = served ]
  gantry rm -f free
  # More rules than a netlink socket has room for acknowledgements by itself.
  [ "$(gantry run --rm -p 1-2000 --rootfs "$ROOT" /bin/echo many)" = many ]
  run ! curl -s --max-time 1 "http://127.0.0.1:$port/"
}

@test "--uri fetches into the sandbox, and the checksum counts" {
  echo payload >"$DIR/payload"
  sum=$(sha256sum <"$DIR/payload" | cut -d' ' -f1)
  [ "$(in_root --uri "$DIR/payload#sha256=$sum" /bin/cat /mnt/mesos/sandbox/payload)" = payload ]
  run -125 --separate-stderr in_root --uri "$DIR/payload#sha256=${sum//[0-9a-f]/0}" /bin/true
  [[ "$stderr" == *sha256* ]]
}

@test "a name is unique and can be used again after rm" {
  gantry run -d --name one --rootfs "$ROOT" /bin/sleep 100
  run -125 --separate-stderr gantry run -d --name one --rootfs "$ROOT" /bin/sleep 100
  [ "$stderr" = "gantry: name: 'one' is taken by another container; remove it or choose another name" ]
  gantry rm -f one
  gantry run -d --name one --rootfs "$ROOT" /bin/true
  gantry wait one
  gantry rm one
  for _ in 1 2 3 4 5 6; do in_root --name one /bin/true; done
}

@test "the executor killed under a running container: output and status are not lost" {
  "$BIN/gantry" run --rm --rootfs "$ROOT" /bin/sh -c 'i=0; while [ $i -lt 40 ]; do echo $i; echo e$i >&2; sleep 0.05; i=$((i+1)); done; exit 6' >"$DIR/out" 2>"$DIR/err" 3>&- &
  pid=$!
  wait_until grep -q 5 "$DIR/out"
  kill -9 "$(executor_pid)"
  finish $pid
  [ "$status" = 6 ]
  [ "$(cat "$DIR/out")" = "$(seq 0 39)" ]
  [ "$(cat "$DIR/err")" = "$(seq -f 'e%g' 0 39)" ]
}

@test "--mount, in Docker's long form, and --shm-size" {
  mkdir -p "$DIR/given"
  echo from the host >"$DIR/given/file"
  [ "$(in_root --mount "type=bind,src=$DIR/given,dst=/given,readonly" /bin/cat /given/file)" = "from the host" ]
  run ! in_root --mount "type=bind,src=$DIR/given,dst=/given,readonly" /bin/sh -c 'echo x >/given/file'
  in_root --mount "type=bind,src=$DIR/given,dst=/given" /bin/sh -c 'echo x >/given/other'
  [ -f "$DIR/given/other" ]
  [[ "$(in_root --mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700 /bin/sh -c 'stat -c %a /t; /bin/busybox df -k /t | tail -1')" == "700"*1024* ]]
  [[ "$(in_root --shm-size 2m /bin/busybox df -k /dev/shm)" == *2048* ]]
  run -125 --separate-stderr in_root --mount type=bind,target=/x /bin/true
  [[ "$stderr" == *"--mount type=bind,target=/x: type=bind needs source=PATH"* ]]
  run -125 --separate-stderr in_root --mount type=bind,src=/etc /bin/true
  [[ "$stderr" == *"needs target=PLACE"* ]]
  run -125 --separate-stderr in_root --mount type=bind,src=/etc,dst=/x,colour=red /bin/true
  [[ "$stderr" == *'unknown key "colour"'* ]]
}

@test "--device: made inside, its access as given; --privileged: all of them, and every right" {
  ls -l /dev/loop-control >/dev/null || skip "no /dev/loop-control on this host"
  [ "$(in_root --device /dev/loop-control:/dev/lc /bin/sh -c 'exec 3<>/dev/lc && echo opened')" = opened ]
  run ! --separate-stderr in_root --device /dev/loop-control:/dev/lc:r /bin/sh -c 'exec 3>/dev/lc'
  [[ "$stderr" == *"/dev/lc"* ]]
  run ! --separate-stderr in_root --device-cgroup-rule 'c 10:* m' /bin/sh -c '/bin/busybox mknod /dev/lc c 10 237 && exec 3<>/dev/lc'
  everything=$(sed -n 's/^CapBnd:\t//p' /proc/self/status)
  [ "$(in_root --privileged /bin/sh -c 'exec 3<>/dev/loop-control; grep "CapEff\|Seccomp:\|NoNewPrivs" /proc/self/status; echo 0 >/proc/sys/net/ipv4/ip_forward')" = "CapEff:	$everything"$'\nNoNewPrivs:\t0\nSeccomp:\t0' ]
  [ "$(gantry run -d --name priv --privileged --rootfs "$ROOT" /bin/sleep 100 | wc -c)" = 33 ]
  [ "$(gantry top --format '{{.Inside}} {{.User}} {{.Command}}' priv)" = "1 0 /bin/sleep 100" ]
  gantry rm -f priv
}

@test "--pidfile: the pid of its first process on the host" {
  gantry run -d --name pid --pidfile "$DIR/pid" --rootfs "$ROOT" /bin/sleep 100
  [ "$(cat "/proc/$(cat "$DIR/pid")/comm")" = sleep ]
  [ "$(gantry inspect -f '{{.container.pid}}' pid)" = "$(cat "$DIR/pid")" ]
  gantry rm -f pid
  run -125 --separate-stderr in_root --pidfile "$DIR/pid" /bin/true
  [[ "$stderr" == *"--pidfile"*"File exists"* ]]
}

@test "--cidfile: a new file for the id, and none for what did not start" {
  id=$(gantry run -d --rm --cidfile "$DIR/cid" --rootfs "$ROOT" /bin/true)
  [ "$(cat "$DIR/cid")" = "$id" ]
  run -125 --separate-stderr in_root --cidfile "$DIR/cid" /bin/true
  [[ "$stderr" == *"--cidfile"*"File exists"* ]]
  run -125 gantry run -d --cidfile "$DIR/cid2" --rootfs "$DIR/nowhere" /bin/true
  [ ! -e "$DIR/cid2" ]
}
