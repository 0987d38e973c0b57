"""bash and python3 in containers, doing what scripts do."""
import signal

from debian import ProgramTest
from gantry import main, wait_until

JOBS = r"""
set -euo pipefail
for i in 1 2 3 4 5; do (exit $i) & jobs[$i]=$!; done
for i in 1 2 3 4 5; do wait ${jobs[$i]} && code=0 || code=$?; echo "job $i: $code"; done
seq 100000 | sort -rn | head -n 1 || true
true | false | true || echo "statuses: ${PIPESTATUS[*]}"
diff <(seq 3) <(printf '1\n2\n3\n') && echo "the same"
read -r first rest < <(echo one two three); echo "$first/$rest"
cat <<< "here string"
exec 7>&1; echo "by descriptor" >&7
(trap 'echo "child: term"; exit 0' TERM; kill -TERM $BASHPID; sleep 10)
echo "umask $(umask), cwd $PWD, home $HOME, $(ulimit -c) blocks of core"
"""

THREADS = r"""
import os, signal, socket, subprocess, threading

# A server and its clients on the loopback of the container's own network.
server = socket.create_server(("127.0.0.1", 0))
def serve():
    for _ in range(50):
        connection, _ = server.accept()
        with connection:
            connection.sendall(connection.recv(100).upper())
threading.Thread(target=serve).start()
answers = []
def ask(i):
    with socket.create_connection(server.getsockname()) as connection:
        connection.sendall(b"hello %d" % i)
        answers.append(connection.recv(100))
clients = [threading.Thread(target=ask, args=(i,)) for i in range(50)]
for client in clients: client.start()
for client in clients: client.join()
assert sorted(answers) == sorted(b"HELLO %d" % i for i in range(50)), answers

inet6 = socket.create_server(("::1", 0), family=socket.AF_INET6)
with socket.create_connection(inet6.getsockname()[:2]): pass
a, b = socket.socketpair()
socket.send_fds(a, [b"fd"], [1]); assert socket.recv_fds(b, 10, 1)[1]

out = subprocess.run(["python3", "-c", "import sys; print(sys.stdin.read()[::-1]); sys.exit(9)"], input="abc",
                     capture_output=True, text=True)
assert (out.stdout, out.returncode) == ("cba\n", 9), out
caught = []
signal.signal(signal.SIGALRM, lambda number, frame: caught.append(number))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.sigtimedwait([], 1)
assert caught == [signal.SIGALRM]
print("links", sorted(name for _, name in socket.if_nameindex()), "cpus", len(os.sched_getaffinity(0)) > 0)
"""

PROCESSES = r"""
import multiprocessing, multiprocessing.shared_memory, os

def add(counter, semaphore, rounds):
    for _ in range(rounds):
        with semaphore:
            counter[0] = counter[0] + 1

if __name__ == "__main__":
    with multiprocessing.Pool(3) as pool:
        print("pool", sum(pool.map(abs, range(-1000, 0))))
    semaphore = multiprocessing.Semaphore(1)     # sem_open: a file in /dev/shm
    counter = multiprocessing.Array("l", 1, lock=False)
    workers = [multiprocessing.Process(target=add, args=(counter, semaphore, 2000)) for _ in range(4)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    print("counted", counter[0])
    memory = multiprocessing.shared_memory.SharedMemory("gantry", create=True, size=1 << 20)
    memory.buf[:5] = b"hello"
    other = multiprocessing.shared_memory.SharedMemory("gantry")
    print("shm", os.listdir("/dev/shm"), bytes(other.buf[:5]))
    other.close()
    memory.unlink()
"""

TERMINAL = r"""
import os, pty, termios, fcntl, struct
pid, master = pty.fork()
if pid == 0:
    os.execvp("bash", ["bash", "-c", 'tty; stty size; read -r line; echo "got $line"'])
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
os.write(master, b"typed\n")
out = b""
try:
    while data := os.read(master, 1000): out += data
except OSError: pass       # the terminal's other side is closed
print(out.decode().replace("\r", ""), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

HANDLER = r"""
import signal, sys, time
def reload(number, frame): print("reloaded", flush=True)
def end(number, frame): print("ending", flush=True); sys.exit(5)
signal.signal(signal.SIGHUP, reload)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True: time.sleep(60)
"""


class Scripts(ProgramTest):
    packages = ("bash", "coreutils", "diffutils", "python3")

    def run_program(self, *argv, **spec):
        answer, out, err = self.executor.run("c", list(argv), self.root, **spec)
        self.assertEqual((answer["exit_status"], err), (0, ""), out)
        return out

    def test_bash_runs_jobs_pipes_traps_and_substitutions(self):
        out = self.run_program("bash", "-c", JOBS, cwd="/tmp")
        self.assertEqual(out.splitlines(), [
            *(f"job {i}: {i}" for i in range(1, 6)), "100000", "statuses: 0 1 0", "the same", "one/two three",
            "here string", "by descriptor", "child: term", "umask 0022, cwd /tmp, home /root, 0 blocks of core"])

    def test_python_has_threads_sockets_children_and_timers(self):
        self.assertEqual(self.run_program("python3", "-c", THREADS), "links ['lo'] cpus True\n")

    def test_python_has_process_pools_semaphores_and_shared_memory(self):
        (self.root / "root/processes.py").write_text(PROCESSES)
        self.assertEqual(self.run_program("python3", "/root/processes.py"),
                         "pool 500500\ncounted 8000\nshm ['gantry'] b'hello'\n")

    def test_python_works_as_a_user_without_privileges(self):
        (self.root / "root").chmod(0o755)
        (self.root / "root/processes.py").write_text(PROCESSES)
        out = self.run_program("python3", "/root/processes.py", user="nobody", read_only=True,
                               cap_drop=["ALL"], resources={"pids_limit": 30, "memory_limit_bytes": 128 << 20})
        self.assertIn("counted 8000", out)

    def test_python_opens_a_terminal_for_bash(self):
        out = self.run_program("python3", "-c", TERMINAL)
        self.assertRegex(out, r"/dev/pts/\d+\n33 101\n(typed\n)?got typed\n 0")

    def test_handled_signals_arrive_and_the_status_is_the_handlers(self):
        self.executor.launch("c", ["python3", "-c", HANDLER], self.root)
        wait_until(lambda: self.executor.output("c") == "ready\n")
        self.executor.signal("c", signal.SIGHUP)
        wait_until(lambda: self.executor.output("c") == "ready\nreloaded\n")
        self.executor.stop("c")
        self.assertEqual(self.executor.wait("c")["exit_status"], 5 << 8)
        self.assertEqual(self.executor.output("c"), "ready\nreloaded\nending\n")


if __name__ == "__main__":
    main()
