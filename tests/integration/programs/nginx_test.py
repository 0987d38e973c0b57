"""nginx in a container under wrk: on the host's network, and on a bridge with a published port.

The test, and with it the executor, lives in a network namespace of its own: that is "the host".
"""
import json
import re
import subprocess
import urllib.error
import urllib.request

from debian import ProgramTest
from gantry import bridge, main, own_network, wait_until

CONFIG = """
user www-data;
worker_processes 2;
daemon off;
error_log stderr warn;
events { worker_connections 512; }
http {
  include mime.types;
  log_format short "$request $status";
  server {
    listen PORT;
    root /var/www;
    access_log off;
    location = /logged { access_log /dev/stdout short; return 204; }
  }
}
"""
PAGE = "<h1>lifted</h1>\n" * 64


class Nginx(ProgramTest):
    start_flags = ("--here",)
    packages = ("nginx-light",)

    def serve(self, port, **spec):
        (self.root / "etc/nginx/nginx.conf").write_text(CONFIG.replace("PORT", str(port)))
        for directory in ("var/lib/nginx", "var/log/nginx", "var/www"):
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        (self.root / "var/www/index.html").write_text(PAGE)
        self.executor.launch("web", ["nginx"], self.root, stop_signal="SIGQUIT",
                             resources={"memory_limit_bytes": 128 << 20, "pids_limit": 16}, **spec)

    def fetch(self, address, path="/"):
        """(status, content); None while nobody listens yet."""
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=2) as answer:
                return answer.status, answer.read()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            self.assertEqual(self.executor.states()["web"], "running", self.executor.output("web", "stderr"))
            return None

    def load(self, what, address):
        """Two seconds of wrk; every request has to be answered well."""
        wait_until(lambda: self.fetch(address))
        self.assertEqual(self.fetch(address)[1], PAGE.encode())
        out = subprocess.run(["wrk", "-t", "1", "-c", "16", "-d", "2s", f"http://{address}/"], capture_output=True, text=True,
                             timeout=60, check=True).stdout
        rate = float(re.search(r"Requests/sec:\s+([0-9.]+)", out)[1])
        print(json.dumps({"nginx": what, "requests_per_second": rate}), flush=True)
        self.assertNotIn("Socket errors", out)
        self.assertNotIn("Non-2xx", out)
        self.assertGreater(rate, 100)

    def test_it_serves_on_the_hosts_network(self):
        self.serve(8080, network={"mode": "HOST"})
        self.load("host network", "127.0.0.1:8080")
        self.stop_gracefully()

    def test_it_serves_behind_a_published_port_of_loopback_and_of_the_hosts_address(self):
        self.serve(80, **bridge((8080, 80)))
        self.load("published port, loopback", "127.0.0.1:8080")
        links = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, text=True, check=True).stdout)
        host = next(link["addr_info"][0]["local"] for link in links if link["ifname"].startswith("gantry"))
        self.load("published port, host's address", f"{host}:8080")
        self.stop_gracefully()

    def test_each_line_of_its_log_is_in_the_containers_output(self):
        self.serve(80, **bridge((8080, 80)))
        wait_until(lambda: self.fetch("127.0.0.1:8080"))
        for _ in range(100):
            self.assertEqual(self.fetch("127.0.0.1:8080", "/logged")[0], 204)
        self.stop_gracefully()
        self.assertEqual(self.executor.output("web"), "GET /logged HTTP/1.1 204\n" * 100)

    def stop_gracefully(self):
        """nginx ends by itself at SIGQUIT, with status 0."""
        self.executor.stop("web")
        self.assertEqual(self.executor.wait("web")["exit_status"], 0)
        self.assertEqual(self.executor.output("web", "stderr"), "")


if __name__ == "__main__":
    own_network()
    main()
