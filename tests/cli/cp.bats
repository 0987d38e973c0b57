#!/usr/bin/env bats
# gantry cp and export: files into containers and out of them, running or not, and past hostile links.
load helpers

setup_file() {
  begin_private_host
  tar -C "$ROOT" -c . | gantry import - base:1 >/dev/null
  gantry run -d --name run base:1 /bin/sleep 1000
  gantry run -d --name ended base:1 /bin/sh -c 'echo kept >/tmp/kept'
  gantry wait ended
}
teardown_file() { end_private_host; }

setup() {
  cd "$BATS_TEST_TMPDIR"
  mkdir -p site/sub
  echo index >site/index
  echo deep >site/sub/deep
  ln -s sub/deep site/link
  ln site/index site/second
}

@test "a directory into a running and into an ended one, and back: the same tree" {
  for name in run ended; do
    gantry cp site "$name:/srv"
    gantry cp "$name:/srv/site" "back-$name"
    diff -r --no-dereference site "back-$name"
    [ "$(stat -c %h "back-$name/index")" = 2 ]
    gantry cp site/. "$name:/tmp"
    gantry cp "$name:/tmp/." "contents-$name" || { mkdir "contents-$name"; gantry cp "$name:/tmp/." "contents-$name"; }
    [ "$(cat "contents-$name/index")" = index ]
  done
  [ "$(cat contents-ended/kept)" = kept ]
  [ "$(gantry exec run /bin/cat /srv/site/sub/deep)" = deep ]
}

@test "a file: into a directory, under another name, over a file, never over a directory" {
  gantry cp site/index run:/srv
  gantry cp site/index run:/srv/other
  [ "$(gantry exec run /bin/cat /srv/index /srv/other)" = $'index\nindex' ]
  echo new >new
  gantry cp new run:/srv/other
  [ "$(gantry exec run /bin/cat /srv/other)" = new ]
  gantry cp run:/srv/other out
  [ "$(cat out)" = new ]
  gantry cp run:/srv/other site
  [ "$(cat site/other)" = new ]
  gantry exec run /bin/sh -c '/bin/busybox mkdir /srv/dir /srv/dir/new'
  run -1 --separate-stderr gantry cp new run:/srv/dir
  [[ "$stderr" == *"a directory is there: new"* ]]
  run -1 --separate-stderr gantry cp site run:/srv/other
  [[ "$stderr" == *"/srv/other is no directory"* ]]
}

@test "files that the kernel makes as they are read; what is mounted stays" {
  gantry cp run:/proc/version version
  [ "$(cat version)" = "$(cat /proc/version)" ]
  run -1 --separate-stderr gantry cp site/index run:/etc/hosts
  [[ "$stderr" == *"something is mounted there"* ]]
}

@test "device nodes and sockets are left out and counted; one alone is refused" {
  mkdir odd
  mknod odd/null c 1 3
  echo x >odd/file
  gantry cp odd run:/tmp
  python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("odd/sock")'
  run -0 --separate-stderr gantry cp odd run:/tmp
  [ "$stderr" = "gantry: left out 1 socket: no files, so there is nothing to copy" ]
  run -0 --separate-stderr gantry cp run:/tmp/odd back
  [ "$stderr" = "gantry: left out 1 device node or socket: no files, so there is nothing to copy" ]
  [ "$(ls back)" = file ]
  gantry cp run:/tmp/odd - | tar -tv | grep -q '^c.* odd/null$'
  run -1 --separate-stderr gantry cp run:/tmp/odd/null null
  [[ "$stderr" == "gantry: /tmp/odd/null is a device node: there is nothing in it that could be copied; as a tar (to -) it is" ]]
  [ ! -e null ]
  run -1 --separate-stderr gantry cp odd/sock run:/tmp
  [[ "$stderr" == "gantry: odd/sock is a socket: "* ]]
  run -1 --separate-stderr gantry cp run:/proc/self/status .
  [[ "$stderr" == *"there is no /proc/self/status in the container: that is the process that asks, and none of its own does; take one by its number, /proc/1" ]]
}

