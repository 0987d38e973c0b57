"""The API by TLS: who may come in, who may not, and what is told of it. The clients are curl, openssl and our command line."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

from gantry import BIN, GantryTest, free_port, main, wait_until

TOKEN = "0123456789abcdef-a-token-of-a-test"


class Certificates:
    """A CA, and what it has signed; `stranger` is another CA's."""

    def __init__(self, top):
        self.top = top
        for ca in ("ca", "other"):
            self.openssl("req", "-x509", "-subj", f"/CN={ca}", "-days", "2", *self.key(ca), "-out", top / f"{ca}.pem")
        self.sign("server", "ca", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self.sign("client", "ca", "extendedKeyUsage=clientAuth")
        self.sign("stranger", "other", "extendedKeyUsage=clientAuth")

    @staticmethod
    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    @classmethod
    def write_crl(cls, top, *revoked, days=2):
        """crl.pem: the CA's list, with these certificates in it."""
        work = pathlib.Path(tempfile.mkdtemp(dir=top))
        (work / "index").touch()
        (work / "number").write_text("01\n")
        (work / "config").write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={work}/index\ncrlnumber={work}/number\n"
                                     "default_md=sha256\n")
        ca = ["ca", "-config", work / "config", "-keyfile", top / "ca.key", "-cert", top / "ca.pem"]
        for name in revoked:
            cls.openssl(*ca, "-revoke", top / f"{name}.pem")
        cls.openssl(*ca, "-gencrl", "-crldays", days, "-out", work / "crl.pem")
        (work / "crl.pem").rename(top / "crl.pem")

    def key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                str(self.top / f"{name}.key")]

    def sign(self, name, ca, extension):
        request, extensions = self.top / f"{name}.csr", self.top / f"{name}.ext"
        extensions.write_text(extension)
        self.openssl("req", "-new", "-subj", f"/CN={name}", *self.key(name), "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.top / f"{ca}.pem", "-CAkey", self.top / f"{ca}.key",
                     "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", self.top / f"{name}.pem")


