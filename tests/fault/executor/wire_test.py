"""Launcher and logger are sent what no executor sends: they refuse it, live on, and nothing that runs notices. The seed is
fixed, so that a failure comes again."""
import array
import os
import random
import socket
import struct

import limits
from gantry import GantryTest, main, many

HEAD = struct.Struct("<IHHQ")
MAGIC, VERSION = 0x314C5447, 2
REQUEST_BYTES = 16 + 8 + 16 + 8 + 64 + 320
# To the launcher: hello, launch, forget, stdin, shutdown (refused: something runs), adopt, assign, upgrade, terminal.
LAUNCHER_TYPES = (1, 2, 3, 4, 5, 6, 22, 23, 24, 25)
LOGGER_TYPES = (19, 20)  # flush, watch


class Wire(GantryTest):
    start_flags = ("--prepared-children", "0")

    def request(self, chance, types):
        kind = chance.choice(types) if chance.random() < 0.8 else chance.choice((0, 7, 8, 18, 99, 65535))
        head = HEAD.pack(MAGIC if chance.random() < 0.95 else chance.getrandbits(32),
                         VERSION if chance.random() < 0.95 else chance.getrandbits(16), kind, chance.getrandbits(16))
        slot = chance.choice((0, 1, 65535, 65536, 0xFFFFFFFF, chance.getrandbits(32)))
        body = struct.pack("<IIQQiI", slot, chance.getrandbits(4), chance.getrandbits(64), 0,
                           chance.choice((0, -1, 1, os.getpid(), 1 << 30)), 0)
        key = bytes(chance.getrandbits(8) for _ in range(64)) if chance.random() < 0.5 else b"fuzz".ljust(64, b"\0")
        return (head + body + key + b"/nowhere".ljust(320, b"x"))[:REQUEST_BYTES if chance.random() < 0.9
                                                                 else chance.randrange(1, REQUEST_BYTES)]

    def send_many(self, name, types):
        chance = random.Random(5)
        connection = None
        for _ in range(many(3000)):
            if connection is None:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                connection.settimeout(10)
                connection.connect(str(self.executor.runtime / name))
            count = chance.choice((0, 0, 1, 2, 5))
            files = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
            try:
                connection.sendmsg([self.request(chance, types)],
                                   [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else [])
                connection.setblocking(False)
                while data := connection.recv(4096, socket.MSG_CMSG_CLOEXEC):
                    self.assertGreater(len(data), 16)
                connection.close()
                connection = None
            except BlockingIOError:
                connection.settimeout(10)
            except OSError:  # dropped: what was sent is not the protocol
                connection.close()
                connection = None
            finally:
                for fd in files:
                    os.close(fd)
        if connection:
            connection.close()

    def test_garbage(self):
        self.executor.launch("c", ["/bin/sh", "-c", "while [ ! -e /tmp/go ]; do usleep 20000; done; echo out; exit 3"],
                             self.root)
        before = limits.daemons_of(self.executor.runtime)
        self.assertEqual(len(before), 2)
        self.send_many("launcher.sock", LAUNCHER_TYPES)
        self.send_many("logger.sock", LOGGER_TYPES)
        self.assertEqual(limits.daemons_of(self.executor.runtime), before)
        self.assertEqual(self.executor.run("d", ["/bin/echo", "hi"], self.root)[1], "hi\n")
        (self.root / "tmp/go").touch()
        self.assertEqual(self.executor.wait("c")["exit_status"], 3 << 8)
        self.assertEqual(self.executor.output("c"), "out\n")


if __name__ == "__main__":
    main()
