"""Nobody loses a checkpoint: to an error, to a stranger's files, to a second run, to old work.

What two processes do to each other at every step is in tests/peers/test_two_actors.py.
"""

import contextlib
import json
import os
import signal
import subprocess
import unittest
from pathlib import Path

from checkpoints import INDEX, STATE, digests, made, names, read, replace_weights
from command import LIMIT, NOBODY, SOURCE, SYSTEM, USAGE, CommandTest

FILES = ["--max-shard-size", "100KB"]


class Owner(CommandTest):
    def setUp(self):
        super().setUp()
        self.sample("src")
        self.destination = self.folder / "dst"

    def other_model(self, name: str = "other") -> Path:
        """Of the same names and shapes as src, with other weights."""
        return self.sample(name, "--seed", "7")

    def old_checkpoint(self) -> dict[str, str]:
        self.convert("src", "dst", "--to", "hf", "--max-shard-size", "50KB")
        return digests(self.destination)


class Strangers(Owner):
    """What somebody has put into a source or a destination."""

    def test_state_in_a_source_is_neither_carried_nor_believed(self):
        self.convert("src", "clean", "--to", "nemo", *FILES, "--checksum")
        target = [{"name": name, "size": 1} for name in ("model.safetensors", "config.json")]
        lines = [{"conversion": {"target": target}}, {"done": "synced"}]
        forged = "".join(json.dumps(line) + "\n" for line in lines)
        source = self.folder / "src"
        (source / ".mxferry-journal-00001-of-00001").write_text(forged)
        (source / STATE).mkdir()
        (source / STATE / "publication").write_text("{}")
        printed = self.convert("src", "dst", "--to", "nemo", code=SOURCE)
        self.assertIn("not finished", printed.text)
        (source / STATE / "publication").unlink()
        (source / STATE / "convert-1").mkdir()
        self.convert("src", "dst", "--to", "nemo", *FILES, "--checksum")
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_a_link_in_the_place_of_an_unfinished_file_is_not_followed(self):
        victim = self.folder / "victim"
        victim.write_text("mine")
        self.convert("src", "clean", "--to", "nemo")
        self.destination.mkdir()
        for name in ("model.safetensors", "config.json"):
            (self.destination / f"{name}.partial").symlink_to(victim)
            (self.destination / name).symlink_to(victim)
        self.convert("src", "dst", "--to", "nemo", "--force")
        self.assertEqual(victim.read_text(), "mine")
        self.assertLessEqual(
            digests(self.folder / "clean").items(), digests(self.destination).items()
        )
        self.assertFalse((self.destination / "config.json").is_symlink())

    def test_a_link_or_a_file_in_the_place_of_the_state_is_refused(self):
        (self.folder / "elsewhere").mkdir()
        self.destination.mkdir()
        state = self.destination / STATE
        state.symlink_to(self.folder / "elsewhere")
        printed = self.convert("src", "dst", "--to", "nemo", "--force", code=USAGE)
        self.assertIn("this name is mxferry's own", printed.text)
        state.unlink()
        state.write_text("mine")
        self.convert("src", "dst", "--to", "nemo", "--force", code=USAGE)
        self.assertEqual(state.read_text(), "mine")
        self.assertEqual(names(self.folder / "elsewhere"), set())

    def test_a_folder_in_the_way_is_told_before_anything_is_replaced(self):
        old = self.old_checkpoint()
        (self.destination / "model.safetensors").mkdir()
        printed = self.convert("src", "dst", "--to", "nemo", "--force", code=USAGE)
        self.assertIn("a folder has the name of a file", printed.text)
        left = digests(self.destination)
        self.assertLessEqual(old.items(), left.items())
        (self.destination / "model.safetensors").rmdir()
        self.mxferry("finish", "dst")
        self.convert("src", "clean", "--to", "nemo")
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_weights_of_other_names_that_the_old_index_lists_go_too(self):
        self.destination.mkdir()
        tensors = read(self.folder / "src")
        replace_weights(self.destination, tensors)
        (self.destination / "model.safetensors").rename(self.destination / "weights-a.safetensors")
        weight_map = dict.fromkeys(tensors, "weights-a.safetensors")
        (self.destination / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        (self.destination / "adapter_model.safetensors").write_bytes(b"not of the checkpoint")
        self.convert("src", "dst", "--to", "nemo", "--force")
        self.convert("src", "clean", "--to", "nemo")
        expected = names(self.folder / "clean") | {"adapter_model.safetensors"}
        self.assertEqual(names(self.destination), expected)

    def test_a_publication_that_a_stranger_made_reaches_no_other_folder(self):
        (self.folder / "victim").mkdir()
        (self.folder / "victim/file").write_text("mine")
        (self.folder / "victim/model.safetensors").write_text("mine")
        self.old_checkpoint()
        (self.destination / "link").symlink_to("../victim")
        state = self.destination / STATE
        state.mkdir()
        (state / "convert-0123456789abcdef").symlink_to("../../victim")
        (state / "trash-0").symlink_to("../../victim")
        (state / "old").symlink_to("../../victim")
        for work in ("x", "convert-0123456789abcdef", "../../victim"):
            for name in ("link/file", "../victim/file", "tokenizer.json"):
                publication = {"work": [work], "install": ["README.md"], "remove": [name]}
                (state / "publication").write_text(json.dumps(publication))
                for command in (["finish", "dst"], ["convert", "src", "dst", "--to", "nemo"]):
                    with self.subTest(work=work, name=name, command=command[0]):
                        with contextlib.suppress(self.failureException):
                            self.mxferry(*command, code=SOURCE)
                        self.assertEqual((self.folder / "victim/file").read_text(), "mine")
                        self.assertEqual(len(names(self.folder / "victim")), 2)
                        self.assertIn("tokenizer.json", names(self.destination))

    def test_names_of_any_bytes_are_the_same_in_every_part(self):
        source = os.fsencode(self.folder / "src")
        tensors = read(self.folder / "src")
        replace_weights(self.folder / "src", tensors)
        os.rename(source + b"/model.safetensors", source + b"/m\xff.safetensors")
        for rank in range(2):
            place = ["--rank", str(rank), "--world", "2"]
            self.convert("src", "dst", "--to", "nemo", *FILES, *place)
        self.mxferry("finish", "dst")

    def test_a_link_that_leads_nowhere_is_told(self):
        self.destination.symlink_to("nowhere")
        printed = self.convert("src", "dst", "--to", "nemo", code=USAGE)
        self.assertIn("a link that leads nowhere", printed.text)

    def test_what_an_older_release_left_is_replaced_by_force_alone(self):
        self.destination.mkdir()
        journal = self.destination / ".mxferry-journal-00001-of-00001"
        journal.write_text('{"conversion":{}}\n')
        (self.destination / "model-00001-of-00009.safetensors.partial").write_bytes(b"half")
        self.convert("src", "dst", "--to", "nemo", code=USAGE)
        self.convert("src", "dst", "--to", "nemo", "--resume", code=USAGE)
        self.mxferry("finish", "dst", code=SOURCE)
        self.assertTrue(journal.exists())
        self.convert("src", "dst", "--to", "nemo", "--force")
        self.convert("src", "clean", "--to", "nemo")
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))


