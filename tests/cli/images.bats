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
  [[ "$(gantry image history plain:1 | sed -n 2p)" == "-  "*"nothing is known of how it was made" ]]
  gantry rmi plain:1
  gantry run --rm plain:good
  run -1 --separate-stderr gantry image tag nope plain:x
  [[ "$stderr" == "gantry: no image 'nope"* ]]
  run -125 --separate-stderr gantry image tag plain:good 'No Such'
  [[ "$stderr" == 'gantry: image "No Such": '* ]]
  run -125 --separate-stderr gantry image inspcet plain:good
  [[ "$stderr" == *'did you mean "gantry image inspect"?'* ]]
  run -125 --separate-stderr gantry image ls
  [[ "$stderr" == *'here it is `gantry images`'* ]]
}

@test "save and load: the same digests and names; skopeo reads it; a root file system is none" {
  gantry import "$ROOT" saved:1 --cmd /bin/true --label for=saving
  gantry image tag saved:1 host:5000/saved:2
  digest=$(gantry image inspect -f '{{.image.digest}}' saved:1)
  gantry image save -o "$DIR/one.tar" saved:1 host:5000/saved:2
  gantry image save saved:1 >"$DIR/two.tar"
  gantry image save "$digest" | gzip >"$DIR/nameless.tar.gz"
  [ "$(skopeo inspect --raw "oci-archive:$DIR/two.tar" | sha256sum | cut -d' ' -f1)" = "${digest#sha256:}" ]
  [ "$(skopeo inspect "docker-archive:$DIR/two.tar:docker.io/library/saved:1" | jq -r .Os)" = linux ]
  gantry rmi saved:1 host:5000/saved:2
  gantry image load -i "$DIR/one.tar"
  [ "$(gantry image inspect -f '{{json .image.references}} {{.image.digest}}' saved:1)" = '["host:5000/saved:2","saved:1"] '"$digest" ]
  gantry rmi saved:1 host:5000/saved:2
  [[ "$(gantry image load <"$DIR/nameless.tar.gz" 2>"$DIR/words")" == "loaded $digest "* ]]
  grep -q 'it has no name' "$DIR/words"
  gantry run --rm "$digest"
  wait_until gantry rmi "$digest"  # the container may go a moment after its command
  skopeo copy -q "oci-archive:$DIR/two.tar" "docker-archive:$DIR/docker.tar:again:1"
  gantry image load -q -i "$DIR/docker.tar"
  gantry run --rm again:1
  wait_until gantry rmi again:1
  mkdir "$DIR/docker" && tar -C "$DIR/docker" -xf "$DIR/docker.tar"
  jq '.[0].RepoTags += ["Bad Name:1", "good:2"]' "$DIR/docker/manifest.json" >"$DIR/names" && cp "$DIR/names" "$DIR/docker/manifest.json"
  run -0 --separate-stderr gantry image load -q -i <(tar -C "$DIR/docker" -c .)
  [ "$stderr" = 'gantry: left out a name in the archive, which no image can have: "Bad Name:1"' ]
  [[ "$output" == "loaded again:1, good:2 sha256:"* ]]
  gantry rmi again:1 good:2
  echo '[]' >"$DIR/docker/manifest.json"
  run -1 --separate-stderr gantry image load -i <(tar -C "$DIR/docker" -c .)
  [[ "$stderr" == *": manifest.json: names no image" ]]
  for z in xz bzip2; do
    "$z" -k <"$DIR/docker.tar" >"$DIR/docker.tar.$z"
    gantry image load -q -i "$DIR/docker.tar.$z"
    gantry run --rm again:1
    wait_until gantry rmi again:1
  done
  tar -C "$ROOT" -cf "$DIR/plain.tar" .
  run -1 --separate-stderr gantry image load -i "$DIR/plain.tar"
  [[ "$stderr" == *"it is no image, neither an OCI layout nor of"*"gantry import"* ]]
}

@test "save: what cannot be is said, and no file is made" {
  gantry import "$ROOT" saved:1 --cmd /bin/true
  run -1 --separate-stderr gantry image save -o "$DIR/none.tar" saved:1 nope:3
  [[ "$stderr" == "gantry: no image 'nope:3'"* ]]
  run -125 --separate-stderr gantry image save -o "$DIR/none.tar" 'No Such'
  [[ "$stderr" == 'gantry: image "No Such": '* ]]
  [ -z "$(ls "$DIR"/none.tar* 2>/dev/null)" ]
  run -1 --separate-stderr bash -c "'$BIN/gantry' image save saved:1 >/dev/full"
  [[ "$stderr" == *"write stdout"*"No space left"* ]]
  run -1 --separate-stderr bash -c "'$BIN/gantry' image save saved:1 >&-"
  [[ "$stderr" == *"stdout is closed: give -o FILE"* ]]
  run -125 --separate-stderr gantry image save
  run -125 --separate-stderr gantry image load -i
  run -125 --separate-stderr gantry image load -o x
  [[ "$stderr" == *"--output is for"* ]]
  run -1 --separate-stderr gantry image load -i "$DIR/not-there"
  [[ "$stderr" == *not-there* ]]
  gantry rmi saved:1
}

