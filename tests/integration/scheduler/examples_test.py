"""The examples a reader is told to try, run for real."""
import os
import pathlib
import shutil
import subprocess

from gantry import BIN, TOP, GantryTest, free_port, main


class Examples(GantryTest):
    def start(self):
        self.port = free_port()
        self.executor.start("--listen-insecure", f"127.0.0.1:{self.port}")

    def test_batch_runs_its_tasks(self):
        run = subprocess.run([BIN / "gantry-batch", "--socket", self.executor.socket, "--tasks", "20", "--cpus", "0.05",
                              "echo task; exit 0"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("20 finished, 0 failed", run.stderr)

    def test_batch_says_which_task_failed(self):
        run = subprocess.run([BIN / "gantry-batch", "--socket", self.executor.socket, "--tasks", "2", "exit 3"],
                             capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn("TASK_FAILED Command exited with status 3", run.stderr)

    def test_the_npm_package_mesos_framework_works_unmodified(self):
        work = pathlib.Path(os.environ.get("NODE_WORK", self.top / "node"))
        work.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "batch.js"):
            shutil.copy(TOP / "examples/node" / name, work / name)
        if not (work / "node_modules/mesos-framework").is_dir():
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=work, check=True, timeout=120)
        run = subprocess.run(["node", "batch.js"], cwd=work, capture_output=True, text=True, timeout=90, check=False,
                             env={**os.environ, "PORT": str(self.port), "INSTANCES": "3"})
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn("all 3 tasks finished", run.stdout)


if __name__ == "__main__":
    main()