class Inputs(Owner):
    """What a command reads is never changed by it."""

    def check_refused(self, *arguments: str, target: str = "ref"):
        before = {name: digests(self.folder / name) for name in ("ref", "ft")}
        error = self.error("convert", *arguments, "--force", "--no-sync")
        self.assertEqual(error["code"], "invalid_argument")
        for name, content in before.items():
            self.assertEqual(digests(self.folder / name), content, name)

    def setUp(self):
        super().setUp()
        self.sample("ref")
        self.convert("src", "ft", "--to", "hf", "--dtype", "bf16")
        self.quantize = ["--to", "hf", "--dtype", "mxfp4", "--reference"]

    def test_the_reference_is_never_the_destination(self):
        (self.folder / "link").symlink_to("ref")
        for target in ("ref", "./ref/", "link"):
            with self.subTest(target):
                self.check_refused("ft", target, *self.quantize, "ref")

    def test_nor_is_a_folder_that_the_inputs_are_links_to(self):
        (self.folder / "cache").mkdir()
        (self.folder / "between").mkdir()
        for path in (self.folder / "ref").iterdir():
            (self.folder / "between" / path.name).symlink_to(path)
            (self.folder / "cache" / path.name).symlink_to(f"../between/{path.name}")
        # Links that leave a folder are not followed, unless the names lead into one cache entry.
        entry = self.folder / "models--a--b"
        (entry / "snapshots/1").mkdir(parents=True)
        (entry / "blobs").mkdir()
        for path in (self.folder / "ref").iterdir():
            (entry / "blobs" / path.name).write_bytes(path.read_bytes())
            (entry / "snapshots/1" / path.name).symlink_to(f"../../blobs/{path.name}")
        snapshot, blobs = "models--a--b/snapshots/1", "models--a--b/blobs"
        before = digests(entry / "blobs")
        self.check_refused("ft", snapshot, *self.quantize, snapshot)
        self.check_refused("ft", blobs, *self.quantize, snapshot)
        self.assertEqual(digests(entry / "blobs"), before)

    def test_a_bind_mount_is_the_same_folder(self):
        (self.folder / "bound").mkdir()
        command = ["mount", "--bind", str(self.folder / "ref"), str(self.folder / "bound")]
        if subprocess.run(command, capture_output=True).returncode != 0:
            self.skipTest("nothing can be mounted here")
        try:
            self.check_refused("ft", "bound", *self.quantize, "ref")
        finally:
            subprocess.run(["umount", "--lazy", str(self.folder / "bound")], check=True)

    def test_nor_is_unfinished_work_there(self):
        self.convert("src", "dst", "--to", "nemo", "--rank", "0", "--world", "2")
        state = self.destination / STATE
        inside = made(self.destination)
        for path in (self.folder / "src").iterdir():
            (inside / path.name).write_bytes(path.read_bytes())
        before = digests(inside)
        error = self.error("convert", str(inside), "dst", "--to", "nemo", "--force")
        self.assertEqual(error["code"], "invalid_argument")
        self.assertTrue(state.exists())
        self.assertEqual(digests(inside), before)

    def test_hard_links_share_content_that_stays(self):
        before = digests(self.folder / "ref")
        self.destination.mkdir()
        for path in (self.folder / "ref").iterdir():
            os.link(path, self.destination / path.name)
        self.convert("ft", "dst", *self.quantize, "ref", "--force")
        self.assertEqual(digests(self.folder / "ref"), before)


