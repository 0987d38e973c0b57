"""Launches by prepared children (docs/adr/0013): nothing but the time differs."""
import contextlib
import difflib
import os
import pathlib
import subprocess

from gantry import PREPARED, GantryTest, main, wait_until

# Everything a process can see of how it was launched, without the numbers that differ from one container to the next.
LOOK = r"""
sed -E 's/^[0-9]+ [0-9]+ [0-9]+:[0-9]+ //; s/ (master|shared|propagate_from):[0-9]+//g' /proc/self/mountinfo
grep -vE '^(Pid|Tgid|Ngid|PPid|NSpid|NStgid|NSpgid|NSsid|Vm|Rss|Hugetlb|voluntary|nonvoluntary|Threads|SigQ|x86_Thread)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj /proc/self/cgroup /proc/net/dev /proc/self/personality
cat /etc/hostname /etc/hosts /etc/resolv.conf
hostname; id; umask; pwd; env | sort; ulimit -a; nice
ls -l /dev /dev/pts /dev/shm /dev/mqueue /sys /proc/self/fd | sed -E 's/[A-Z][a-z]{2} +[0-9]+ +[0-9:]+//; s/pipe:.*/pipe/; s/^total.*//' | sort
ls / ; ls /sys/class/net
echo x > /proc/sys/kernel/domainname; mount -t tmpfs x /mnt; mknod /tmp/n b 8 0 && rm /tmp/n; cat /proc/kcore; ls /sys/firmware
"""


class Prepared(GantryTest):
    def prepared(self):
        return self.executor.metric("containerizer/prepared_children")

    def look(self, name, **spec):
        self.executor.run(name, ["/bin/sh", "-c", f"({LOOK}) > /out 2>&1"], self.root, hostname="box", **spec)
        seen = (self.root / "out").read_text()
        (self.root / "out").unlink()
        return seen.replace(f"/{name}/", "/NAME/").splitlines()

    def test_what_a_container_sees_is_the_same(self):
        ordinary = self.look("first")
        wait_until(lambda: self.prepared() == PREPARED, 30)
        prepared = self.look("second")
        self.assertEqual(self.executor.metric("containerizer/prepared_launches"), 1)
        self.assertIn("Seccomp:\t2", ordinary)
        self.assertEqual("\n".join(difflib.unified_diff(ordinary, prepared, lineterm="")), "")

    def test_a_launch_that_asks_for_more_gets_it(self):
        self.executor.run("first", ["/bin/true"], self.root)
        wait_until(lambda: self.prepared() > 0)
        script = "ulimit -n; cat /proc/self/oom_score_adj; hostname; cat /proc/sys/net/ipv4/ip_forward"
        self.executor.launch("more", ["/bin/sh", "-c", script + "; sleep 100"], self.root, hostname="other",
                             sysctls={"net.ipv4.ip_forward": "1"}, oom_score_adj=17,
                             ulimits=[{"name": "nofile", "soft": 77, "hard": 88}])
        wait_until(lambda: self.executor.output("more").count("\n") == 4)
        self.assertEqual(self.executor.output("more").split(), ["77", "17", "other", "1"])

    def test_its_cgroups_are_where_inspect_says(self):
        self.executor.run("first", ["/bin/true"], self.root)
        wait_until(lambda: self.prepared() > 0)
        self.executor.launch("second", ["/bin/sleep", "100"], self.root)
        inspected = self.executor.inspect("second")
        container = inspected["container"]
        with open(f"/proc/{container['pid']}/cgroup", encoding="ascii") as file:
            inside = [line.strip().split(":", 2)[2] for line in file]
        for path in inspected["cgroups"]:
            self.assertTrue(os.path.isdir(path), path)
            self.assertTrue(any(path.endswith(of.removesuffix("/0")) for of in inside), (path, inside))
        # A new executor finds them again.
        self.executor.restart()
        self.assertEqual(self.executor.inspect("second")["cgroups"], inspected["cgroups"])
        self.executor.remove("second", force=True)

    def test_a_mount_made_since_is_seen(self):
        place = self.top / "mounted-later"
        place.mkdir()
        self.executor.run("first", ["/bin/true"], self.root)
        wait_until(lambda: self.prepared() > 0)
        subprocess.run(["mount", "-t", "tmpfs", "later", place], check=True)
        try:
            (place / "file").write_text("new")
            _, out, _ = self.executor.run("second", ["/bin/cat", "/v/file"], self.root, mounts=[
                {"source": str(place), "destination": "/v"}])
            self.assertEqual(out, "new")
        finally:
            self.executor.kill()
            subprocess.run(["umount", place], check=True)
            self.executor.start()

    def test_none_keeps_what_the_host_unmounts(self):
        place = self.top / "unmounted"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "held", place], check=True)
        self.addCleanup(subprocess.run, ["umount", "-q", place], check=False)
        self.executor.run("first", ["/bin/true"], self.root)
        wait_until(lambda: self.holders(place))
        subprocess.run(["umount", place], check=True)
        wait_until(lambda: not self.holders(place))

    @staticmethod
    def holders(place):
        """Processes of ours in whose mount namespace something is mounted there."""
        out = []
        for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                if comm.read_text() == "gantry-prepared\n" and str(place) in (comm.parent / "mountinfo").read_text():
                    out.append(comm.parent.name)
        return out

    def private_mount(self):
        """A file system of the host's, private, with a directory `below` to mount on."""
        place = self.top / "shared-later"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "later", place], check=True)
        self.addCleanup(subprocess.run, ["umount", "-R", place], check=True)
        subprocess.run(["mount", "--make-private", place], check=True)
        (place / "below").mkdir()
        return place

    def test_a_mount_made_shared_since_passes_mounts_on(self):
        place = self.private_mount()
        self.executor.run("first", ["/bin/true"], self.root)
        wait_until(lambda: self.prepared() > 0)
        subprocess.run(["mount", "--make-shared", place], check=True)
        self.executor.launch("second", ["/bin/sh", "-c", "until ls /v/below/file; do sleep 0.1; done"], self.root,
                             mounts=[{"source": str(place), "destination": "/v", "propagation": "RSLAVE"}])
        subprocess.run(["mount", "-t", "tmpfs", "new", place / "below"], check=True)
        (place / "below/file").write_text("")
        wait_until(lambda: self.executor.output("second") == "/v/below/file\n")
        self.executor.remove("second", force=True)

    def test_a_mount_made_shared_since_passes_mounts_on_to_the_hosts_root(self):
        place = self.private_mount()
        self.executor.run("first", ["/bin/true"])
        wait_until(lambda: self.prepared() > 0)
        self.executor.run("second", ["/bin/true"])
        self.assertEqual(self.executor.metric("containerizer/prepared_launches"), 1)
        subprocess.run(["mount", "--make-shared", place], check=True)
        self.executor.launch("third", ["/bin/sh", "-c", f"until ls {place}/below/file; do sleep 0.1; done"])
        subprocess.run(["mount", "-t", "tmpfs", "new", place / "below"], check=True)
        (place / "below/file").write_text("")
        wait_until(lambda: self.executor.output("third") == f"{place}/below/file\n")
        self.executor.remove("third", force=True)

    def test_none_when_none_are_wanted(self):
        self.executor.restart("--prepared-children", "0")
        self.executor.run("first", ["/bin/true"], self.root)
        self.assertEqual(self.prepared(), 0)


if __name__ == "__main__":
    main()
