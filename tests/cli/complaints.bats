#!/usr/bin/env bats
# What is said when something is wrong, word for word: what it is, and what to do next.
load helpers

setup_file() {
  begin_private_host
  GANTRY_CRIU=$(command -v criu) || { echo "criu is not installed: tools/setup does it" >&2; return 1; }
  export GANTRY_CRIU
}
teardown_file() { end_private_host; }
in_root() { gantry run --rm --rootfs "$ROOT" "$@"; }

@test "a socket on which nobody listens, and the executor listens elsewhere: said once, which and where" {
  gantry ps
  run -1 --separate-stderr gantry --runtime-dir "$GANTRY_RUNTIME_DIR" --socket "$DIR/other.sock" ps
  [ "$stderr" = "gantry: no executor listens on $DIR/other.sock: the executor of $GANTRY_RUNTIME_DIR (pid $(executor_pid)) listens on $GANTRY_RUNTIME_DIR/gantry.sock.
  Use that one (--socket $GANTRY_RUNTIME_DIR/gantry.sock, or unset GANTRY_SOCKET), or give a second executor a --runtime-dir of its own" ]
  GANTRY_SOCKET=$DIR/other.sock run -1 --separate-stderr gantry ps
  [[ "$stderr" == "gantry: no executor listens on $DIR/other.sock: the executor of $GANTRY_RUNTIME_DIR (pid "* ]]
}

@test "a socket file that somebody removed: which process to end; its containers go on" {
  gantry run -d --name web --rootfs "$ROOT" /bin/sleep 100
  pid=$(executor_pid)
  rm "$GANTRY_RUNTIME_DIR/gantry.sock"
  run -1 --separate-stderr gantry ps
  [ "$stderr" = "gantry: the executor of $GANTRY_RUNTIME_DIR (pid $pid) runs, but its socket $GANTRY_RUNTIME_DIR/gantry.sock is gone.
  kill $pid ends it, containers go on, and the next command starts another" ]
  kill "$pid"
  wait_until [ ! -e "/proc/$pid" ]
  [ "$(gantry ps --format '{{.Name}} {{.State}}')" = "web running" ]
  gantry rm -f web
}

@test "an executor that refuses to start is started once, and its reason printed once" {
  mkdir "$DIR/other"
  GANTRY_RUNTIME_DIR=$DIR/other/run GANTRY_CGROUP_ROOT=relative run -1 --separate-stderr gantry ps
  [ "$stderr" = "gantry: the executor did not start: it ended with status 125
gantry-executor: --cgroup-root 'relative': must be an absolute path without '..'" ]
}

@test "a directory with files on disk is no runtime directory: a tmpfs would hide them" {
  mkdir -p "$DIR/mine" && touch "$DIR/mine/file"
  [ "$(stat -f -c %T "$DIR/mine")" != tmpfs ] || skip "needs a /tmp that is no tmpfs"
  run -1 --separate-stderr env -u GANTRY_RUNTIME_DIR GANTRY_SOCKET="$DIR/mine/sock" "$BIN/gantry" ps
  [[ "$stderr" == *"runtime directory $DIR/mine is on disk and has files"*"--runtime-dir"* ]]
  [ "$(ls "$DIR/mine")" = file ]
}

@test "a command that is not there, or is no program" {
  run -127 --separate-stderr in_root nope
  [ "$stderr" = "gantry: exec nope: No such file or directory
  The container has no such program (a name without a slash is looked for in its PATH),
  or it lacks the program's interpreter (#!) or loader. To see what it has:
  gantry run --rm IMAGE ls /bin, or gantry exec CONTAINER ls /bin" ]
  said=$stderr
  gantry run -d --name web --rootfs "$ROOT" /bin/sleep 100
  run -127 --separate-stderr gantry exec web nope
  [ "$stderr" = "$said" ]
  gantry rm -f web
  run -126 --separate-stderr in_root /etc
  [ "$stderr" = "gantry: exec /etc: Permission denied
  It is there, but it is no file that can be executed: chmod +x it, or name a program" ]
}

@test "a -v source that is missing" {
  run -125 --separate-stderr in_root -v "$DIR/absent:/srv" /bin/true
  [ "$stderr" = "gantry: bind $DIR/absent on /srv (the source): No such file or directory
  -v wants a directory or file that is there: mkdir -p $DIR/absent first; -v PLACE alone is a new, empty volume" ]
}

@test "restore of a checkpoint that does not exist" {
  gantry run -d --name db --rootfs "$ROOT" /bin/sleep 100
  run -1 --separate-stderr gantry restore --from nope db
  [ "$stderr" = "gantry: container 'db' has no checkpoint 'nope': \`gantry checkpoint db\` makes one while it runs" ]
  run -1 --separate-stderr gantry restore db
  [ "$stderr" = "gantry: container 'db' has no checkpoint: \`gantry checkpoint db\` makes one while it runs" ]
  run -1 --separate-stderr gantry restore nope
  [ "$stderr" = "gantry: no container \"nope\". 'gantry ps -a' lists those there are" ]
  gantry rm -f db
}

@test "a container that is not there: one sentence, whoever is asked" {
  said="gantry: no container \"nope\". 'gantry ps -a' lists those there are"
  for words in "exec nope true" "exec -d nope true" "stats nope" "logs nope" "attach nope" "inspect nope" "wait nope" \
    "stop nope" "rm nope" "pause nope" "checkpoint nope"; do
    # shellcheck disable=SC2086
    run ! --separate-stderr gantry $words
    [ "$stderr" = "$said" ] || { echo "$words: $stderr" >&2; false; }
  done
  gantry run --name over --rootfs "$ROOT" /bin/true
  run -1 --separate-stderr gantry stats over
  [ "$stderr" = 'gantry: container "over" does not run, so it uses nothing' ]
  gantry rm over
}

@test "what a launch is refused for is said in the flags' words, and nothing is left" {
  while IFS='|' read -r words said; do
    # shellcheck disable=SC2086
    run -125 --separate-stderr in_root --cidfile "$DIR/cid" --pidfile "$DIR/pid" $words /bin/true
    [[ "$stderr" == "gantry: $said"* ]] || { echo "$words: $stderr" >&2; false; }
    [ ! -e "$DIR/cid" ] && [ ! -e "$DIR/pid" ]
  done <<'END'
--cpus 9999|--cpus 9999: must be 0.01 to 
--memory 1k|--memory 1024: must be 
--memory-swap 64m|--memory-swap 67108864: needs --memory
--memory 64m --memory-reservation 128m|--memory-reservation 134217728: must not be above --memory
--cpuset 4000|--cpuset 4000: this host has 0
--oom-score-adj 1001|--oom-score-adj 1001: must be -1000 to 1000
--ulimit wings=2|--ulimit: name "wings": 
--uri http://127.0.0.1:1/x#sha256=12|--uri: sha256 "12": 
--hostname a_b!|--hostname a_b!: 
--user -|--user -: 
--blkio-weight 9|--blkio-weight 9: must be 10 to 1000
--sysctl kernel.panic=1|--sysctl: 
END
  [ -z "$(gantry ps -aq)" ]
}

@test "an executor that died leaves its launcher: executor stop says so" {
  gantry run -d --name web --rootfs "$ROOT" /bin/sleep 100
  kill -9 "$(executor_pid)"
  run -1 --separate-stderr gantry executor stop
  [ "$stderr" = "gantry: no executor listens on $GANTRY_RUNTIME_DIR/gantry.sock, but the launcher of one that died runs on, and has 1 container.
  \`gantry ps -a\` starts an executor that takes them over; then: gantry executor stop" ]
  gantry rm -f web
}

@test "no root, no executor; no permission, what to do" {
  chmod 755 "$DIR"
  unprivileged() { setpriv --reuid 65534 --regid 65534 --clear-groups "$BIN/gantry" "$@"; }
  gantry ps
  run -1 --separate-stderr unprivileged ps
  [[ "$stderr" == "gantry: no permission to use $GANTRY_RUNTIME_DIR/gantry.sock: "*"sudo gantry"* ]]
  run -1 --separate-stderr unprivileged --runtime-dir "$DIR/nowhere" ps
  [ "$stderr" = "gantry: no executor listens on $DIR/nowhere/gantry.sock, and only root can start one: sudo gantry …, or sudo gantry executor first" ]
  run -1 --separate-stderr unprivileged executor
  [ "$stderr" = "gantry: the executor makes containers, which only root can: sudo gantry executor" ]
}

@test "import of what is no image names the file" {
  run -1 --separate-stderr gantry import /etc/passwd tools
  [[ "$stderr" == "gantry: /etc/passwd: not a tar archive: "* ]]
  run -1 --separate-stderr gantry import - tools </etc/passwd
  [[ "$stderr" == "gantry: stdin: not a tar archive: "* ]]
  run -1 --separate-stderr gantry import "$DIR/absent" tools
  [ "$stderr" = "gantry: $DIR/absent: No such file or directory" ]
}

@test "doctor names the CRIU it uses, and its version" {
  [[ "$(gantry doctor --json | jq -r '.findings[] | select(.feature == "checkpoint and restore").detail')" =~ ^CRIU\ [0-9.]+,\ /.*/criu ]]
}

@test "the id is .id in the JSON of every command" {
  id=$(gantry run -d --name web --json --rootfs "$ROOT" /bin/sleep 100 | jq -r .id)
  [ "$(gantry ps --json | jq -r '.[0].id')" = "$id" ]
  [ "$(gantry inspect --json web | jq -r '.[0].id')" = "$id" ]
  [ "$(gantry inspect web | jq -r '.[0].container.container_id.value')" = "$id" ]
  [ "$(gantry stats --json | jq -r '.[0].id')" = "$id" ]
  gantry rm -f web
}

@test "run --json: the container's streams stay its own, the last line of stderr is how it ended" {
  run -3 --separate-stderr in_root --json /bin/sh -c 'echo out; echo err >&2; exit 3'
  [ "$output" = out ]
  [ "${stderr_lines[0]}" = err ]
  [ "$(jq -c '[.status, .exit.kind]' <<<"${stderr_lines[1]}")" = '[3,"EXITED"]' ]
  [ "${#stderr_lines[@]}" = 2 ]
}

# shows LINE: the log of `both` has it. Each line is asked for only when the one before is in its file.
shows() { gantry logs both 2>&1 | grep -qxF "$1"; }

@test "logs: stdout and stderr in the order in which they came" {
  mkdir -p "$DIR/turn"
  gantry run -d --name both -v "$DIR/turn:/srv" --rootfs "$ROOT" /bin/sh -c \
    'for i in 1 2 3; do for s in out err; do while [ ! -e /srv/$s$i ]; do sleep 0.02; done
       [ $s = out ] && echo $s$i || echo $s$i >&2; done; done'
  for line in out1 err1 out2 err2 out3 err3; do
    touch "$DIR/turn/$line"
    wait_until shows "$line"
    sleep 0.02  # the index tells hundredths of a second apart
  done
  gantry wait both
  [ "$(gantry logs both 2>&1 | tr '\n' ' ')" = "out1 err1 out2 err2 out3 err3 " ]
  [ "$(gantry logs -f both 2>&1 | tr '\n' ' ')" = "out1 err1 out2 err2 out3 err3 " ]
  [ "$(gantry logs both 2>/dev/null | tr '\n' ' ')" = "out1 out2 out3 " ]
  # The last lines of both together.
  [ "$(gantry logs --tail 3 both 2>&1 | tr '\n' ' ')" = "err2 out3 err3 " ]
  [ "$(gantry logs --tail 1 both 2>&1)" = err3 ]
  [ "$(gantry logs --tail 100 both 2>&1 | wc -l)" = 6 ]
  [ "$(gantry logs --tail 1 both 2>/dev/null)" = "" ]
  [ "$(gantry logs --tail 1 --no-stderr both)" = out3 ]
  gantry rm both
}

@test "an empty value is no value: --memory=\"$UNSET\" does not mean unlimited" {
  for flag in memory cpus pids user network restart name; do
    run -125 --separate-stderr gantry run --rm "--$flag=" --rootfs "$ROOT" /bin/true
    [[ "$stderr" == "gantry: --$flag needs a value: "* ]]
  done
}

@test "streams that are closed: stdin is empty, and what cannot be printed is said" {
  gantry ps
  run -1 --separate-stderr bash -c "$BIN/gantry ps >&-"
  [[ "$stderr" == "gantry: stdout: "*"Bad file descriptor" ]]
  run -125 --separate-stderr bash -c "$BIN/gantry run --rm --rootfs $ROOT echo x >&-"
  [[ "$stderr" == "gantry: write the container's output: Bad file descriptor"* ]]
  wait_until none_left
  [ "$(in_root -i cat <&-)" = "" ]
  run -125 --separate-stderr bash -c "$BIN/gantry run -it --rm --rootfs $ROOT sh <&-"
  [[ "$stderr" == "gantry: -t lends this terminal to the command, and stdin is none"* ]]
  run -0 bash -c "$BIN/gantry run --rm --rootfs $ROOT sh -c 'echo out; echo err >&2' 2>&-"
  [ "$output" = out ]
  wait_until none_left
}

@test "a reader that goes away ends the container; bytes are passed as they are" {
  run -141 bash -c "set -o pipefail; $BIN/gantry run --rm --name loud --rootfs $ROOT yes | head -n 1"
  [ "$output" = y ]
  wait_until none_left
  head -c 100000 /dev/urandom >"$DIR/bytes"
  in_root -i cat <"$DIR/bytes" | cmp - "$DIR/bytes"
  gantry run -d --name web --rootfs "$ROOT" sleep 100
  gantry exec -i web cat <"$DIR/bytes" | cmp - "$DIR/bytes"
  gantry rm -f web
}

@test "a reader that goes away ends export, cp and save as it ends any command, and who waits for more" {
  gantry run -d --name web --rootfs "$ROOT" /bin/sh -c 'echo one; exec sleep 100'
  for words in "export web" "cp web:/bin -"; do
    run -141 --separate-stderr bash -c "set -o pipefail; $BIN/gantry $words | head -c 10 | wc -c"
    [ "$output" = 10 ]
    [ -z "$stderr" ]
  done
  # Nothing comes after the first line, and they end all the same.
  for words in "logs -f web" "events --since 5m --filter event=start"; do
    run -141 --separate-stderr bash -c "set -o pipefail; timeout 20 $BIN/gantry $words | head -n 1 | wc -l"
    [ "$output" = 1 ]
    [ -z "$stderr" ]
  done
  gantry rm -f web
}

@test "an image that is not there: the one that was meant, else how to bring it" {
  mkdir -p "$DIR/image/bin"
  cp "$ROOT/bin/busybox" "$DIR/image/bin/sh"
  tar -C "$DIR/image" -c . | gantry import - tools
  run -141 --separate-stderr bash -c "set -o pipefail; $BIN/gantry image save tools | head -c 10 | wc -c"
  [ "$output$stderr" = 10 ]
  run -125 --separate-stderr gantry run --rm tool sh
  [[ "$stderr" == "gantry: no image "*"Did you mean \"tools\"?" ]]
  run -125 --separate-stderr gantry run --rm quay.io/prometheus/busybox:1.2 sh
  [[ "$stderr" == *"skopeo copy docker://quay.io/prometheus/busybox:1.2 oci:DIR, then gantry import DIR quay.io/prometheus/busybox:1.2" ]]
  gantry rmi tools
}

@test "what is always so is taken" {
  for words in "-q" "--sig-proxy=true" "--sig-proxy" "--platform linux/$(dpkg --print-architecture)"; do
    # shellcheck disable=SC2086
    in_root $words /bin/true
  done
  gantry images -a
  gantry run --name over --rootfs "$ROOT" /bin/true
  gantry rm -fv over
  if ! [ -e /sys/fs/selinux/enforce ]; then in_root -v "$DIR:/srv:z" /bin/true; in_root -v "$DIR:/srv:ro,Z" /bin/true; fi
}

@test "inspect -f: every member that a container has is known" {
  gantry run --name over --restart no --rootfs "$ROOT" /bin/true
  for path in $(gantry inspect over | jq -r '.[0] | (keys[] | "." + .), (.container | keys[] | ".container." + .)'); do
    gantry inspect -f "{{json $path}}" over
  done
  gantry rm over
}

@test "no room for its output ends what was begun" {
  gantry run -d --name web --rootfs "$ROOT" sleep 100
  run -125 --separate-stderr bash -c "$BIN/gantry exec web yes >/dev/full"
  [ "$stderr" = "gantry: write the container's output: No space left on device" ]
  wait_until bash -c "[ \$($BIN/gantry top --format x web | wc -l) = 1 ]"
  run -125 --separate-stderr bash -c "$BIN/gantry run --rm --name loud --rootfs $ROOT yes >/dev/full"
  gantry rm -f web
  wait_until none_left
}

@test "a full stdout is said" {
  run -1 --separate-stderr bash -c "$BIN/gantry version >/dev/full"
  [[ "$stderr" == *"stdout: "*"No space left on device"* ]]
}