class Replaced(Owner):
    """--force: the old checkpoint stays until the new one is whole."""

    def test_no_room_for_both_is_told_before_anything_is_touched(self):
        disk = self.folder / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            self.skipTest("no small disk")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        self.convert("src", "disk/dst", "--to", "hf")
        before = digests(disk / "dst")
        error = self.error("convert", "src", "disk/dst", "--to", "nemo", "--force", code=LIMIT)
        self.assertEqual(error["code"], "not_enough_disk")
        self.assertIn("the old and the new checkpoint together", error["message"])
        self.assertIn("remove the old checkpoint yourself", error["message"])
        self.assertEqual(digests(disk / "dst"), before)

    def test_bad_weights_cost_nothing(self):
        old = self.old_checkpoint()
        self.convert("src", "bad", "--to", "hf")
        tensors = read(self.folder / "bad")
        name = "model.layers.2.mlp.experts.down_proj"
        tensors[name] = tensors[name]._replace(data=b"\xff\x7f" * (len(tensors[name].data) // 2))
        replace_weights(self.folder / "bad", tensors)
        arguments = ["convert", "bad", "dst", "--to", "hf", "--dtype", "mxfp4", "--force"]
        error = self.error(*arguments, code=SOURCE)
        self.assertEqual(error["code"], "nonfinite_weight")
        self.assertEqual(digests(self.destination), old)

    def test_the_old_checkpoint_can_be_read_while_new_work_lies_beside_it(self):
        old = self.old_checkpoint()
        place = ["--rank", "0", "--world", "2"]
        self.convert("src", "dst", "--to", "nemo", *FILES, "--force", *place)
        printed = self.mxferry("inspect", "dst")
        self.assertIn("this is what was there before", printed.text)
        self.convert("dst", "copy", "--to", "hf", "--max-shard-size", "50KB")
        self.assertEqual(digests(self.folder / "copy"), old)

    def test_a_file_that_cannot_be_replaced_costs_nothing(self):
        self.old_checkpoint()
        options = {"user": NOBODY} if os.geteuid() == 0 else {}
        if not options:
            self.skipTest("only root can make files that others cannot remove")
        self.folder.chmod(0o755)
        self.destination.chmod(0o1777)
        os.chown(self.destination / "config.json", NOBODY, NOBODY)
        os.chown(self.destination / INDEX, NOBODY, NOBODY)
        old = digests(self.destination)
        arguments = ["src", "dst", "--to", "nemo", "--force"]
        try:
            printed = self.convert(*arguments, code=SYSTEM, **options)
        except PermissionError as error:
            self.skipTest(f"another user cannot run the command here: {error}")
        self.assertIn("The old checkpoint is as it was", printed.text)
        self.assertEqual(digests(self.destination), old | {STATE: "a folder"})
        self.mxferry("finish", "dst")
        self.convert("src", "clean", "--to", "nemo")
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))


