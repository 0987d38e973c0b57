"""Containers of a real executor on the network. The test, and with it the executor, lives in a network namespace of its own."""
import os
import socket
import subprocess
import time

from gantry import CallFailed, GantryTest, bridge, main, own_network


def fetch(port, host="127.0.0.1", limit=5):
    """What a port says: of a container, or a published one of the host's loopback."""
    deadline = time.monotonic() + limit
    while True:
        try:
            with socket.create_connection((host, port), timeout=1) as connection:
                answer = connection.recv(100)
                if answer:
                    return answer.decode()
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"no answer on port {port}")
        time.sleep(0.02)


class ContainerNetwork(GantryTest):
    start_flags = ("--here",)

    def serve(self, name, port, text):
        self.executor.launch(name, ["/bin/sh", "-c", f"exec nc -ll -p 80 -e echo {text}"], self.root, **bridge((port, 80)))

    def test_files_name_the_container_and_its_network(self):
        _, out, err = self.sh("c", "cat /etc/hosts /etc/hostname; ip -o -4 addr show eth0; ip route", hostname="box",
                              **bridge())
        self.assertEqual(err, "")
        address = next(word for line in out.splitlines() if "eth0" in line for word in line.split() if "/16" in word)
        self.assertIn(f"{address.split('/')[0]}\tbox\n", out)
        self.assertIn("\nbox\n", out)
        self.assertIn("default via", out)

    def test_files_of_a_container_without_a_network_are_its_own(self):
        os.makedirs(self.root / "etc", exist_ok=True)
        (self.root / "etc/resolv.conf").symlink_to("../run/nowhere/stub-resolv.conf")
        _, out, err = self.sh("c", "cat /etc/hosts; echo '# mine' >> /etc/resolv.conf; tail -n 1 /etc/resolv.conf",
                              network={"extra_hosts": [{"name": "db", "address": "192.0.2.9"}]})
        self.assertEqual(err, "")
        self.assertIn("192.0.2.9\tdb\n", out)
        self.assertIn("# mine", out)
        self.assertTrue((self.root / "etc/resolv.conf").is_symlink())

    def test_a_published_port_answers_survives_the_executor_and_ends_with_the_container(self):
        self.serve("web", 8080, "hello")
        self.assertEqual(fetch(8080), "hello\n")
        with self.assertRaises(CallFailed) as failed:
            self.executor.launch("other", ["/bin/true"], self.root, **bridge((8080, 80)))
        self.assertIn("8080", failed.exception.text)
        self.assertIn("web", failed.exception.text)
        self.executor.kill()
        self.assertEqual(fetch(8080), "hello\n")
        self.executor.start(*self.start_flags)
        self.assertEqual(fetch(8080), "hello\n")
        address = self.executor.list()[0]["ip_addresses"][0]
        self.assertEqual(fetch(80, address), "hello\n")
        self.assertEqual(self.executor.states()["web"], "running")
        self.executor.remove("web", force=True)
        with self.assertRaises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", 8080), timeout=1):
            pass
        self.serve("web", 8080, "again")
        self.assertEqual(fetch(8080), "again\n")

    def test_flushed_rules_come_back_within_a_second(self):
        self.serve("web", 8080, "hello")
        self.assertEqual(fetch(8080), "hello\n")
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        self.assertEqual(fetch(8080, limit=1), "hello\n")

    def test_a_container_reaches_the_published_port_of_another(self):
        self.serve("web", 8080, "hello")
        fetch(8080)
        _, out, _ = self.sh("client", "gateway=$(ip route | awk '/default/ {print $3}'); "
                            "for i in 1 2 3 4 5; do nc -w 2 $gateway 8080 </dev/null && break; done", **bridge())
        self.assertIn("hello", out)


if __name__ == "__main__":
    own_network()
    main()
