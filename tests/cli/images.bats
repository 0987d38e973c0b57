#!/usr/bin/env bats
# Images, against a real executor.
load helpers

setup_file() { begin_private_host; }
teardown_file() { end_private_host; }

@test "a directory" {
  run --separate-stderr gantry import "$ROOT" tools
  [ "$status" = 0 ]
  [[ "$output" == "imported tools:latest sha256:"* ]]
  [ "$(gantry run --rm tools /bin/echo said)" = said ]
  [ "$(gantry run --rm --entrypoint /bin/echo tools said)" = said ]
  run -125 --separate-stderr gantry run --rm tools
  [[ "$stderr" == *command* ]]
  gantry images | grep -q '^tools:latest '
}

@test "a tar by path and from stdin, plain and compressed" {
  tar -C "$ROOT" -cf "$DIR/root.tar" .
  gantry import "$DIR/root.tar" plain:1
  [ "$(gantry run --rm plain:1 /bin/echo one)" = one ]
  gzip -c "$DIR/root.tar" | gantry import - zipped
  [ "$(gantry run --rm zipped /bin/echo two)" = two ]
}

@test "images by name; an import tells the names it gave" {
  for name in zebra ant:2 ant:1; do
    [ "$(gantry import "$DIR/root.tar" "$name" | cut -d' ' -f2)" = "$(sed '/:/!s/$/:latest/' <<<"$name")" ]
  done
  gantry images --format '{{.Name}}' >"$DIR/names"
  sort -c "$DIR/names"
  [ "$(grep -c '^ant:[12]$\|^zebra:latest$' "$DIR/names")" = 3 ]
  gantry rmi zebra ant:1 ant:2
}

@test "image tag, inspect, history" {
  gantry import "$DIR/root.tar" plain:1 --cmd /bin/true
  [ "$(gantry image tag plain:1 plain:good)" = plain:good ]
  [ "$(gantry image inspect plain:good | jq -c '.[0] | [(.image.references | index("plain:1") != null), .config.config.Cmd, (.layers | length)]')" = '[true,["/bin/true"],1]' ]
  [ "$(gantry image inspect -f '{{.config.os}}' plain:1)" = linux ]
  [[ "$(gantry image history plain:1 | head -n 1)" == CREATED*SIZE*"MADE BY"*COMMENT ]]
  gantry rmi plain:1
  gantry run --rm plain:good
  run -1 --separate-stderr gantry image tag nope plain:x
  [[ "$stderr" == "gantry: no image 'nope"* ]]
  run -1 --separate-stderr gantry image tag plain:good 'No Such'
  [[ "$stderr" == 'gantry: image "No Such": '* ]]
  run -125 --separate-stderr gantry image inspcet plain:good
  [[ "$stderr" == *'did you mean "gantry image inspect"?'* ]]
  run -125 --separate-stderr gantry image ls
  [[ "$stderr" == *'here it is `gantry images`'* ]]
}

@test "a root file system with what its image is to say" {
  gantry import "$ROOT" said --entrypoint /bin/echo --entrypoint "hello, " --cmd=-n --cmd world \
    -e NAME=value -w /srv/app -u user --label a=b --volume /data --stop-signal QUIT
  [ "$(gantry run --rm said)" = "hello,  -n world" ]
  [ "$(gantry run --rm said there)" = "hello,  there" ]
  # shellcheck disable=SC2016  # for the container's shell
  script='echo $NAME $(id -u) $PWD; grep -c " /data " /proc/self/mountinfo'
  [ "$(gantry run --rm --entrypoint /bin/sh said -c "$script")" = $'value 1000 /srv/app\n1' ]
  run -125 --separate-stderr gantry import "$ROOT" wrong -e =x
  [[ "$stderr" == *'-e "=x" has no name'* ]]
  run -1 --separate-stderr gantry import "$ROOT" wrong -w relative
  [[ "$stderr" == *cwd*absolute* ]]
  run ! grep -q '^wrong' <(gantry images)
}

@test "-v PLACE: a volume with the image's content, gone with the container" {
  volumes() { find "$DIR/data/volumes" -mindepth 1 2>/dev/null | wc -l; }
  before=$(volumes)
  as_before() { [ "$(volumes)" = "$before" ]; }
  # shellcheck disable=SC2016  # for the container's shell
  script='[ "$(head -n 1 /etc/passwd)" = root:x:0:0:root:/root:/bin/sh ] && echo x >/etc/new && echo wrote'
  [ "$(gantry run --rm --read-only -v /etc tools /bin/sh -c "$script")" = wrote ]
  wait_until as_before  # the container may go a moment after its command
  run -125 --separate-stderr gantry run --rm -v /etc --rootfs "$ROOT" /bin/true
  [[ "$stderr" == *"needs an image"* ]]
}

@test "an OCI layout, as a directory" {
  command -v umoci >/dev/null || skip "umoci is not installed"
  umoci init --layout "$DIR/layout"
  umoci new --image "$DIR/layout:v1"
  umoci unpack --image "$DIR/layout:v1" "$DIR/bundle"
  cp -a "$ROOT"/. "$DIR/bundle/rootfs/"
  umoci repack --image "$DIR/layout:v1" "$DIR/bundle"
  umoci config --image "$DIR/layout:v1" --config.cmd /bin/echo --config.cmd configured
  gantry import "$DIR/layout" layout:v1
  [ "$(gantry run --rm layout:v1)" = configured ]
  run -1 --separate-stderr gantry import "$DIR/layout" layout:v2 --cmd sh
  [[ "$stderr" == *"configuration of its own"* ]]
}

@test "writes in one container are not seen in the next" {
  gantry run --rm tools /bin/touch /new
  run ! gantry run --rm tools /bin/ls /new
}

@test "rmi: gone from the list; what a container uses stays; what is not there is said" {
  gantry run -d --name user tools /bin/sleep 100
  run -1 --separate-stderr gantry rmi tools
  [[ "$stderr" == "gantry: "*tools* ]]
  gantry rm -f user
  gantry rmi tools
  run ! grep -q '^tools' <(gantry images)
  run -1 --separate-stderr gantry rmi tools
  [[ "$stderr" == "gantry: "*tools* ]]
  run -125 --separate-stderr gantry run --rm tools /bin/true
}

@test "rubbish is refused, and nothing of it stays" {
  before=$(gantry images --json | jq -c 'map(.references) | sort')
  echo "not a tar" >"$DIR/rubbish"
  run -1 --separate-stderr gantry import "$DIR/rubbish" rubbish
  [[ "$stderr" == "gantry: "* ]]
  head -c 100000 "$DIR/root.tar" >"$DIR/cut.tar"
  run -1 --separate-stderr gantry import "$DIR/cut.tar" cut
  run -1 --separate-stderr gantry import "$DIR/root.tar" 'No Such:Name:Here'
  [ "$(gantry images --json | jq -c 'map(.references) | sort')" = "$before" ]
}