@test "holes of sparse files stay holes, in and out" {
  mkdir sparse
  for at in 0 1 40; do printf middle | dd of=sparse/file bs=1M seek=$at conv=notrunc status=none; done
  truncate -s 300M sparse/file
  truncate -s 200M sparse/empty
  echo x >sparse/full
  before=$(stat -c %b sparse/file)
  gantry cp sparse run:/tmp
  [ "$(gantry exec run /bin/busybox sha1sum /tmp/sparse/file | cut -c 1-40)" = "$(sha1sum sparse/file | cut -c 1-40)" ]
  [ "$(gantry exec run /bin/busybox stat -c %b /tmp/sparse/file)" -le $((before + 16)) ]
  gantry cp run:/tmp/sparse back
  cmp sparse/file back/file && cmp sparse/empty back/empty && cmp sparse/full back/full
  [ "$(stat -c %b back/file)" -le $((before + 16)) ]
  [ "$(stat -c %b back/empty)" -le 16 ]
  [ "$(gantry cp run:/tmp/sparse/file - | wc -c)" -gt 300000000 ]
}

@test "owners: root's inside and ours here, unless -a" {
  chown 1234:1234 site/index
  gantry cp site/index run:/tmp/mine
  [ "$(gantry exec run /bin/busybox stat -c %u:%g /tmp/mine)" = 0:0 ]
  gantry cp -a site/index run:/tmp/theirs
  [ "$(gantry exec run /bin/busybox stat -c %u:%g /tmp/theirs)" = 1234:1234 ]
  gantry cp run:/tmp/theirs a && gantry cp -a run:/tmp/theirs b
  [ "$(stat -c %u a b | tr '\n' ' ')" = "0 1234 " ]
}

@test "links of a hostile container lead nowhere but into itself" {
  echo secret >secret
  gantry exec run /bin/sh -c "ln -s $PWD /tmp/out; ln -s $PWD/secret /tmp/file; ln -s / /tmp/root"
  run -1 --separate-stderr gantry cp run:/tmp/out/secret got
  [[ "$stderr" == *"there is no /tmp/out/secret in the container"* ]]
  gantry cp run:/tmp/file got
  [ -L got ]
  run -1 gantry cp site/index run:/tmp/out/secret
  [ "$(cat secret)" = secret ]
  gantry cp site/index run:/tmp/root/srv/by-root
  [ "$(gantry exec run /bin/cat /srv/by-root)" = index ]
  # A link that is changed all the time between the host's /etc and a directory of the container's.
  gantry exec -d run /bin/sh -c 'while :; do ln -sfn /etc /srv/race; ln -sfn /tmp /srv/race; done' ||
    gantry exec run /bin/sh -c '(while :; do ln -sfn /etc /srv/race; ln -sfn /tmp /srv/race; done) >/dev/null 2>&1 &'
  for _ in $(seq 30); do gantry cp site/index run:/srv/race/raced 2>/dev/null || true; done
  [ ! -e /etc/raced ] && [ ! -e /tmp/raced ]
}

@test "a tar at stdin and stdout; export is what import takes" {
  tar -c site | gantry cp - run:/tmp
  tar -cz site/sub | gantry cp - run:/root
  [ "$(gantry exec run /bin/cat /root/site/sub/deep)" = deep ]
  [ "$(gantry cp run:/tmp/site - | tar -xO site/sub/deep)" = deep ]
  for place in run:/not-there run:/bin/busybox; do
    run -1 --separate-stderr bash -c "tar -c site | '$BIN/gantry' cp - $place"
    [[ "$stderr" == *"there is no ${place#run:}"* ]]
  done
  gantry export ended | gantry import - again:1
  run -0 --separate-stderr gantry run --rm again:1 /bin/cat /tmp/kept
  [ "$output" = kept ]
  gantry export -o all.tar run
  tar -tf all.tar | grep -qx bin/busybox
  ! tar -tf all.tar | grep -q '^proc/.'
}

@test "rm ends what copies files of the container" {
  big='/bin/busybox dd if=/dev/zero of=/tmp/big bs=1M count=8 2>/dev/null'
  gantry run -d --name leaves base:1 /bin/sh -c "$big; echo done >/tmp/done; sleep 1000"
  gantry run -d --name left base:1 /bin/sh -c "$big"
  gantry wait left
  wait_until gantry exec leaves /bin/test -e /tmp/done
  for name in leaves left; do
    # Of a tar that nobody reads the rest waits.
    mkfifo "out-$name" "in-$name"
    "$BIN/gantry" cp "$name:/tmp" - >"out-$name" 2>"out-$name.err" 3>&- &
    copy=$!
    exec 5<"out-$name"
    "$BIN/gantry" cp - "$name:/root" <"in-$name" 2>"in-$name.err" 3>&- &
    put=$!
    exec 6>"in-$name"
    tar -c site | head -c 600 >&6
    head -c 100 <&5 >/dev/null
    sleep 0.3
    run -0 --separate-stderr timeout 10 "$BIN/gantry" rm -f "$name"
    cat <&5 >/dev/null
    exec 5<&-
    finish $copy
    [ "$status" = 1 ]
    grep -q 'the copy broke off.*; what is at stdout is not whole' "out-$name.err"
    tar -c site | tail -c +601 >&6 || true
    exec 6>&-
    finish $put
    [ "$status" = 1 ]
    grep -q 'was removed meanwhile' "in-$name.err"
  done
}

