"""Checkpoints that somebody changed: refused, named, and nothing of them runs.

First what digests find. Then forgeries whose digests are right: what the images give is held against what the container's
own request allows, so that a checkpoint is data and never policy.
"""
import os
import shutil
import time

from checkpoints import (CAP_SYS_RESOURCE, CONTAINER_ID, MOUNTS, TASKS, TASK_EFFECTIVE, TASK_PERMITTED, TASK_UIDS,
                         CheckpointTest, Forgery, has_capability, replace)
from gantry import main

# Fields of CRIU's creds_entry.
UID, CAP_PERMITTED, CAP_EFFECTIVE = 1, 10, 11
ADMINISTER = 1 << 21  # CAP_SYS_ADMIN


class Forgeries(CheckpointTest):
    def setUp(self):
        super().setUp()
        self.one = self.executor.data / "checkpoints" / "one"
        self.spare = self.top / "spare"

    def make(self, **spec):
        self.launch_counter(**spec)
        self.checkpoint()
        self.before = self.numbers()
        shutil.copytree(self.one, self.spare)

    def put_back(self):
        shutil.rmtree(self.one)
        shutil.copytree(self.spare, self.one)

    def assert_refused(self, *words):
        """Not restored, not run, nothing left; as it was it can be restored still."""
        self.refused(self.restore, *words)
        self.assertEqual(self.executor.states(), {"c": "exited"})
        self.assertEqual(self.numbers(), self.before, "it has run")
        self.put_back()

    def assert_whole(self):
        self.assert_clean()
        self.restore()
        self.wait_for_numbers()

    def flip(self, path, at):
        data = bytearray(path.read_bytes())
        data[at] ^= 0x10
        path.write_bytes(data)

    def test_images(self):
        self.make()
        images = sorted(path.name for path in (self.one / "images").iterdir())
        self.assertGreater(len(images), 20)
        for name in images:
            with self.subTest(image=name):
                path = self.one / "images" / name
                self.flip(path, path.stat().st_size // 2)
                self.assert_refused(name, "was changed")
        image = self.one / "images" / images[0]
        os.truncate(image, image.stat().st_size - 1)
        self.assert_refused(image.name, "was changed")
        image.unlink()
        self.assert_refused("lacks image", image.name)
        (self.one / "images" / "more.img").write_bytes(b"")
        self.assert_refused("more.img", "which its record does not name")
        self.assert_whole()

    def test_images_that_are_no_plain_files(self):
        self.make()
        image = next(path for path in sorted((self.one / "images").iterdir()) if path.name.startswith("core-"))
        image.unlink()
        image.symlink_to(self.spare / "images" / image.name)
        self.assert_refused(image.name)
        os.link(image, self.top / "second-name")
        self.assert_refused(image.name, "is not a plain file")
        image.unlink()
        os.mkfifo(image)
        self.assert_refused(image.name, "is not a plain file")
        image.unlink()
        image.mkdir()
        self.assert_refused(image.name)
        shutil.rmtree(self.one / "images")
        (self.one / "images").symlink_to(self.spare / "images")
        self.assert_refused("images")
        self.assert_whole()

    def test_the_record(self):
        self.make()
        record = self.one / "record"
        size = record.stat().st_size
        for at in (0, 4, 9, 13, 20, size // 2, size - 1):
            with self.subTest(flipped=at):
                self.flip(record, at)
                self.assert_refused("record")
        os.truncate(record, size - 1)
        self.assert_refused("checkpoint")
        os.truncate(record, 0)
        self.assert_refused("checkpoint")
        record.unlink()
        self.assert_refused("no record")
        record.unlink()
        record.symlink_to(self.spare / "record")
        self.assert_refused("checkpoint")
        record.unlink()
        os.mkfifo(record)
        self.assert_refused("no plain file")
        self.assert_whole()

    # The digests are right

    def forge(self, change):
        forgery = Forgery(self.one)
        change(forgery)
        forgery.write()

    def test_the_forger_can_write_what_is_accepted(self):
        self.make()
        self.forge(lambda forgery: forgery.edit_credentials(lambda message: message))
        self.assert_whole()

    def test_more_rights_than_the_record_says(self):
        self.make()
        self.forge(lambda f: f.edit_messages(TASKS, lambda task: replace(task, TASK_EFFECTIVE, 0)))
        self.assert_refused("has capabilities that it had not")
        self.forge(lambda f: f.edit_messages(TASKS, lambda task: replace(task, TASK_UIDS, b"7 7 7 7")))
        self.assert_refused("has other user ids")
        self.forge(lambda f: setattr(f, "record", [entry for entry in f.record if entry[0] != TASKS]))
        self.assert_refused("was not in the container")
        self.assert_whole()

    def test_another_user(self):
        self.make()

        def become(forgery):
            # uid, euid, suid, fsuid
            forgery.edit_credentials(lambda message: replace(replace(replace(replace(
                message, UID, 1), UID + 2, 1), UID + 4, 1), UID + 6, 1))

        self.forge(become)
        self.assert_refused("has other user ids")
        self.assert_whole()

    def test_extra_capabilities(self):
        self.make()

        def become_mighty(forgery, more):
            # The first of two words of 32.
            forgery.edit_credentials(lambda message: [
                [field, kind, value | more if is_first and field in (CAP_PERMITTED, CAP_EFFECTIVE) else value]
                for is_first, (field, kind, value) in mark_first(message)])

        self.forge(lambda forgery: become_mighty(forgery, ADMINISTER))
        self.assert_refused("has capabilities that it had not")

        def both(forgery):
            become_mighty(forgery, ADMINISTER)
            forgery.edit_messages(TASKS, lambda task: replace(replace(task, TASK_EFFECTIVE, (1 << 41) - 1),
                                                              TASK_PERMITTED, (1 << 41) - 1))

        self.forge(both)
        self.assert_refused("has capabilities that its container is not allowed")
        if not has_capability(CAP_SYS_RESOURCE):
            # CRIU itself fails, and hangs: it is ended, and soon.
            start = time.monotonic()
            self.forge(lambda forgery: become_mighty(forgery, 1 << CAP_SYS_RESOURCE))
            self.assert_refused("it had capabilities that this host's root lacks")
            self.assertLess(time.monotonic() - start, 15)
        self.assert_whole()

    def test_another_container(self):
        """The checkpoint of a mighty container that says it is of a modest one."""
        self.executor.launch("modest", ["/bin/false"], self.root, user="1000:1000")
        self.executor.wait("modest")
        self.until(lambda: self.executor.states()["modest"], lambda state: state == "exited")
        self.make()
        self.forge(lambda forgery: forgery.set(CONTAINER_ID, b"modest"))
        self.refused(self.restore, "their requests differ")
        self.refused(lambda: self.restore(container_id={"value": "c"}), "is of container modest")
        self.assertEqual(self.executor.states(), {"c": "exited", "modest": "exited"})
        self.forge(lambda forgery: forgery.set(CONTAINER_ID, b"../../etc"))
        self.refused(self.restore, "must not contain")
        self.put_back()
        self.assert_whole()

    def test_a_mount_that_the_request_does_not_name(self):
        self.make()
        self.forge(lambda forgery: forgery.edit_messages(
            MOUNTS, lambda mount: replace(replace(mount, 1, b"/root"), 3, 0) if b"/etc/hosts" in [v for _, _, v in mount]
            else mount))
        self.assert_refused("has a mount at /root that the request does not name")
        self.assert_whole()


def mark_first(message):
    """(is it the first of its field, entry) for each entry."""
    seen = set()
    for entry in message:
        yield entry[0] not in seen, entry
        seen.add(entry[0])


if __name__ == "__main__":
    main()
