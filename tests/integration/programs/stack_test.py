"""nginx, a web application in Python and redis: each in a container on the bridge; and as one container under --init."""
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

from debian import ProgramTest
from gantry import main, own_network, wait_until

APPLICATION = r"""
import os, socket, socketserver
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

def redis(*words):
    with socket.create_connection((os.environ["CACHE"], 6379), 5) as connection:
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        answer = connection.makefile("rb").readline()
    if not answer.startswith(b":"):  # it may still be loading its data
        raise OSError(answer.decode())
    return answer[1:].strip()

def application(environ, start_response):
    try:
        visits = redis(b"INCR", b"visits")
    except OSError as error:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [str(error).encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"visit " + visits]

class Server(socketserver.ThreadingMixIn, WSGIServer):
    request_queue_size = 128

class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass

make_server("0.0.0.0", 8000, application, server_class=Server, handler_class=Handler).serve_forever()
"""
SITE = """
user www-data;
worker_processes 1;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log /dev/stdout;
  server {
    listen 80;
    location / { proxy_pass http://app:8000; }
    location = /static { return 200 "PAGE\\n"; }
  }
}
"""
# Three daemons and a loop that leaves orphans, as many an image's start script has them.
SERVICE = r"""
set -u
end() {
  nginx -s quit; redis-cli -s /run/redis.sock shutdown nosave
  for file in /run/nginx.pid /run/redis.pid; do
    while kill -0 "$(cat $file 2>/dev/null)" 2>/dev/null; do sleep 0.02; done
  done
  echo ended; exit 0
}
trap end TERM
trap 'nginx -s reload; echo reloaded' HUP
redis-server --daemonize yes --pidfile /run/redis.pid --port 0 --unixsocket /run/redis.sock --save '' --logfile /dev/null
nginx
echo ready
while :; do (sleep 0.02 & :); sleep 0.05; done
"""


