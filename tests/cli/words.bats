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
  for words in "run --privileged x" "run --gpus all x"; do
    # shellcheck disable=SC2086
    run --separate-stderr gantry $words
    [ "$status" = 125 ]
    [[ "$stderr" == "gantry: there is no -"*" here: "* ]]
  done
  run --separate-stderr gantry inspect -f '{{.State}}' web
  [ "$status" = 125 ]
  [[ "$stderr" == "gantry: there is no -f here: "*jq* ]]
  for word in pull push port restart cp network volume container image info; do
    run --separate-stderr gantry "$word" x
    [ "$status" = 125 ]
    [[ "$stderr" == "gantry: \"$word\" is not a command: "* ]]
  done
  run --separate-stderr gantry unpause web
  [ "$status" = 125 ]
  [[ "$stderr" == 'gantry: "unpause" is not a command: here it is `gantry resume`'* ]]
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
}

@test "the program is static and small" {
  run readelf -lW "$BIN/gantry"
  [[ "$output" != *INTERP* ]]
  [ "$(stat -c %s "$BIN/gantry")" -lt 12000000 ]
}