class Tls(GantryTest):
    @classmethod
    def setUpClass(cls):
        cls.made = pathlib.Path(tempfile.mkdtemp(prefix="gantry-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.made)
        Certificates(cls.made)

    def start(self):
        shutil.copytree(self.made, self.top, dirs_exist_ok=True)
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.token_file = self.top / "token"
        self.write_token(TOKEN)
        self.executor.start(*self.files(), "--listen-tls", f"127.0.0.1:{self.port}")

    def files(self):
        return ["--listen-tls-cert", self.path("server.pem"), "--listen-tls-key", self.path("server.key"),
                "--listen-tls-client-ca", self.path("ca.pem"), "--listen-tls-token-file", str(self.token_file)]

    def path(self, name):
        return str(self.top / name)

    def write_token(self, token):
        self.token_file.write_text(token + "\n")
        self.token_file.chmod(0o600)

    def curl(self, *words, path="/health", ca="ca.pem"):
        """(status, body); status 0: there was no answer."""
        done = subprocess.run(["curl", "-sS", "--max-time", "20", "--cacert", self.path(ca), "-w", "\n%{http_code}", *words,
                               self.url + path], capture_output=True, text=True, check=False)
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def as_client(self, name):
        return ["--cert", self.path(f"{name}.pem"), "--key", self.path(f"{name}.key")]

    def bearer(self, token):
        return ["-H", f"Authorization: Bearer {token}"]

    def counted(self, metric):
        _, page = self.curl(*self.bearer(TOKEN), path="/metrics")
        return next(int(line.split()[1]) for line in page.splitlines() if line.startswith(metric + " "))

    def await_failures(self, count):
        """Each is counted once, when its handshake has ended: its client does not wait for that."""
        wait_until(lambda: self.counted("gantry_tls_handshake_failures_total") >= count)
        self.assertEqual(self.counted("gantry_tls_handshake_failures_total"), count)

    def test_a_certificate_or_the_token_is_let_in_and_nobody_else(self):
        call = ["-H", "Content-Type: application/json", "-d", '{"type":"GET_VERSION"}']
        for who in (self.as_client("client"), self.bearer(TOKEN), ["-H", f"authorization: bearer  {TOKEN} "]):
            status, body = self.curl(*who, *call, path="/api/v1")
            self.assertEqual((status, json.loads(body)["type"]), (200, "GET_VERSION"), who)
        before = self.counted("gantry_http_unauthorized_requests_total")
        wrong = ["", TOKEN[:-1], TOKEN + "x", "x" * 5000, "Ⅷ"]
        for token in wrong:
            self.assertEqual(self.curl(*self.bearer(token), *call, path="/api/v1")[0], 401, token)
        for path in ("/api/v1", "/api/v1/scheduler", "/metrics", "/health", "/nothing"):
            status, body = self.curl(*call, path=path)
            self.assertEqual((status, "Expecting a certificate" in body), (401, True), path)
        # The body of who may not ask is not waited for.
        self.assertEqual(self.curl("-H", "Expect: 100-continue", "-T", "/bin/busybox", path="/api/v1")[0], 401)
        self.assertEqual(self.counted("gantry_http_unauthorized_requests_total"), before + len(wrong) + 6)

    def test_wrong_certificates_and_plain_text_fail_at_the_handshake_and_are_counted(self):
        before = self.counted("gantry_tls_handshake_failures_total")
        self.assertEqual(self.curl(*self.as_client("stranger"))[0], 0)
        self.assertEqual(self.curl(*self.as_client("stranger"), *self.bearer(TOKEN))[0], 0)
        self.assertEqual(self.curl(*self.bearer(TOKEN), ca="other.pem")[0], 0)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n")
            answer = b""
            while piece := plain.recv(4096):
                answer += piece
        self.assertNotIn(b"HTTP/", answer)
        old = self.s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        self.assertNotIn("HTTP/1.1", old)
        wait_until(lambda: self.counted("gantry_tls_handshake_failures_total") >= before + 5)
        self.assertEqual(self.curl(*self.bearer(TOKEN)), (200, "healthy\n"))

    def s_client(self, *words):
        request = f"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        return subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{self.port}", "-CAfile",
                               self.path("ca.pem"), "-verify_return_error", *words], input=request, capture_output=True,
                              text=True, check=False, timeout=20).stdout

    def test_openssl_as_a_client_and_a_large_answer(self):
        self.assertIn("HTTP/1.1 200 OK", self.s_client("-ign_eof"))
        self.assertIn("healthy", self.s_client("-ign_eof", "-tls1_2"))
        self.executor.launch("talks", ["/bin/seq", "1", "400000"], self.root)
        self.executor.wait("talks")
        call = {"type": "ATTACH_CONTAINER_OUTPUT", "attach_container_output": {
            "container_id": {"value": "talks"}, "gantry_output": {"from_start": True}}}
        status, body = self.curl(*self.as_client("client"), "-H", "Content-Type: application/json", "-H",
                                 "Accept: application/recordio", "-H", "Message-Accept: application/json", "-d",
                                 json.dumps(call), path="/api/v1")
        self.assertEqual(status, 200)
        self.assertGreater(len(body), 4 * (2 << 20) // 3)

    def test_secrets_are_told_nowhere_and_a_reload_reads_them_anew(self):
        said = json.dumps([self.executor.call("GET_FLAGS"), self.executor.call("GANTRY_DOCTOR")])
        key = (self.top / "server.key").read_text().splitlines()[1]
        self.write_token("another-token-that-is-long-enough")
        self.executor.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "are read anew" in self.executor.log.read_text())
        self.assertEqual(self.curl(*self.bearer(TOKEN))[0], 401)
        self.assertEqual(self.curl(*self.bearer("another-token-that-is-long-enough"))[0], 200)
        self.token_file.chmod(0o644)
        self.executor.process.send_signal(signal.SIGHUP)
        wait_until(lambda: f"chmod 600 {self.token_file}" in self.executor.log.read_text())
        self.assertEqual(self.curl(*self.bearer("another-token-that-is-long-enough"))[0], 200)
        status, _ = self.curl(*self.as_client("client"), "-H", "Content-Type: application/json", "-d",
                              '{"type":"PRUNE_IMAGES","prune_images":{}}', path="/api/v1")
        self.assertEqual(status, 200)
        audit = json.loads((self.executor.data / "audit.log").read_text().splitlines()[-1])
        self.assertEqual((audit["call"], audit["certificate"]), ("PRUNE_IMAGES", "CN=client"))
        for text in (said, self.executor.log.read_text(), json.dumps(audit)):
            for secret in (TOKEN, "another-token", key):
                self.assertNotIn(secret, text)

    def test_a_revoked_certificate_is_refused_and_counted_as_soon_as_the_list_says_so(self):
        Certificates.write_crl(self.top)
        self.executor.restart(*self.files(), "--listen-tls-crl", self.path("crl.pem"), "--listen-tls", f"127.0.0.1:{self.port}")
        self.assertEqual(self.curl(*self.as_client("client"))[0], 200)
        before = self.counted("gantry_tls_handshake_failures_total")
        Certificates.write_crl(self.top, "client")
        self.assertEqual(self.curl(*self.as_client("client"))[0], 0)
        self.await_failures(before + 1)
        self.assertIn("are read anew", self.executor.log.read_text())
        # A list that cannot be read leaves the former one, which counts on.
        (self.top / "crl.pem").write_text("no list")
        self.assertEqual(self.curl(*self.as_client("client"))[0], 0)
        self.assertIn("the old revocation lists count on: ", self.executor.log.read_text())
        Certificates.write_crl(self.top)
        self.assertEqual(self.curl(*self.as_client("client"))[0], 200)
        # One that is out of date says nothing about anybody any more.
        Certificates.openssl("ca", "-config", *self.outdated())
        self.assertEqual(self.curl(*self.as_client("client"))[0], 0)
        self.assertEqual(self.curl(*self.bearer(TOKEN))[0], 200)

    def outdated(self):
        """Of openssl ca: writes a list that was to be replaced long ago."""
        (self.top / "index").touch()
        (self.top / "config").write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.top}/index\ndefault_md=sha256\n")
        return [self.top / "config", "-keyfile", self.path("ca.key"), "-cert", self.path("ca.pem"), "-gencrl", "-crl_lastupdate",
                "20200101000000Z", "-crl_nextupdate", "20200102000000Z", "-out", self.path("crl.pem")]

    def test_what_cannot_be_used_is_refused_by_name(self):
        public = self.top / "public"
        public.write_text(TOKEN)
        public.chmod(0o640)
        short = self.top / "short"
        short.write_text("short\n")
        short.chmod(0o600)
        readable = self.top / "readable.key"
        readable.write_text((self.top / "server.key").read_text())
        readable.chmod(0o644)
        listen = ["--listen-tls", "127.0.0.1:1"]
        both = ["--listen-tls-cert", self.path("server.pem"), "--listen-tls-key", self.path("server.key")]
        ca = ["--listen-tls-client-ca", self.path("ca.pem")]
        for words, complaint in (
                ([*listen], "--listen-tls needs --listen-tls-cert and --listen-tls-key"),
                ([*listen, *both], "would let in everybody"),
                ([*both, *ca], "give --listen-tls too"),
                ([*listen, "--listen-tls-cert", "server.pem"], "--listen-tls-cert 'server.pem': must be an absolute path"),
                ([*listen, *both, "--listen-tls-token-file", str(public)], f"chmod 600 {public}"),
                ([*listen, *both, "--listen-tls-token-file", str(short)], "a token is one line of 16 to 4096"),
                ([*listen, *both, "--listen-tls-token-file", "/nonexistent"], "--listen-tls-token-file"),
                ([*listen, *both, "--listen-tls-client-ca", "/dev/null"], "/dev/null"),
                ([*listen, *both, *ca, "--listen-tls-crl", self.path("ca.pem")], "ca.pem: has no revocation list"),
                ([*listen, *both, *ca, "--listen-tls-crl", "/nonexistent"], "/nonexistent: has no revocation list"),
                ([*listen, *both, "--listen-tls-token-file", str(self.token_file), "--listen-tls-crl", self.path("ca.pem")],
                 "of --listen-tls-client-ca do not count; give that too"),
                ([*listen, "--listen-tls-cert", self.path("client.pem"), *both[2:], *ca], "server.key: key values mismatch"),
                ([*listen, *both[:2], "--listen-tls-key", str(readable), *ca], f"chmod o= {readable}"),
                ([*listen, *both[:2], "--listen-tls-key", self.path("ca.pem"), *ca], self.path("ca.pem"))):
            done = subprocess.run([BIN / "gantry-executor", "--check-configuration", *words], capture_output=True, text=True,
                                  check=False)
            self.assertEqual((done.returncode, complaint in done.stderr), (125, True), (words, done.stderr))

    # The command line

    def gantry(self, *words, code=0, **options):
        env = {**os.environ, "GANTRY_HOST": self.url, "GANTRY_TLS_CA": self.path("ca.pem"),
               "GANTRY_TOKEN_FILE": str(self.token_file)}
        done = subprocess.run([BIN / "gantry", *map(str, words)], env=env, capture_output=True, text=True, check=False,
                              timeout=60, **options)
        self.assertEqual(done.returncode, code, (words, done.stdout, done.stderr))
        return done.stdout if code == 0 else done.stderr

    def test_the_command_line_goes_by_way_of_it(self):
        self.assertEqual(self.gantry("run", "--rm", "--rootfs", self.root, "/bin/sh", "-c", "echo out; exit 0"), "out\n")
        self.gantry("run", "--rm", "--rootfs", self.root, "/bin/sh", "-c", "exit 3", code=3)
        self.gantry("run", "-d", "--name", "far", "--rootfs", self.root, "/bin/sleep", "1000")
        self.assertIn("far", self.gantry("ps"))
        self.assertEqual(self.gantry("exec", "far", "echo", "in"), "in\n")
        (self.top / "file").write_text("x" * 3000000)
        self.gantry("cp", self.top / "file", "far:/tmp/copied")
        self.gantry("cp", "far:/tmp/copied", self.top / "back")
        self.assertEqual((self.top / "back").read_text(), "x" * 3000000)
        by_certificate = ["--host", f"https://localhost:{self.port}", "--tls-cert", self.path("client.pem"), "--tls-key",
                          self.path("client.key")]
        self.assertIn("far", self.gantry("ps", *by_certificate))
        self.assertIn(self.url, self.gantry("doctor"))
        self.gantry("run", "-d", "--name", "said", "--rootfs", self.root, "/bin/sh", "-c", "seq 1 100000; echo no >&2")
        self.assertEqual(self.gantry("wait", "said"), "0\n")
        self.assertEqual(self.gantry("logs", "said"), "".join(f"{n}\n" for n in range(1, 100001)))
        self.gantry("rm", "-f", "far", "said")

    def test_what_only_works_here_and_who_is_not_let_in_is_said(self):
        refused = "only on the executor's own machine"
        for words, what in ((["run", "-it", "image"], "-i"), (["exec", "-t", "far", "sh"], "-t"),
                            (["executor", "stop"], "gantry executor"), (["executor"], "gantry executor"),
                            (["run", "-v", "./here:/x", "image"], "-v ./here:/x"),
                            (["run", "--rootfs", "here", "true"], "--rootfs here"),
                            (["run", "--pidfile", "/tmp/p", "image"], "--pidfile")):
            said = self.gantry(*words, code=125)
            self.assertIn(f"{what}: {refused}", said)
        for words, complaint in ((["--host", "http://x:1", "ps"], "https://NAME:PORT"),
                                 (["--host", "https://x", "ps"], "https://NAME:PORT"),
                                 (["--host", self.url, "--socket", "/x", "ps"], "give one of them"),
                                 (["--socket", "/x", "--tls-ca", "/x", "ps"], "are for --host"),
                                 (["--tls-cert", self.path("client.pem"), "ps"], "give both")):
            self.assertIn(complaint, self.gantry(*words, code=125))
        said = self.gantry("--tls-cert", self.path("stranger.pem"), "--tls-key", self.path("stranger.key"), "ps", code=1)
        self.assertIn("does not take this certificate (--tls-cert): ", said)
        self.await_failures(1)  # the first of this executor
        self.assertIn("certificate", self.gantry("--tls-ca", self.path("other.pem"), "ps", code=1))
        self.assertIn("--tls-ca /nonexistent", self.gantry("--tls-ca", "/nonexistent", "ps", code=1))
        self.assertIn("onnection refused", self.gantry("--host", f"https://127.0.0.1:{free_port()}", "ps", code=1))
        self.write_token("a-wrong-token-of-the-right-length")
        self.assertIn("Expecting a certificate", self.gantry("ps", code=1))
        self.token_file.chmod(0o644)
        self.assertIn(f"chmod 600 {self.token_file}", self.gantry("ps", code=1))


if __name__ == "__main__":
    main()
