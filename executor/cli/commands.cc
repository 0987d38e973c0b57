// The table of commands: what each is called and what is said about it. Change texts here.
#include <algorithm>
#include <array>

#include "executor/cli/command_list.h"

namespace gantry::cli {
namespace {
constexpr std::string_view kContainers = "Containers";
constexpr std::string_view kImages = "Images";
constexpr std::string_view kTasks = "Tasks of schedulers";
constexpr std::string_view kHost = "This host";

constexpr auto kCommands = std::to_array<CommandInfo>({
    {"run", kContainers, "[flags] IMAGE [COMMAND [ARG...]]", "Run a command in a new container",
     "IMAGE is a name or digest from `gantry images`; with --rootfs DIR a directory is the root "
     "file system and\nthere is no IMAGE. Without COMMAND the image's own runs. In the foreground "
     "stdout and stderr come apart,\nsignals go to the container, and the exit status is the "
     "container's (125 Gantry's own failure, 126 not\nexecutable, 127 not found, 128+N ended by "
     "signal N). Stdin is /dev/null unless -i is given. With --json\nstdout and stderr are still "
     "the container's, and one line more on stderr says how it ended: id, status, exit;\nwith -d "
     "the one line is on stdout: id, name.\nAll namespaces, the default seccomp "
     "profile, no-new-privileges and Docker's capabilities without NET_RAW are on; the\nnetwork is "
     "none (loopback only) unless asked for.",
     "gantry run --rm tools echo hello  # run, print, remove\n"
     "gantry run -d --name web -p 8080:80 --network bridge nginx  # a server, published on 8080\n"
     "gantry run --rm --memory 64m --cpus 0.5 --pids 100 tools ./job  # with limits\n"
     "echo data | gantry run -i --rm tools wc -c  # with stdin\n"
     "gantry run -it --rm tools sh  # a shell at this terminal\n"
     "gantry run --rm --rootfs ./rootfs /bin/sh -c 'id'  # from a directory\n"
     "gantry run --rm -v ./src:/src:ro -w /src tools ls  # a directory of the host, read-only\n"
     "gantry run -d --restart always --health-cmd 'curl -sf 127.0.0.1' --health-on-failure kill "
     "nginx"
     "  # again when it hangs\n",
     make_run, kUsageStatus},
    {"create", kContainers, "[flags] IMAGE [COMMAND [ARG...]]",
     "Make a container without running it",
     "All that `gantry run` would make but its processes, with the same flags; the id is printed.\n"
     "`gantry start` runs it, `gantry start -a` stays with it (-ai: with stdin, if it was created "
     "with -i),\n`gantry cp` fills it first, `gantry rm` removes it. It is still there after a "
     "reboot, but for one with --rm.",
     "gantry create --name web -p 8080:80 nginx; gantry start web\n"
     "id=$(gantry create -i --rm tools wc -c); gantry start -ai \"$id\" <file\n"
     "gantry create --name job tools ./job && gantry cp ./job job:/job && gantry start -a job\n",
     make_create, kUsageStatus},
    {"exec", kContainers, "[flags] CONTAINER COMMAND [ARG...]",
     "Run a command in a running container",
     "In its namespaces, limits and rights, with its environment, directory and user unless the "
     "flags say otherwise.\nIt ends when the container does, and what it leaves in the background "
     "ends with it; the container goes on. "
     "Signals and exit status are those of\n`gantry run`, and so is what happens when the executor "
     "is replaced: nothing.",
     "gantry exec web ps  # look around\n"
     "gantry exec -u nobody -w /tmp -e A=1 web env  # as somebody else\n"
     "gantry exec --privileged web mount -t tmpfs none /mnt  # with rights it lacks\n"
     "gantry exec -it web sh  # a shell\n"
     "tar c . | gantry exec -i web tar x -C /srv  # with stdin\n",
     make_exec, kUsageStatus},
    {"attach", kContainers, "[flags] CONTAINER", "Be at a running container's output and input",
     "As if `gantry run` had been started here: its output from now on, this shell's signals and, "
     "where it was run\nwith -i or -t, its stdin. Its exit status is ours. ctrl-p ctrl-q leaves a "
     "terminal's container running. One\nat a time has the input.",
     "gantry run -dit --name sh tools sh; gantry attach sh\n"
     "gantry attach --no-stdin web\n",
     make_attach, kUsageStatus},
    {"ps", kContainers, "[flags]", "List containers",
     "Running ones; with -a also those that have ended and are not removed. With --json an array "
     "of the executor's\nmessages; the id is `.id` in each, as it is in `inspect --json`, `stats "
     "--json` and `run -d --json`.",
     "gantry ps -a  # all\n"
     "gantry ps -q --filter label=job=nightly  # ids only\n"
     "gantry ps --json | jq '.[].id'  # for programs\n",
     make_ps},
    {"inspect", kContainers, "[flags] CONTAINER...", "Show everything known about containers",
     "JSON: id, state, limits, mounts, network, exit. With --phases a table of where the time of "
     "the "
     "launch went.",
     "gantry inspect web\n"
     "gantry inspect --phases web  # microseconds per step of the launch\n",
     make_inspect},
    {"logs", kContainers, "[flags] CONTAINER", "Print a container's output",
     "Its stdout to stdout, its stderr to stderr. Works until the container is removed.",
     "gantry logs -f web  # follow until it ends\n"
     "gantry logs --tail 20 web  # the last lines\n",
     make_logs},
    {"stats", kContainers, "[flags] [CONTAINER...]", "Show CPU, memory and processes in use",
     "Once; with --watch again every second until interrupted. CPU is measured over half a second, "
     "if anything runs.",
     "gantry stats\n"
     "gantry stats --watch web\n",
     make_stats},
    {"events", kContainers, "[flags]", "Show what happens to containers and images, as it happens",
     "A line for each, until interrupted or --until; with --json an object a line. --since begins "
     "with what the\nexecutor still knows: the last 2048 events since it was started. When it is "
     "restarted this goes on with the\nnext one, whose first event is its own start. Health checks "
     "are told only when they change what is said.",
     "gantry events --filter event=die --format '{{.Name}} {{.Attributes}}'  # who ended, and how\n"
     "gantry events --since 10m --until 0s  # the last ten minutes, and no more\n"
     "gantry events --json --filter container=web | jq .action\n",
     make_events},
    {"top", kContainers, "[flags] CONTAINER", "Show the processes of a container",
     "Of its commands by `gantry exec` too. PID and PARENT are numbers of this host, INSIDE is the "
     "container's own\nnumber of the process, MEMORY what is resident.",
     "gantry top web\n"
     "gantry top --format '{{.PID}} {{.Command}}' web\n",
     make_top},
    {"cp", kContainers, "[flags] SOURCE DESTINATION", "Copy files into a container or out of it",
     "One of the two is CONTAINER:PATH, the other a path here, or - for a tar at stdin or stdout.\n"
     "Containers that have ended keep their files, too. Into an existing directory the source "
     "goes\n"
     "as it is called, else it gets the destination's name; SOURCE/. means what is in it. Links "
     "are\n"
     "copied, not followed; a container's links stay inside it. What is there is replaced, and "
     "keeps\n"
     "neither owner nor mode. Holes of sparse files stay holes. Device nodes (but in a tar) and "
     "sockets are\nleft out, and counted on stderr. Files come out through GNU tar, which has to "
     "be "
     "on the PATH.",
     "gantry cp site.conf web:/etc/nginx/conf.d\n"
     "gantry cp web:/var/log/nginx ./logs\n"
     "gantry cp ./site/. web:/usr/share/nginx/html  # what is in it\n"
     "gantry cp web:/etc - | tar t  # look into it\n",
     make_cp},
    {"export", kContainers, "[flags] CONTAINER", "Write a container's files as a tar",
     "Its whole root, without what is mounted there. `gantry import` makes an image of it.",
     "gantry export -o web.tar web\n"
     "gantry export web | gantry import - web-copy:1\n",
     make_export},
    {"diff", kContainers, "CONTAINER", "List what a container changed in its image's files",
     "A line for each: A (added), C (changed, or something in it) or D (deleted), and the path. "
     "What is in a\ndirectory that was deleted is not listed. Of running containers and of those "
     "that have ended; what is\nmounted into them (volumes, /proc) is not part of it. With --json "
     "an array of {kind, path}.",
     "gantry diff web\n"
     "gantry diff web | grep '^A /etc/'  # files that are new there\n"
     "gantry diff --json web | jq -r '.[].path'\n",
     make_diff},
    {"commit", kContainers, "[flags] CONTAINER [NAME[:TAG]]",
     "Make an image of a container's files as they are now",
     "A further layer over the container's image, with what it wrote (`gantry diff`) and without "
     "what is mounted.\nThe new image says what the container's image says, not what `gantry run` "
     "was given; --change says more:\nCMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR, "
     "STOPSIGNAL, as in a Dockerfile. A new ENTRYPOINT\nempties CMD, unless that is given, too. "
     "Running processes stand still while their files are read.\nThe layer is written whole to the "
     "disk of images, holes as zeros, and leaves 64 MiB free there. A file whose name\nbegins with "
     ".wh., or whose path is longer than 4095 bytes, no image can have. Prints the image's digest.",
     "gantry commit web web:patched\n"
     "gantry commit -m 'with curl' -c 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' -c 'EXPOSE 80' "
     "web "
     "web:2\n"
     "gantry run -d --name web2 web:patched\n",
     make_commit},
    {"wait", kContainers, "CONTAINER...", "Wait until containers end and print their exit statuses",
     "One line per container, in the order given: 0 to 255, or 128+N when signal N ended it. "
     "Answers until the\ncontainer is removed. With a restart policy each run has an end: this "
     "waits "
     "for that of the run of now, or\ntells that of the last one while the next is about to begin.",
     "status=$(gantry wait job)  # its exit status\n"
     "gantry wait first second  # those of both, a line each\n",
     make_wait},
    {"kill", kContainers, "[flags] CONTAINER...", "Send a signal to containers",
     "SIGKILL unless --signal says otherwise. The first process of a container ignores signals "
     "it has no handler\nfor, except SIGKILL and SIGSTOP. SIGKILL also ends a restart policy: it "
     "does not run again by itself (but\nwith `--restart always` after a reboot). After another "
     "signal that ends it the policy counts.",
     "gantry kill web\n"
     "gantry kill --signal HUP web  # reload\n",
     make_kill},
    {"stop", kContainers, "[flags] CONTAINER...", "Ask containers to end, then end them",
     "Sends the container's stop signal (the image's, else SIGTERM), waits --time, then SIGKILL. "
     "It "
     "ends a restart\npolicy too: a stopped container does not run again by itself (but with "
     "`--restart always` after a reboot).",
     "gantry stop web\n"
     "gantry stop --time 1 web db\n",
     make_stop},
    {"start", kContainers, "[flags] CONTAINER...",
     "Run containers that were created, or have ended once more",
     "The same id, name, limits, files and log; the command begins anew. With a restart policy it "
     "counts again. With\n-a its output comes here, signals go to it, and its exit status is ours.",
     "gantry start web\n"
     "gantry start -a job; echo $?  # wait for it\n",
     make_start},
    {"restart", kContainers, "[flags] CONTAINER...", "Stop containers and start them again",
     "`gantry stop`, then `gantry start`; one that has ended is only started.",
     "gantry restart web\n"
     "gantry restart --time 1 web db\n",
     make_restart},
    {"update", kContainers, "[flags] CONTAINER...", "Change limits and restart policy",
     "While it runs, at once, and for its later runs; what is not given stays. A limit the kernel "
     "refuses (less\nmemory than is in use) changes nothing. --memory 0, --cpus 0 and --pids -1 "
     "lift "
     "the limit.",
     "gantry update --memory 512m --cpus 1.5 web\n"
     "gantry update --restart unless-stopped web\n",
     make_update},
    {"rename", kContainers, "CONTAINER NAME", "Give a container another name",
     "Running or ended; id and host name stay.", "gantry rename web web-old\n", make_rename},
    {"pause", kContainers, "CONTAINER...", "Freeze all processes of containers", "",
     "gantry pause web\n", make_pause},
    {"resume", kContainers, "CONTAINER...", "Let paused containers go on", "",
     "gantry resume web\n", make_resume},
    {"rm", kContainers, "[flags] CONTAINER...", "Remove containers that have ended",
     "Record, logs, writable layer and the image's volumes. A running one only with -f, which ends "
     "it first.",
     "gantry rm job\n"
     "gantry rm -f web\n"
     "gantry rm $(gantry ps -aq)  # all\n",
     make_rm},
    {"prune", kContainers, "[flags]", "Remove all containers that have ended",
     "With --images also every image that no container uses. Those that are about to run again "
     "stay. "
     "The executor\nremoves old ones by itself too: exited_containers, exited_seconds and "
     "disk_headroom_percent of its settings.",
     "gantry prune\n"
     "gantry prune -f --images --older-than 24h\n",
     make_prune},
    {"checkpoint", kContainers, "[flags] CONTAINER",
     "Write a running container's processes to disk and end it",
     "Memory, open files, and where each process was. `gantry restore` brings it back with the "
     "same id, limits and\nlogs. If it fails the container goes on as it was. Checkpoints go with "
     "their container: `gantry rm` removes\nthem. Not for containers on the host's network, or run "
     "with --rm. Needs CRIU: `gantry doctor` says whether it\nworks here.",
     "gantry checkpoint db  # freeze, write, end\n"
     "gantry checkpoint --leave-running --name before-upgrade db  # only write\n",
     make_checkpoint},
    {"restore", kContainers, "[flags] CONTAINER", "Bring a checkpointed container back",
     "Its processes go on where they were, with the files as they are now: what was written after "
     "the checkpoint\nstays. The checkpoint is kept. If it fails, nothing has run, and it can be "
     "tried again.",
     "gantry restore db\n"
     "gantry restore --from before-upgrade db\n",
     make_restore},
    {"images", kImages, "[flags]", "List images", "",
     "gantry images\n"
     "gantry images -q  # digests only\n",
     make_images},
    {"image", kImages,
     "inspect IMAGE... | history IMAGE | tag IMAGE NAME[:TAG] | save IMAGE... | load",
     "Show an image, give it a further name, write images to a file and read them",
     "inspect prints JSON: names, digest, layers, and the image's own configuration. history shows "
     "the steps it was\nmade by, the newest first, with the bytes that each added. tag takes the "
     "name from the image that had it. save\nwrites a tar, an OCI layout with the names given, "
     "which `docker load`, `skopeo copy oci-archive:FILE` and\nload read; load takes those of "
     "`docker save` as well, compressed (gzip, zstd, xz, bzip2) or not. The digests\nstay the "
     "same.",
     "gantry image inspect -f '{{json .config.config.Env}}' nginx\n"
     "gantry image history nginx\n"
     "gantry image tag nginx:latest nginx:good\n"
     "gantry image save -o images.tar nginx:good redis\n"
     "gantry image save nginx | ssh other gantry image load  # to another host\n"
     "docker save nginx | gantry image load\n",
     make_image},
    {"import", kImages, "[flags] PATH [NAME[:TAG]]", "Make an image from files",
     "PATH is an OCI image layout (a directory or a tar), a `docker save` tar, or a root file "
     "system (a directory\nor a tar; `-` reads a tar from stdin). Tars may be compressed (gzip, "
     "zstd, "
     "xz, bzip2). It is read by this\nprogram, so the executor needs no access to it. A root file "
     "system says nothing about its command: the flags\ndo, a flag for each word, or `gantry run` "
     "does it each time.",
     "gantry import ./rootfs tools  # a directory\n"
     "gantry import ./rootfs web --entrypoint nginx --cmd=-g --cmd='daemon off;' --volume "
     "/var/log\n"
     "docker save nginx | gantry import - nginx  # from Docker\n"
     "gantry import alpine.tar alpine:3.20\n",
     make_import},
    {"rmi", kImages, "IMAGE...", "Remove images",
     "Content that no other image uses goes with it. An image that a container uses stays.",
     "gantry rmi alpine:3.20\n", make_rmi},
    {"submit", kTasks, "[flags] TASK.json",
     "Run a Mesos task through the scheduler API and wait for its end",
     "TASK.json is a Mesos TaskInfo (`-`: stdin). agent_id is filled in, and so are name, task_id "
     "and resources\nwhere they are missing. States go to stderr, the task's output to stdout and "
     "stderr. Exits 0 only on\nTASK_FINISHED.",
     "gantry submit task.json\n"
     "echo '{\"command\":{\"value\":\"echo hello\"}}' | gantry submit -\n",
     make_submit},
    {"executor", kHost, "[flags] | stop | upgrade [PROGRAM]",
     "Start the executor, end it, or replace it in place",
     "The long-lived daemon that keeps the containers; runs in the foreground. Needed only to have "
     "it before the\nfirst command: every other command starts one on demand. `gantry executor "
     "stop` ends executor, launcher and\nlogger, or refuses while containers run. `gantry executor "
     "upgrade` makes the running executor, launcher and\nlogger the programs beside this one (or "
     "PROGRAM, a gantry-executor, and those beside it): same pids,\ncontainers go on. Each setting "
     "is also read from the environment (GANTRY_DATA_DIR) and from the file\n(\"data_dir\"); a "
     "flag wins over both.",
     "gantry executor  # in the foreground\n"
     "gantry executor --data-dir /srv/gantry &  # images and logs elsewhere\n"
     "gantry executor stop\n"
     "gantry executor upgrade  # after new programs were installed\n",
     make_executor},
    {"system", kHost, "info | df", "Show this host's containers and images in numbers",
     "info: versions, containers by state, images, kernel, CPUs and memory. df: what images take "
     "on "
     "disk, what\ncontainers wrote into their own file systems (without volumes), their logs and "
     "sandboxes, and how much of\nit `gantry prune --images` gives back.",
     "gantry system info\n"
     "gantry system df --json | jq .images.reclaimable_bytes\n",
     make_system},
    {"doctor", kHost, "[--bundle [FILE.tar]]", "Say what this host can do and what is missing",
     "One line per feature: ok, limited or missing, and what to do about it. Exits 1 when "
     "something is missing\nthat a default container needs.\n"
     "With --bundle a report to hand in, also where the executor is down: the findings, versions, "
     "kernel,\nmounts, cgroups, settings, metrics, the list of containers and images, the end of "
     "the executor's log.\nLeft out are what is in containers and images, containers' output, "
     "values of environment variables,\nand what looks like a secret: password=..., --token ..., "
     "keys known by their looks, user:password@ of\nan address; of containers' commands and labels "
     "also NAME=..., long words of mixed letters and digits, what known\nclients take as a "
     "password "
     "(mysql -pWORD, redis-cli -a WORD, curl -u USER:WORD), and words of letters and\ndigits after "
     "any -p, -w and -a. [hidden] stands there. That is a guess: read the report before you hand "
     "it on.",
     "gantry doctor\n"
     "gantry doctor --bundle report.tar  # to hand in\n"
     "gantry doctor --bundle - | tar -xO gantry-report/containers.json  # what it says of them\n"
     "gantry doctor --json\n",
     make_doctor},
    {"version", kHost, "[flags]", "Print the version",
     "Of this program; with --executor also the executor's.", "gantry version\n", make_version},
    {"completion", kHost, "bash|zsh|fish", "Print a script that lets TAB complete",
     "Commands, flags, their values, containers and images. Offers containers and images only "
     "while "
     "an executor\nruns; starts none.",
     "source <(gantry completion bash)  # in this shell\n"
     "gantry completion zsh > \"${fpath[1]}/_gantry\"\n"
     "gantry completion fish > ~/.config/fish/completions/gantry.fish\n",
     make_completion, kUsageStatus},
    {"complete", kHost, "-- [WORD...]", "What TAB offers after these words", "", "", make_complete,
     kUsageStatus, true},
    {"help", kHost, "[COMMAND]", "Explain a command", "", "", make_help, kUsageStatus, true},
});
}  // namespace

std::span<const CommandInfo> commands() { return kCommands; }

const CommandInfo* find_command(std::string_view name) {
  const auto it = std::ranges::find(kCommands, name, &CommandInfo::name);
  return it == kCommands.end() ? nullptr : &*it;
}

Error usage_error(std::string message) { return {Errc::invalid, std::move(message)}; }
bool is_usage_error(const Error& error) { return error.is(Errc::invalid); }
int status_of(const Error& error) { return is_usage_error(error) ? kUsageStatus : 1; }

Result<void> want_arguments(const std::vector<std::string>& arguments, size_t least, size_t most,
                            std::string_view what) {
  if (arguments.size() < least) return usage_error(cat("needs ", what));
  if (arguments.size() > most) {
    return usage_error(cat("takes only ", what, "; \"", arguments[most], "\" is too much"));
  }
  return {};
}
}  // namespace gantry::cli
