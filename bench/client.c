// Times launches through an executor's socket: LAUNCH_CONTAINER, WAIT_CONTAINER and
// REMOVE_CONTAINER answered, in JSON, on one keep-alive connection.
//   client [options] SOCKET ROOT
#include "bench/loop.h"

#include <sys/socket.h>
#include <sys/un.h>

struct target {
  const char* socket;
  const char* root;
  int fd;  // of the process that opened it
  pid_t owner;
};

static void connect_once(struct target* target) {
  if (target->owner == getpid()) return;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(target->socket) >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    loop_die(target->socket);
  }
  memcpy(address.sun_path, target->socket, strlen(target->socket));
  target->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (target->fd < 0 || connect(target->fd, (struct sockaddr*)&address, sizeof(address)) != 0)
    loop_die(target->socket);
  target->owner = getpid();
}

// Reads one answer to its end, by Content-Length or the last chunk; returns the status.
static int read_answer(int fd, char* answer, size_t room) {
  size_t size = 0;
  for (;;) {
    const ssize_t got = read(fd, answer + size, room - 1 - size);
    if (got <= 0) loop_die("read of an answer");
    size += (size_t)got;
    answer[size] = '\0';
    const char* body = strstr(answer, "\r\n\r\n");
    if (body == NULL) continue;
    body += 4;
    const char* length = strcasestr(answer, "\r\ncontent-length:");
    if (length != NULL && length < body) {
      if (answer + size >= body + atol(length + 17)) break;
    } else if (strcasestr(answer, "chunked") == NULL || strstr(body, "0\r\n\r\n") != NULL) {
      break;
    }
  }
  return atoi(answer + strlen("HTTP/1.1 "));
}

static void call(struct target* target, const char* body) {
  char request[4096], answer[16384];
  const int size =
      snprintf(request, sizeof(request),
               "POST /api/v1 HTTP/1.1\r\nHost: gantry\r\nContent-Type: application/json\r\n"
               "Accept: application/json\r\nContent-Length: %zu\r\n\r\n%s",
               strlen(body), body);
  if (write(target->fd, request, (size_t)size) != size) loop_die("write of a request");
  const int status = read_answer(target->fd, answer, sizeof(answer));
  if (status != 200) {
    fprintf(stderr, "%s\nanswered %s\n", body, answer);
    exit(1);
  }
}

static void launch(void* context, int number) {
  struct target* target = context;
  connect_once(target);
  char id[64], body[3072];
  snprintf(id, sizeof(id), "bench-%d-%d", (int)getpid(), number);
  snprintf(
      body, sizeof(body),
      "{\"type\":\"LAUNCH_CONTAINER\",\"launch_container\":{\"container_id\":{\"value\":\"%s\"},"
      "\"gantry_spec\":{\"rootfs\":\"%s\",\"args\":[\"/bin/true\"]}}}",
      id, target->root);
  call(target, body);
  snprintf(body, sizeof(body),
           "{\"type\":\"WAIT_CONTAINER\",\"wait_container\":{\"container_id\":{\"value\":\"%s\"}}}",
           id);
  call(target, body);
  snprintf(
      body, sizeof(body),
      "{\"type\":\"REMOVE_CONTAINER\",\"remove_container\":{\"container_id\":{\"value\":\"%s\"}}}",
      id);
  call(target, body);
}

int main(int argc, char** argv) {
  struct loop_options options;
  const int first = loop_parse(argc, argv, &options, "SOCKET ROOT");
  if (argc - first != 2) {
    fprintf(stderr, "%s: SOCKET and ROOT are needed\n", argv[0]);
    return 2;
  }
  struct target target = {.socket = argv[first], .root = argv[first + 1], .fd = -1};
  loop_run(&options, launch, &target);
  return 0;
}