@test "commit: a further layer, with what is gone, and what the image is to say; it runs and is saved" {
  gantry import "$ROOT" base:1 -e KEEP=1 -e CHANGE=1 --label one=1 --cmd /bin/true
  # shellcheck disable=SC2016  # for the container's shell
  gantry run -d --name work base:1 /bin/sh -c 'b=/bin/busybox; echo new >/etc/new; $b rm -r /srv /etc/group; $b mkdir /srv; echo x >/srv/x; $b chmod 4711 /srv/x; sleep 1000'
  wait_until gantry exec work /bin/busybox test -u /srv/x
  digest=$(gantry commit -m 'why it was' -a 'Me <me@here>' -c 'CMD ["/bin/cat", "/etc/new"]' -c 'ENV CHANGE=2 MORE="a b"' \
    -c 'EXPOSE 80 53/udp' -c 'label two=2' -c 'USER user' -c 'WORKDIR /srv' -c 'VOLUME /data' -c 'STOPSIGNAL QUIT' work made:1)
  [ "$(gantry ps --format '{{.State}}' --filter name=work)" = running ]
  [ "$(gantry image inspect -f '{{.image.digest}}' made:1)" = "$digest" ]
  [ "$(gantry image inspect made:1 | jq -c '.[0].config.config | [.Cmd, .Env, .ExposedPorts, .Labels, .User, .WorkingDir, .Volumes, .StopSignal]')" = \
    '[["/bin/cat","/etc/new"],["KEEP=1","CHANGE=2","MORE=a b"],{"80/tcp":{},"53/udp":{}},{"one":"1","two":"2"},"user","/srv",{"/data":{}},"QUIT"]' ]
  [[ "$(gantry image history made:1 | sed -n 2p)" == *"/bin/sh -c b="*"why it was" ]]
  [ "$(gantry run --rm made:1)" = new ]
  [ "$(gantry run --rm -u root made:1 /bin/sh -c 'test ! -e /etc/group && cat /etc/new && ls /srv && /bin/busybox stat -c %a /srv/x')" = $'new\nx\n4711' ]
  gantry rm -f work
  gantry run -d --name second --entrypoint /bin/sh made:1 -c 'sleep 1000'
  gantry commit --pause=false -c 'ENTRYPOINT ["/bin/echo"]' second made:2
  [ "$(gantry image inspect made:2 | jq -c '.[0] | [.config.config.Entrypoint, .config.config.Cmd, (.layers | length)]')" = '[["/bin/echo"],null,3]' ]
  gantry rm -f second
  gantry image save -o "$DIR/made.tar" made:2
  [ "$(skopeo inspect "oci-archive:$DIR/made.tar" | jq '.Layers | length')" = 3 ]
  wait_until none_left
  gantry rmi made:1 made:2 base:1
}

@test "commit: what cannot be is said, and nothing is made" {
  gantry import "$ROOT" base:1
  gantry run -d --name work base:1 /bin/sh -c 'echo x >/tmp/.wh.odd; sleep 1000'
  wait_until gantry exec work /bin/busybox test -s /tmp/.wh.odd
  before=$(gantry images --json)
  run -1 --separate-stderr gantry commit work made:1
  [[ "$stderr" == *"gantry: /tmp/.wh.odd: an image cannot have a file of that name: in its layers "*"NAME was removed. Rename it or remove it, and commit again" ]]
  for change in 'RUN x' 'ENV' 'ENV =x' 'CMD [1]' 'LABEL "a=b' ''; do
    run -125 --separate-stderr gantry commit -c "$change" work made:1
    [[ "$stderr" == *"--change"* ]]
  done
  for change in 'EXPOSE 0' 'EXPOSE 80/ip' 'WORKDIR here' 'STOPSIGNAL NOPE' 'VOLUME /proc'; do
    run -125 --separate-stderr gantry commit -c "$change" work made:1
    [[ "$stderr" == *"--change: "* ]]
  done
  run -125 --separate-stderr gantry commit work 'No Such'
  [[ "$stderr" == 'gantry: name "No Such": '* ]]
  run -1 --separate-stderr gantry commit nope made:1
  [[ "$stderr" == *'no container "nope"'* ]]
  gantry run -d --name plain --rootfs "$ROOT" /bin/sleep 1000
  run -1 --separate-stderr gantry commit plain made:1
  [[ "$stderr" == *"gantry export plain | gantry import - NAME"* ]]
  [ "$(gantry images --json)" = "$before" ]
  gantry rm -f work plain
  gantry rmi base:1
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
  run -125 --separate-stderr gantry import "$ROOT" wrong -w relative
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
  [ "$stderr" = "gantry: image tools:latest is used by container user: remove that container first" ]
  gantry rm -f user
  id=$(gantry run -d tools /bin/sleep 100)
  run -1 --separate-stderr gantry rmi tools
  [[ "$stderr" == *" is used by container ${id::12}: "* ]]
  gantry rm -f "$id"
  gantry rmi tools
  run ! grep -q '^tools' <(gantry images)
  run -1 --separate-stderr gantry rmi tools
  [[ "$stderr" == "gantry: "*tools* ]]
  run -125 --separate-stderr gantry rmi 'No Such'
  run -125 --separate-stderr gantry image inspect 'No Such'
  run -125 --separate-stderr gantry run --rm tools /bin/true
}

@test "rubbish is refused, and nothing of it stays" {
  before=$(gantry images --json | jq -c 'map(.references) | sort')
  echo "not a tar" >"$DIR/rubbish"
  run -1 --separate-stderr gantry import "$DIR/rubbish" rubbish
  [[ "$stderr" == "gantry: "* ]]
  head -c 100000 "$DIR/root.tar" >"$DIR/cut.tar"
  run -1 --separate-stderr gantry import "$DIR/cut.tar" cut
  run -125 --separate-stderr gantry import "$DIR/root.tar" 'No Such:Name:Here'
  [ "$(gantry images --json | jq -c 'map(.references) | sort')" = "$before" ]
}