@test "diff: what is new, changed and gone; a replaced directory; nothing that is not there" {
  # shellcheck disable=SC2016  # for the container's shell
  gantry run -d --name differs base:1 /bin/sh -c 'b=/bin/busybox; echo new >/etc/new; echo more >>/etc/group
    $b rm -r /srv /etc/passwd; $b mkdir /srv; echo x >/srv/x; $b chmod 700 /root; $b mkdir -p /a/b; echo >"/a/n
D x"; $b ln -s /etc /a/link; sleep 1000'
  wait_until gantry exec differs /bin/busybox test -L /a/link
  listed=$'A /a\nA /a/b\nA /a/link\nA /a/n\\nD x\nC /etc\nC /etc/group\nA /etc/new\nD /etc/passwd\nC /root\nC /srv\nA /srv/x'
  [ "$(gantry diff differs)" = "$listed" ]
  gantry kill differs
  [ "$(gantry diff differs)" = "$listed" ]
  [ "$(gantry diff --json differs | jq -c '.[0]')" = '{"kind":"ADDED","path":"/a"}' ]
  gantry run -d --name untouched base:1 /bin/sleep 1000
  [ -z "$(gantry diff untouched)" ]
  [ "$(gantry diff --json untouched)" = '[]' ]
  run -1 --separate-stderr gantry diff nope
  [[ "$stderr" == *'no container "nope"'* ]]
  gantry run -d --name plain --rootfs "$ROOT" /bin/sleep 1000
  run -1 --separate-stderr gantry diff plain
  [[ "$stderr" == *"has no layer of its own over an image"* ]]
  gantry rm -f differs untouched plain
}

@test "what cannot be: said, and nothing is made" {
  run -125 --separate-stderr gantry cp a b
  [[ "$stderr" == *"one of a and b has to be in a container: CONTAINER:PATH"* ]]
  run -125 gantry cp run:/a ended:/b
  run -125 --separate-stderr gantry cp run: .
  [[ "$stderr" == *"run: names no path in the container"* ]]
  echo mine >tmp
  run -1 --separate-stderr gantry cp run:/tmp .
  [[ "$stderr" == *"./tmp is there, and is no directory"* ]] && [ "$(cat tmp)" = mine ]
  run -1 --separate-stderr gantry cp site nope:/srv
  [[ "$stderr" == *'no container "nope"'* ]]
  run -1 --separate-stderr gantry cp run:/nothing here
  [[ "$stderr" == *"there is no /nothing in the container"* ]]
  [ ! -e here ]
  run -1 --separate-stderr gantry cp nothing run:/srv
  [[ "$stderr" == *nothing* ]]
  run -1 gantry cp site/index run:/no/such/place
  run -1 gantry cp run:/srv/index no/such/place
  [ -z "$(ls -d .gantry-cp-* 2>/dev/null)" ]
}

@test "a volume of one that does not run is not there: said, and nothing is copied beside it" {
  mkdir host
  gantry run --name volumes -v "$PWD/host:/m" -v /v base:1 /bin/true
  run -1 --separate-stderr gantry cp site volumes:/m/
  [[ "$stderr" == *"does not run, and /m is mounted while it runs only: start it first, or use $PWD/host on the host" ]]
  run -1 --separate-stderr gantry cp volumes:/v/x there
  [[ "$stderr" == *"/v is mounted while it runs only: start it first" ]]
  [ -z "$(ls host)" ] && [ ! -e there ]
  gantry rm volumes
}

@test "one that has ended is not started while files are copied into it, nor do others copy" {
  mkfifo pipe
  "$BIN/gantry" cp - ended:/srv <pipe >copy 2>&1 3>&- &
  pid=$!
  exec 5>pipe
  tar -c site | head -c 600 >&5
  sleep 1
  run -1 --separate-stderr gantry start ended
  [[ "$stderr" == *"files are being copied into container"*": ask again when that has ended"* ]]
  run -1 --separate-stderr gantry cp site ended:/srv
  [[ "$stderr" == *"files are being copied into container"*": ask again when that has ended"* ]]
  exec 5>&-
  finish $pid
  [ "$status" = 1 ]
  gantry cp site ended:/tmp
}
