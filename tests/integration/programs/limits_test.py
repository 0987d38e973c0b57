"""What limits do to programs that want more: stress, and bash's fork bomb."""
import json
import signal
import time

from debian import ProgramTest
from gantry import main, wait_until


def share(before, after):
    """CPUs used on average between two statistics: the kernel's counter, and the clock when it was read."""
    def used(statistics):
        return statistics["cpus_user_time_secs"] + statistics["cpus_system_time_secs"]
    return (used(after) - used(before)) / (after["timestamp"] - before["timestamp"])


class Limits(ProgramTest):
    packages = ("stress", "bash")

    def stress(self, name, *words, **resources):
        self.executor.launch(name, ["stress", *words], self.root, resources=resources)

    def shares(self, names, seconds=3):
        """CPUs that each of the containers had over a while."""
        before = [self.executor.statistics(name) for name in names]
        time.sleep(seconds)
        return [share(b, self.executor.statistics(name)) for b, name in zip(before, names, strict=True)]

    def test_half_a_cpu_is_half_a_cpu(self):
        self.stress("half", "--cpu", "2", cpus=0.5)
        measured = []
        # The quota is a bound in every window; that it is reached, too, other work of the machine may prevent in one.
        for _ in range(5):
            measured += self.shares(["half"])
            self.assertLess(measured[-1], 0.5 * 1.15)
            if measured[-1] > 0.5 * 0.85:
                break
        print(json.dumps({"cpus": 0.5, "measured": measured}), flush=True)
        self.assertGreater(measured[-1], 0.5 * 0.85)
        self.assertEqual(self.executor.statistics("half")["cpus_limit"], 0.5)

    def test_shares_of_one_cpu_are_two_to_one(self):
        self.stress("two", "--cpu", "1", cpu_shares=1024, cpuset_cpus="0")
        self.stress("one", "--cpu", "1", cpu_shares=512, cpuset_cpus="0")
        two, one = self.shares(["two", "one"])
        print(json.dumps({"shares": [1024, 512], "measured": [two, one], "ratio": two / one}), flush=True)
        self.assertAlmostEqual(two / one, 2, delta=0.3)
        self.assertLess(two + one, 1.05)

    def test_more_memory_than_allowed_ends_it_with_the_reason(self):
        self.stress("hog", "--vm", "2", "--vm-bytes", "64M", "--vm-hang", "0", memory_limit_bytes=48 << 20)
        answer = self.executor.wait("hog")
        print(json.dumps(answer), flush=True)
        # Ended by us, or by stress itself with 1 when it saw first that one of its workers was killed.
        self.assertIn(answer["exit_status"], (9, 1 << 8))
        self.assertEqual(answer["reason"], "REASON_CONTAINER_LIMITATION_MEMORY")
        self.assertIn("48 MiB", answer["message"])

    def test_memory_that_suffices_is_no_reason(self):
        self.stress("modest", "--vm", "2", "--vm-bytes", "16M", "--timeout", "1", memory_limit_bytes=96 << 20)
        answer = self.executor.wait("modest")
        self.assertEqual(answer["exit_status"], 0, answer)
        self.assertNotIn("reason", answer)

    def test_a_fork_bomb_meets_its_limit_and_the_kill(self):
        self.executor.launch("bomb", ["bash", "-c", "bomb() { bomb | bomb & }; bomb; while :; do :; done"], self.root,
                             resources={"pids_limit": 64, "cpus": 1})
        wait_until(lambda: self.executor.statistics("bomb")["threads"] >= 60)
        for i in range(10):
            self.assertLessEqual(self.executor.statistics("bomb")["threads"], 64)
            self.assertEqual(self.executor.run(f"neighbour{i}", ["bash", "-c", "echo $(echo alive)"], self.root)[1], "alive\n")
        start = time.monotonic()
        self.executor.signal("bomb", signal.SIGKILL)
        self.assertEqual(self.executor.wait("bomb")["exit_status"], 9)
        print(json.dumps({"fork bomb": "killed", "seconds": round(time.monotonic() - start, 3)}), flush=True)
        self.assertLess(time.monotonic() - start, 5)


if __name__ == "__main__":
    main()