class Together(Owner):
    def test_what_another_program_puts_there_meanwhile_stays(self):
        options = ["--to", "nemo", *FILES]
        for rank in range(2):
            self.convert("src", "dst", *options, "--rank", str(rank), "--world", "2")
        self.convert("src", "clean", *options)
        theirs = sorted(names(self.folder / "clean")) + ["model-of-theirs.safetensors"]
        for name in theirs:
            with self.subTest(name):
                path = self.destination / name
                path.write_text("theirs")
                error = self.error("finish", "dst")
                self.assertEqual(error["code"], "destination_exists")
                self.assertIn("put there by another program meanwhile", error["message"])
                self.assertEqual(path.read_text(), "theirs")
                path.unlink()
        self.mxferry("finish", "dst")
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_a_shard_that_one_part_relies_on_is_not_made_anew_without_its_share(self):
        options = ["--to", "nemo", "--max-shard-size", "50KB"]
        self.convert("src", "clean", *options)
        for rank in range(3):  # of an earlier run with other parts
            self.convert("src", "dst", *options, "--rank", str(rank), "--world", "3")
        self.convert("src", "dst", *options, "--rank", "1", "--world", "2", "--resume")
        self.convert("src", "dst", *options, "--rank", "0", "--world", "2", "--force")
        self.mxferry("finish", "dst")
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_parts_restarted_with_force_do_not_delete_each_other(self):
        options = ["--to", "nemo", *FILES]
        for rank in range(3):
            self.convert("src", "dst", *options, "--rank", str(rank), "--world", "4")
        other = ["--to", "nemo", "--dtype", "f32", *FILES, "--force", "--no-sync", "--quiet"]
        processes = [
            self.start("convert", "src", "dst", *other, "--rank", str(rank), "--world", "4")
            for rank in range(4)
        ]
        self.assertEqual([process.wait(timeout=60) for process in processes], [0] * 4)
        self.mxferry("finish", "dst")
        self.convert("src", "clean", "--to", "nemo", "--dtype", "f32", *FILES)
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_finish_may_run_many_times_at_once(self):
        options = ["--to", "original", "--checksum"]
        for rank in range(3):
            self.convert("src", "dst", *options, "--rank", str(rank), "--world", "3")
        processes = [self.start("finish", "dst", "--quiet") for _ in range(6)]
        self.assertEqual([process.wait(timeout=60) for process in processes], [0] * 6)
        self.convert("src", "clean", *options)
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_a_shared_shard_that_is_lost_is_never_made_anew_with_holes(self):
        options = ["--to", "original"]  # one file, which both parts write
        places = [["--rank", str(rank), "--world", "2"] for rank in range(2)]
        for place in places:
            self.convert("src", "dst", *options, *place)
        (shared,) = made(self.destination).parent.glob("pieces/shared-*")
        shared.unlink()
        for command in (
            ["finish", "dst"],
            ["convert", "src", "dst", *options, *places[1], "--force"],
        ):
            error = self.error(*command, code=SOURCE)
            self.assertEqual(error["code"], "unfinished_conversion")
        self.assertFalse(shared.exists())
        # That part has nothing to lose any more, so that all can be done again.
        for place in places:
            self.convert("src", "dst", *options, *place, "--resume")
        self.mxferry("finish", "dst")
        self.convert("src", "clean", *options)
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))

    def test_a_part_and_a_whole_run_keep_apart(self):
        options = ["--to", "nemo", *FILES, "--no-sync", "--quiet"]
        process = self.start("convert", "src", "dst", *options, "--rank", "0", "--world", "2")
        process.wait(timeout=60)
        self.convert("src", "dst", *options, code=USAGE)
        self.convert("src", "dst", *options, "--resume")
        self.convert("src", "clean", "--to", "nemo", *FILES)
        self.assertEqual(digests(self.destination), digests(self.folder / "clean"))


class Killed(Owner):
    """Old or new, and nothing in between, whenever a run is killed."""

    def test_over_an_old_checkpoint(self):
        old = self.old_checkpoint()
        arguments = ["convert", "src", "dst", "--to", "nemo", *FILES, "--force", "--quiet"]
        self.convert("src", "clean", "--to", "nemo", *FILES)
        clean = digests(self.folder / "clean")
        for tries in range(20):
            process = self.start(*arguments)
            try:
                process.wait(timeout=0.001 * tries)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            process.wait()
            left = digests(self.destination)
            left.pop(STATE, None)
            if left != old and left != clean:
                self.mxferry("finish", "dst")
                self.assertEqual(digests(self.destination), clean)
                left = clean
            if left == clean:
                subprocess.run(["rm", "-r", self.destination], check=True)
                self.old_checkpoint()
        self.mxferry(*arguments)
        self.assertEqual(digests(self.destination), clean)


if __name__ == "__main__":
    unittest.main()
