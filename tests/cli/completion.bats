#!/usr/bin/env bats
# What TAB offers, in the three shells.
load helpers

setup_file() { begin_private_host; }
teardown_file() { end_private_host; }

in_bash() { # WORD…
  bash -c 'source <(gantry completion bash); compopt() { echo "files"; }
           COMP_WORDS=(gantry "$@"); COMP_CWORD=$#; _gantry; printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}
in_zsh() {
  zsh -fc 'compdef() { :; }; _describe() { print -rl -- "${(@P)2}"; }; _files() { echo files; }
           source <(gantry completion zsh); words=(gantry "$@"); CURRENT=${#words}; _gantry' zsh "$@"
}
in_fish() { fish -c 'gantry completion fish | source; complete -C "$argv"' "gantry $*"; }

setup() {
  # The shells call `gantry` by its name.
  PATH=$BIN:$PATH
}

@test "commands" {
  [ "$(in_bash ins)" = inspect ]
  [[ "$(in_zsh ins)" == "inspect:Show everything"* ]]
  [[ "$(in_fish ins)" == inspect$'\t'"Show everything"* ]]
  [ "$(in_bash help ins)" = inspect ]
}

@test "flags and their values" {
  [ "$(in_bash run --restart on)" = on-failure ]
  [ "$(in_bash run --netw)" = --network ]
  [[ "$(in_zsh run --netw)" == "--network:none (loopback only"* ]]
  [ "$(in_fish run --network br)" = bridge ]
}

@test "files, where a file is meant and in a container's command" {
  [ "$(in_bash run --rootfs '' | head -n 1)" = files ]
  [ "$(in_zsh import '')" = files ]
  [ "$(in_bash run IMAGE '' | head -n 1)" = files ]
}

@test "the keys of filters" {
  [ "$(in_bash ps --filter st | sort | xargs)" = "files state= status=" ]
  [ "$(in_bash events -f ev | xargs)" = "files event=" ]
  [[ "$(in_fish ps --filter he)" == health=* ]]
}

@test "containers by name while an executor runs; it starts none" {
  [ -z "$(in_bash stop '')" ]
  [ ! -e "$GANTRY_RUNTIME_DIR/gantry.sock" ]
  gantry run -d --name colossus --rootfs "$ROOT" /bin/sleep 100
  [ "$(in_bash stop co)" = colossus ]
  [ "$(in_bash rm -f co)" = colossus ]
  [[ "$(in_zsh logs co)" == "colossus:running"* ]]
  [ "$(in_bash cp co | xargs)" = "files colossus:" ]  # nospace
  [ "$(in_bash cp ./file co | xargs)" = "files colossus:" ]
  [[ "$(in_zsh cp co)" == "colossus\\::running"* ]]
  [ "$(in_bash cp /etc/ho | head -n 1)" = files ]
  [[ "$(in_fish exec -it co)" == colossus$'\t'running* ]]
  gantry rm -f colossus
}

@test "a shell that has none" {
  run -125 --separate-stderr gantry completion tcsh
  [[ "$stderr" == *"bash, zsh and fish"* ]]
}