class Stack(ProgramTest):
    start_flags = ("--here",)
    packages = ("nginx-light", "redis-server", "redis-tools", "python3", "bash", "coreutils")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for directory in ("var/lib/nginx", "var/log/nginx", "srv"):
            (cls.debian / directory).mkdir(parents=True, exist_ok=True)
        (cls.debian / "srv/application.py").write_text(APPLICATION)
        (cls.debian / "srv/service.sh").write_text(SERVICE)

    def setUp(self):
        super().setUp()
        self.site = self.top / "nginx.conf"
        self.write_site("one")
        self.gantry("import", self.root, "stack:1")

    def write_site(self, page, application="app:8000"):
        self.site.write_text(SITE.replace("PAGE", page).replace("app:8000", application))

    def container(self, name):
        return json.loads(self.gantry("inspect", "--json", name))[0]["container"]

    def begin(self, name, *words):
        self.gantry("run", "-d", "--name", name, "--network", "bridge", *words)
        return self.container(name)["ip_addresses"][0]

    def fetch(self, path="/"):
        """What the published port answers; None while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:8080{path}", timeout=5) as answer:
                return answer.read().decode().strip()
        except (urllib.error.URLError, ConnectionError):
            return None

    def visits_at_rest(self):
        """None while requests that a client has left behind still arrive."""
        before = int(self.fetch().split()[1])
        time.sleep(0.5)
        now = int(self.fetch().split()[1])
        return now if now == before + 1 else None

    def test_three_containers_are_one_site(self):
        data = self.top / "redis"
        data.mkdir(mode=0o777)
        cache = self.begin("cache", "--restart", "always", "-v", f"{data}:/var/lib/redis", "stack:1", "redis-server",
                           "--dir", "/var/lib/redis", "--appendonly", "yes", "--appendfsync", "always", "--protected-mode", "no")
        app = self.begin("app", "--init", "--restart", "on-failure", "--add-host", f"cache:{cache}", "-e", "CACHE=cache",
                         "stack:1", "python3", "/srv/application.py")
        self.begin("web", "-p", "8080:80", "--add-host", f"app:{app}", "-v", f"{self.site}:/etc/nginx/nginx.conf:ro",
                   "stack:1", "nginx", "-g", "daemon off;")
        self.assertEqual(wait_until(self.fetch, 30), "visit 1")
        self.assertEqual(self.fetch(), "visit 2")

        # Many at once, through all three.
        out = subprocess.run(["wrk", "-t", "1", "-c", "8", "-d", "2s", "http://127.0.0.1:8080/"], capture_output=True,
                             text=True, timeout=60, check=True).stdout
        print(json.dumps({"stack": "requests_per_second", "rate": float(re.search(r"Requests/sec:\s+([0-9.]+)", out)[1])}),
              flush=True)
        self.assertNotIn("Socket errors", out)
        self.assertNotIn("Non-2xx", out)
        visits = wait_until(self.visits_at_rest, 30)

        # The database dies: it comes back where it was, with what it had.
        os.kill(self.container("cache")["pid"], signal.SIGKILL)
        wait_until(lambda: self.container("cache").get("restarts") == 1, 30)
        self.assertEqual(self.container("cache")["ip_addresses"], [cache])
        self.assertEqual(wait_until(self.fetch, 30), f"visit {visits + 1}")

        # The application is started anew by hand; the server in front reads another configuration.
        self.gantry("restart", "app")
        self.assertEqual(self.container("app")["ip_addresses"], [app])
        self.assertEqual(wait_until(self.fetch, 30), f"visit {visits + 2}")
        self.assertEqual(self.fetch("/static"), "one")
        self.write_site("two")
        self.gantry("kill", "--signal", "HUP", "web")
        wait_until(lambda: self.fetch("/static") == "two", 30)

        self.executor.restart(*self.start_flags)
        self.assertEqual(wait_until(self.fetch, 30), f"visit {visits + 3}")
        self.assertIn('"GET /static HTTP/1.1" 200', self.gantry("logs", "web"))
        self.gantry("stop", "web", "app", "cache")
        self.assertEqual(self.gantry("wait", "web", "app", "cache").split(), ["0", "143", "0"])
        self.assertIsNone(self.fetch())
        self.gantry("rm", "web", "app", "cache")

    def processes(self, name):
        return json.loads(self.gantry("top", "--json", name))

    def said(self, words):
        self.assertEqual(self.container("service")["state"], "running", self.run_gantry("logs", "service").stderr)
        return words in self.gantry("logs", "service").splitlines()

    def test_a_service_of_many_processes_under_init(self):
        self.write_site("one", "127.0.0.1:8000")
        self.begin("service", "--init", "-p", "8080:80", "-v", f"{self.site}:/etc/nginx/nginx.conf:ro", "stack:1",
                   "bash", "/srv/service.sh")
        wait_until(lambda: self.said("ready"), 30)
        self.assertEqual(wait_until(lambda: self.fetch("/static"), 30), "one")

        # Whoever loses its parent and ends is reaped, as is a daemon that was killed.
        redis = next(p for p in self.processes("service") if "redis-server" in p["command"])
        self.assertEqual(self.gantry("exec", "service", "redis-cli", "-s", "/run/redis.sock", "ping"), "PONG\n")
        self.gantry("exec", "service", "bash", "-c", f"kill -KILL {redis['inside']}; sleep 0.5")
        for _ in range(10):
            now = self.processes("service")
            self.assertEqual([p for p in now if p["state"] == "Z"], [])
            self.assertNotIn("redis-server", " ".join(p["command"] for p in now))
            self.assertLess(len(now), 15)

        # Signals reach the script, and no one else.
        self.write_site("two", "127.0.0.1:8000")
        self.gantry("kill", "--signal", "HUP", "service")
        wait_until(lambda: self.said("reloaded"), 30)
        wait_until(lambda: self.fetch("/static") == "two", 30)
        self.gantry("stop", "service")
        self.assertEqual(self.gantry("wait", "service"), "0\n")
        self.assertEqual(self.gantry("logs", "service").splitlines()[-1], "ended")
        self.gantry("rm", "service")


if __name__ == "__main__":
    own_network()
    main()
