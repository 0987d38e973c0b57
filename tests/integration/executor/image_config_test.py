"""What an image says about its containers: command, working directory, user, variables, stop signal, volumes."""
import http.client
import pathlib
import signal

from gantry import CallFailed, GantryTest, main, rootfs_tar, wait_until


class ImageConfig(GantryTest):
    def import_root(self, reference, **config):
        self.executor.import_tar(rootfs_tar(self.root), reference, **config)

    def run_image(self, image, *args, **spec):
        answer, out, err = self.executor.run("c", list(args), image=image, **spec)
        self.assertEqual((answer["exit_status"], err), (0, ""))
        return out

    def sh_image(self, image, script, **spec):
        return self.run_image(image, "/bin/sh", "-c", script, **spec)

    def test_a_root_file_system_is_imported_with_what_it_is_to_say(self):
        self.import_root("tools", entrypoint=["/bin/sh", "-c"], cmd=["echo $GREETING $(id -un) $PWD"],
                         env=["GREETING=hello, world"], cwd="/srv/app", user="user:extra", labels={"a": "b"})
        self.assertEqual(self.run_image("tools"), "hello, world user /srv/app\n")
        self.assertEqual(self.run_image("tools", "id -gn", cwd="/"), "extra\n")
        self.assertEqual(self.run_image("tools", "id -gn", entrypoint={"args": []}, args=["/bin/pwd"]), "/srv/app\n")

    def test_a_configuration_that_is_wrong_is_refused_by_its_field(self):
        for config, field in ({"env": ["=x"]}, "env[0]"), ({"cwd": "x"}, "cwd"), ({"volumes": ["/"]}, "volumes[0]"), \
                ({"stop_signal": "SIGNOT"}, "stop_signal"), ({"user": "a b:c:d"}, "user"), ({"labels": {"": "x"}}, "labels"):
            with self.assertRaises((CallFailed, http.client.HTTPException, OSError), msg=field) as failed:
                self.import_root("wrong", **config)
            if isinstance(failed.exception, CallFailed):  # an early answer may find the sender still writing
                self.assertIn(field, failed.exception.text)

    def test_as_many_volumes_as_an_image_likes(self):
        self.import_root("many", volumes=[f"/v{i}" for i in range(500)])
        self.assertEqual(self.sh_image("many", "grep -c ' /v[0-9]* ' /proc/mounts"), "500\n")

    def test_a_missing_working_directory_is_made_for_any_user(self):
        self.import_root("tools")
        look = "pwd; stat -c '%u:%g %a' ."
        for spec in {}, {"read_only": True}, {"mounts": [{"type": "TMPFS", "destination": "/made"}]}:
            self.assertEqual(self.sh_image("tools", look, cwd="/made/for/it", user="user", **spec),
                             "/made/for/it\n0:0 755\n", spec)
        # As docker's: entered with root's rights.
        (self.root / "root").chmod(0o700)
        self.assertEqual(self.executor.run("c", ["/bin/pwd"], self.root, cwd="/root", user="user")[1], "/root\n")

    def test_a_working_directory_is_made_inside_wherever_links_lead(self):
        (self.root / "out").symlink_to("../../../../../tmp")
        name = self.top.name + "-made"
        out = self.executor.run("c", ["/bin/pwd"], self.root, cwd=f"/out/{name}", user="user")[1]
        self.assertEqual(out, f"/tmp/{name}\n")
        self.assertTrue((self.root / "tmp" / name).is_dir())
        self.assertFalse(pathlib.Path("/tmp", name).exists())
        (self.root / "nowhere").symlink_to("../../../gantry-made-outside")
        with self.assertRaises(CallFailed) as failed:
            self.executor.launch("c", ["/bin/pwd"], self.root, cwd="/nowhere/inner")
        self.assertIn("/nowhere/inner", failed.exception.text)
        self.assertFalse(pathlib.Path("/gantry-made-outside").exists())

    def test_volumes_begin_with_the_images_content_and_go_with_the_container(self):
        (self.root / "data").mkdir()
        (self.root / "data/seed").write_text("from the image\n")
        (self.root / "data").chmod(0o750)
        self.import_root("db", volumes=["/data", "/var/not/there"])
        change = "cat /data/seed; echo mine >/data/seed; echo x >/var/not/there/x; stat -c %a /data; " \
                 "grep -c -E ' (/data|/var/not/there) ' /proc/self/mountinfo"
        for spec in {}, {"read_only": True}:
            self.assertEqual(self.sh_image("db", change, **spec), "from the image\n750\n2\n", spec)
        volumes = self.executor.data / "volumes"
        self.executor.launch("one", ["/bin/sh", "-c", f"{change}; sleep 100"], image="db")
        self.executor.launch("two", ["/bin/sh", "-c", "cat /data/seed; sleep 100"], image="db")
        wait_until(lambda: self.executor.output("two") == "from the image\n")
        self.assertEqual(len(list(volumes.iterdir())), 2)
        self.executor.restart()
        self.assertEqual(len(list(volumes.iterdir())), 2)
        for name in "one", "two":
            self.executor.remove(name, force=True)
        wait_until(lambda: not list(volumes.iterdir()))

    def test_a_mount_of_the_request_takes_the_place_of_a_volume(self):
        (self.root / "data").mkdir()
        self.import_root("db", volumes=["/data"])
        (self.top / "own").mkdir()
        self.sh_image("db", "echo kept >/data/file", mounts=[{"source": str(self.top / "own"), "destination": "/data"}])
        self.assertEqual((self.top / "own/file").read_text(), "kept\n")

    def test_the_images_stop_signal_counts_after_a_new_executor_too(self):
        self.import_root("tools", stop_signal="SIGQUIT")
        script = "trap 'exit 3' QUIT; trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done"
        for restarts in range(2):
            self.executor.launch("c", ["/bin/sh", "-c", script], image="tools")
            wait_until(lambda: self.executor.output("c") == "ready\n")
            for _ in range(restarts):
                self.executor.restart()
            self.executor.stop("c")
            self.assertEqual(self.executor.wait("c")["exit_status"], 3 << 8)
            self.executor.remove("c")

    def test_volumes_are_there_again_after_checkpoint_and_restore(self):
        (self.root / "data").mkdir()
        self.import_root("db", volumes=["/data"])
        script = "i=0; while :; do i=$((i + 1)); echo $i >/data/count; sleep 0.05; done"
        self.executor.launch("c", ["/bin/sh", "-c", script], image="db")
        count = next((self.executor.data / "volumes").iterdir()) / "0/count"
        wait_until(lambda: count.exists() and count.read_text() > "1")
        self.executor.call("GANTRY_CHECKPOINT", gantry_checkpoint={"container_id": {"value": "c"}, "name": "k"})
        self.executor.wait("c")
        before = int(count.read_text())
        self.executor.restart()
        self.executor.call("GANTRY_RESTORE", gantry_restore={"checkpoint": "k"})
        wait_until(lambda: int(count.read_text() or 0) > before + 5)
        self.executor.signal("c", signal.SIGKILL)
        self.executor.wait("c")


if __name__ == "__main__":
    main()
