#!/usr/bin/env bats
# What needs no executor: help, mistakes, version, documentation.
load helpers

setup() { make_directory; }
teardown() { rm -rf "$DIR"; }

@test "no command: an overview on stdout, status 0" {
  run --separate-stderr gantry
  [ "$status" = 0 ]
  [[ "$output" == *"Usage: gantry COMMAND"*"First steps:"* ]]
  [ -z "$stderr" ]
}

@test "every command of the overview explains itself with examples" {
  count=0
  while read -r name _; do
    run --separate-stderr gantry "$name" --help
    [ "$status" = 0 ]
    [[ "$output" == "Usage: gantry $name"* ]]
    [[ "$output" == *"Examples:"* ]]
    [ "$output" = "$(gantry help "$name")" ]
    count=$((count + 1))
  done < <(gantry --help | sed -n 's/^  \([a-z]\+\)  .*/\1/p')
  [ "$count" -ge 20 ]
}

@test "a command that is not one: the one that was meant" {
  run --separate-stderr gantry inspcet
  [ "$status" = 125 ]
  [ "$stderr" = $'gantry: "inspcet" is not a command; did you mean "gantry inspect"?\nSee \'gantry --help\'' ]
  run --separate-stderr gantry frobnicate
  [ "$status" = 125 ]
  [ "$stderr" = $'gantry: "frobnicate" is not a command\nSee \'gantry --help\'' ]
}

@test "a flag that is not one: the one that was meant" {
  run --separate-stderr gantry run --memroy 1m x
  [ "$status" = 125 ]
  [ "$stderr" = $'gantry: unknown flag --memroy (did you mean --memory?)\nSee \'gantry run --help\'' ]
}

@test "docker's words: understood, or told what to do instead" {
  for words in "run --gpus all x" "run --userns host x"; do
    # shellcheck disable=SC2086
    run --separate-stderr gantry $words
    [ "$status" = 125 ]
    [[ "$stderr" == "gantry: there is no -"*" here: "* ]]
  done
  for word in pull push port network volume container info; do
    run --separate-stderr gantry "$word" x
    [ "$status" = 125 ]
    [[ "$stderr" == "gantry: \"$word\" is not a command: "* ]]
  done
  run --separate-stderr gantry unpause web
  [ "$status" = 125 ]
  [[ "$stderr" == 'gantry: "unpause" is not a command: here it is `gantry resume`'* ]]
}

@test "docker's flags that are not here: what there is instead" {
  while IFS='|' read -r words said; do
    # shellcheck disable=SC2086
    run -125 --separate-stderr gantry --runtime-dir "$DIR/run" $words
    [[ "$stderr" == "gantry: there is no -$said"* ]] || { echo "$words: $stderr" >&2; false; }
  done <<'END'
ps -s|s here: `gantry system df`
rm --volumes=false web|-volumes here: the container's own volumes always go
ps --sort name|-sort here: the newest are first
run --sig-proxy=false image|-sig-proxy here: signals always go
run --platform linux/s390x image|-platform here: an image is for this
stats --all|-all here: what does not run uses nothing
run --volumes-from web image|-volumes-from here: name each
run --runtime runc image|-runtime here: Gantry is the runtime
stop -a|a here: name each, or $(gantry ps -q)
END
  run -125 --separate-stderr gantry run --network container:web image
  [[ "$stderr" == *'`gantry exec web COMMAND`'* ]]
  run -125 --separate-stderr gantry prune -a --older-than never  # -a is --images
  [[ "$stderr" == "gantry: --older-than"* ]]
  [ ! -e "$DIR/run" ]
}

@test "a --format that cannot be filled in is refused before anything is asked" {
  while IFS='|' read -r words said; do
    # shellcheck disable=SC2086
    run -125 --separate-stderr gantry --runtime-dir "$DIR/run" $words
    [[ "$stderr" == "gantry: --format"*"$said"* ]] || { echo "$words: $stderr" >&2; false; }
  done <<'END'
ps --format {{.Nope}}|there is no {{.Nope}}; there are {{.ID}}
ps --format {{.ID|{{ without }}
stats --format {{.Nope}}|there are {{.ID}} {{.Name}} {{.CPU}}
images --format {{.Repository}}|there are {{.Name}}
top --format {{.Nope}} web|there are {{.PID}}
inspect -f {{state}} web|a name begins with a dot
inspect -f {{.State.Pid}} web|here it is {{.container.pid}}
inspect -f {{.Nope}} web|without --format all that there are is shown
inspect -f {{.nope}} web|there is no {{.nope}}; there are id, container
inspect -f {{.container.stat}} web|there is no {{.container.stat}}; there are container_id, name, state
inspect -f {{.container.exit.cod}} web|there is no {{.container.exit.cod}}; there are kind, code
inspect -f {{.launch.gantry_spec.resources.memory}} web|there are cpus, cpu_shares
inspect -f {{.container.name.first}} web|there is no {{.container.name.first}}; {{json .container.name}} is all of that
inspect -f {{.container.ports.host_port}} web|{{json .container.ports}} is all of that
image inspect -f {{.image.nope}} tools|there is no {{.image.nope}}; there are references, digest
image inspect -f {{.nope}} tools|there are config, image, layers
inspect -f {{range}} web|there is no range here
inspect -f {{.NetworkSettings.Networks.bridge.IPAddress}} web|here it is {{.container.ip_addresses}}
END
  [ ! -e "$DIR/run" ]
}

@test "docker's -h is --hostname, and help is --help" {
  for words in "run --rm -h myhost tools hostname" "create -h myhost tools"; do
    # shellcheck disable=SC2086
    run -125 --separate-stderr gantry $words
    [[ "$stderr" == "gantry: -h: here it is --hostname NAME; help is --help"* ]]
  done
  [[ "$(gantry run -h)" == "Usage: gantry run"* ]]
  [[ "$(gantry run --help -h)" == "Usage: gantry run"* ]]
}

@test "a number of the executor's that is none" {
  for value in lots 1001 -1; do
    run -125 --separate-stderr gantry --runtime-dir "$DIR/run" executor --prepared-children "$value"
    [[ "$stderr" == "gantry: --prepared-children is a whole number from 0 to 1000, not \"$value\""* ]]
  done
}

@test "a setting of the executor's that is wrong: 125, as for a flag that is none" {
  [ "$(id -u)" = 0 ] || skip "needs root"
  for words in "--log-max-size lots" "--listen-tls-cert x"; do
    # shellcheck disable=SC2086
    run -125 --separate-stderr gantry --runtime-dir "$DIR/run" executor $words
    [[ "$stderr" == "gantry-executor: ${words%% *}"* ]]
  done
  [ ! -e "$DIR/run" ]
}

@test "what the tools say of themselves" {
  [[ "$("$GANTRY_TOP/tools/quickstart" --help)" == "From a fresh Debian 12 machine"* ]]
}

@test "missing arguments are named" {
  for words in run kill "rm -f" logs wait checkpoint import rmi inspect; do
    # shellcheck disable=SC2086
    run --separate-stderr gantry $words
    [ "$status" = 125 ]
    [[ "$stderr" == "gantry: needs "* ]]
  done
}

@test "bad values stop before anything is started" {
  run --separate-stderr gantry --runtime-dir "$DIR/run" run --memory lots image
  [ "$status" = 125 ]
  [[ "$stderr" == "gantry: --memory is a size like 64m or 1.5g, not \"lots\""* ]]
  [ ! -e "$DIR/run" ]
}

@test "a capability that is not one: the one that was meant, or where they are listed" {
  run -125 --separate-stderr gantry run --cap-add NETADMIN image
  [ "$stderr" = $'gantry: --cap-add "NETADMIN" is no capability; did you mean NET_ADMIN?\nSee \'gantry run --help\'' ]
  run -125 --separate-stderr gantry run --cap-drop BOGUS image
  [ "$stderr" = $'gantry: --cap-drop "BOGUS" is no capability: \'man 7 capabilities\' lists them, and ALL is every one\nSee \'gantry run --help\'' ]
}

@test "flags that contradict each other are both named" {
  while IFS='|' read -r words said; do
    # shellcheck disable=SC2086
    run -125 --separate-stderr gantry --runtime-dir "$DIR/run" $words
    [[ "$stderr" == "gantry: $said"$'\n'"See 'gantry "* ]] || { echo "$words: $stderr" >&2; false; }
  done <<'END'
logs --no-stdout --no-stderr web|--no-stdout and --no-stderr together leave nothing: give one of them
logs -f --until 1m web|--until ends the log, and -f goes on: give one of them
logs --since 1m --until 2m web|--since 1m is not before --until 2m: nothing lies between them
ps -l -n 2|--latest is --last 1: give one of them
ps -q --json|--quiet, --json and --format each say how it is printed: give one of them
images -q --format {{.Name}}|--quiet, --json and --format each say how it is printed: give one of them
inspect --phases --format {{.id}} web|--format and --phases each say how it is printed: give one of them
stats --watch --no-stream|--watch goes on, and --no-stream looks once: give one of them
exec -d --detach-keys ctrl-a web sh|--detach-keys are typed at a terminal, and -d leaves it: give one of them
attach --no-stdin --detach-keys ctrl-a web|--detach-keys are typed, and --no-stdin only looks on: give one of them
run -d -i image|-i passes on this shell's stdin, and -d leaves it: give one of them
run -d --detach-keys ctrl-a image|--detach-keys are typed at a terminal, and -d leaves it: give one of them
run --memory 64m --memory 128m image|--memory is given twice, as "64m" and as "128m": give one of them
run -v /a:/x --tmpfs /x image|-v /a:/x and --tmpfs /x: both are for the place /x; give one of them
run --tmpfs /dev/shm --shm-size 1m image|--tmpfs /dev/shm and --shm-size 1m: both are for the place /dev/shm; give one of them
run --label a=1 --label a=2 image|--label a=1 and --label a=2: both set a; give one of them
run --cap-add chown --cap-drop CAP_CHOWN image|--cap-add chown and --cap-drop CAP_CHOWN contradict each other: give one of them
run --privileged --cap-drop CHOWN image|--privileged and --cap-drop CHOWN: it has every capability; --cap-add ALL --cap-drop NAME leaves one out
run --security-opt seccomp=unconfined --security-opt seccomp=/x image|--security-opt seccomp=unconfined and --security-opt seccomp=/x: both say seccomp; give one of them
run --network none -p 1:1 image|-p 1:1 and --network none: ports are published on the network bridge only
run -p 80:1 -p 80:2 image|-p 80:1 and -p 80:2: both publish 80; give one of them
run --rm --restart always image|--restart and --rm exclude each other: what is removed cannot run again
END
  [ ! -e "$DIR/run" ]
}

@test "values that are wrong, empty or huge: the flag, the value, and what is legal" {
  while IFS='|' read -r words said; do
    # shellcheck disable=SC2086
    run -125 --separate-stderr gantry --runtime-dir "$DIR/run" $words
    [[ "$stderr" == "gantry: $said"* ]] || { echo "$words: $stderr" >&2; false; }
  done <<'END'
kill -s NOPE web|--signal: "NOPE" is not a signal. Names: TERM
run --stop-signal NOPE image|--stop-signal: "NOPE" is not a signal. Names: TERM
run --cpus much image|--cpus is a number, not "much"
run --pids 1e9 image|--pids is a whole number, not "1e9"
run --memory 99999999t image|--memory is too large: 99999999t
run --device /dev/absent image|--device /dev/absent: No such file or directory
run --device /etc/passwd:/dev/x image|--device /etc/passwd:/dev/x: /etc/passwd is no device
run --device /dev/null image|--device /dev/null: every container has /dev/null
run --device /dev/loop-control:/x image|--device /dev/loop-control:/x: its place in the container is below /dev, not "/x"
run --device-cgroup-rule c image|--device-cgroup-rule "c": write b or c, MAJOR:MINOR
run --device-read-bps /dev/null:1m image|--device-read-bps /dev/null:1m: /dev/null is no disk
run --device-read-bps 1m image|--device-read-bps 1m: write DEVICE:SIZE
run --device-write-iops /dev/null:0 image|--device-write-iops /dev/null:0: the rate is above 0
run --security-opt seccomp=/absent image|--security-opt seccomp: open /absent: No such file or directory
run --security-opt apparmor=mine image|--security-opt apparmor=mine: known are seccomp=unconfined
logs --tail many web|--tail is a number of lines or "all", not "many"
END
  [ ! -e "$DIR/run" ]
}

@test "executor: words that are not its" {
  run -125 --separate-stderr gantry executor foo
  [ "$stderr" = $'gantry: "foo" is not a command of `gantry executor`: those are stop and upgrade\nSee \'gantry executor --help\'' ]
  run -125 --separate-stderr gantry executor stpo
  [ "$stderr" = $'gantry: "stpo" is not a command of `gantry executor`; did you mean "gantry executor stop"?\nSee \'gantry executor --help\'' ]
  run -125 --separate-stderr gantry executor --date-dir /x
  [ "$stderr" = $'gantry: unknown flag --date-dir (did you mean --data-dir?)\nSee \'gantry executor --help\'' ]
}

@test "executor --help has every flag of gantry-executor" {
  help=$(gantry executor --help)
  for flag in $("$BIN/gantry-executor" --help | grep -o '^ *--[a-z-]*'); do
    case $flag in --on-demand | --check-configuration | --version | --list-failpoints) continue ;; esac
    grep -q -- "^ \+$flag\b" <<<"$help" || { echo "$flag is missing" >&2; false; }
  done
  [[ "$help" == *"--data-dir DIR"*"--prepared-children N"* ]]
}

@test "tools/bench NAME --help builds nothing and needs no root" {
  mkdir "$DIR/bin"
  printf '#!/bin/sh\nexit 66\n' | tee "$DIR/bin/cmake" "$DIR/bin/apt-get" "$DIR/bin/id" >/dev/null
  chmod +x "$DIR"/bin/*
  PATH=$DIR/bin:$PATH run -0 "$GANTRY_TOP/tools/bench" launch --help
  [[ "${lines[0]}" == "usage: tools/bench launch "* ]]
}

@test "version: text, JSON, -v, --version" {
  version=$(gantry version)
  [[ "$version" =~ ^gantry\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
  [ "$(gantry --version)" = "$version" ]
  [ "$(gantry -v)" = "$version" ]
  [ "gantry $(gantry version --json | jq -r .version)" = "$version" ]
}

@test "docs/cli.md and the man page are what the program says" {
  diff -u "$GANTRY_TOP/docs/cli.md" <(gantry help --markdown)
  diff -u "$GANTRY_TOP/docs/man/gantry.1" <(gantry help --man)
}

@test "the man page is accepted by a formatter" {
  command -v man >/dev/null || command -v groff >/dev/null || skip "no man and no groff on this host"
  if command -v groff >/dev/null; then
    run groff -man -Tutf8 -wall -z "$GANTRY_TOP/docs/man/gantry.1"
    [ -z "$output" ]
  else
    MANWIDTH=100 man -l "$GANTRY_TOP/docs/man/gantry.1" | grep -q 'gantry run'
  fi
}

@test "a socket that nobody answers on, and no program to start" {
  cp "$BIN/gantry" "$DIR/gantry"
  run --separate-stderr env PATH=/nonexistent "$DIR/gantry" --here --runtime-dir "$DIR/run" ps
  [ "$status" = 1 ]
  [[ "$stderr" == "gantry: the executor did not start: it ended with status 127"*"Reinstall Gantry"* ]]
}

@test "a full disk or a closed stdout is no success" {
  run bash -c "'$BIN/gantry' --help >/dev/full"
  [ "$status" != 0 ]
  run -1 --separate-stderr bash -c "'$BIN/gantry' --help >&-"
  [[ "$stderr" == "gantry: stdout: "*"Bad file descriptor" ]]
  run -125 bash -c "'$BIN/gantry' frobnicate 2>&-"
}

@test "the program is static and small" {
  run readelf -lW "$BIN/gantry"
  [[ "$output" != *INTERP* ]]
  [ "$(stat -c %s "$BIN/gantry")" -lt 12000000 ]
}
