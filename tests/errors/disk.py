#!/usr/bin/env python3
"""What a full disk, a read-only one, a limit on file sizes and inputs that vanish do to the command:
a sentence, exit status 1, the last checkpoint intact, nothing half-written; and when the trouble
is over, the run ends as if it had not been.

    disk.py TNL

The disks are small tmpfs mounts in a mount namespace of the test's own; where that is not permitted
these parts are skipped, and said to be.
"""
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
import kills  # noqa: E402

failures = []


def expect(condition, what):
    if not condition:
        failures.append(what)
        print(f"FAILED: {what}")


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def expect_refused(done, words, what):
    expect(done.returncode == 1, f"{what}: exit status {done.returncode}, expected 1: {done.stderr}")
    last = done.stderr.rstrip("\n").splitlines()[-1] if done.stderr else ""
    expect(last.startswith("tnl: ") and words in last, f"{what}: found {last!r}, expected {words!r}")


class Place:
    """A data set on the ordinary disk, a run that was never disturbed, and the commands."""

    def __init__(self, root, tnl):
        self.root, self.tnl = root, tnl
        (root / "text.txt").write_text(kills.text(1, 4000))
        (root / "shape").mkdir()
        (root / "shape" / "config.json").write_text(json.dumps(kills.CONFIG))
        self.pack(root / "packed", check=True)
        self.reference = root / "reference"
        expect(run(self.start(self.reference)).returncode == 0, "the reference run")

    def pack(self, output, check=False):
        done = run([self.tnl, "data", "pack", str(self.root / "text.txt"), "-t", "bytes", "-o",
                    str(output), "--held-out", "0.1", "--shard-tokens", "30000"])
        if check:
            expect(done.returncode == 0, f"packing: {done.stderr}")
        return done

    def start(self, directory, steps=40, data=None):
        return [self.tnl, "train", "--data", str(data or self.root / "packed"), "--config",
                str(self.root / "shape"), "--run", str(directory), "--steps", str(steps),
                "--batch-tokens", "128", "--sequence-length", "64", "--checkpoint-every", "5",
                "--eval-every", "20", "--eval-tokens", "512", "--threads", "2"]

    def resume(self, directory):
        return [self.tnl, "train", "--resume", str(directory), "--threads", "2"]

    def stopped_at_step_5(self, directory, data=None):
        """A run of 40 steps with a checkpoint at step 5 and none behind it."""
        process = subprocess.Popen(self.start(directory, data=data), stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        while process.poll() is None and (kills.newest_checkpoint(directory) < 5 or
                                          not (directory / "model").exists()):
            time.sleep(0.001)
        process.kill()
        process.wait()
        for path in [*directory.glob("checkpoints/step-*"), *directory.rglob("*.tmp.*")]:
            if path.name != "step-00000005":
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        expect(kills.newest_checkpoint(directory) == 5, "a checkpoint at step 5")

    def expect_intact(self, directory, what):
        expect(kills.newest_checkpoint(directory) == 5, f"{what}: the checkpoint is lost")
        left = [str(p) for p in directory.rglob("*") if ".tmp" in p.name]
        expect(not left, f"{what}: left over: {left}")

    def expect_resumes(self, directory, what):
        done = run(self.resume(directory))
        expect(done.returncode == 0, f"{what}: does not resume: {done.stderr}")
        kills.check_same_run(directory, self.reference)


def mount(place, *options):
    return run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tnl-test", str(place)])


def full_disk(place):
    disk = place.root / "small"
    disk.mkdir()
    mount(disk, "size=2m")
    directory = disk / "run"
    place.stopped_at_step_5(directory)
    with open(disk / "ballast", "wb") as ballast:  # leaves 16 KiB
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        ballast.write(bytes(free - 16384))
    expect_refused(run(place.resume(directory)), "No space left on device", "full disk, training")
    place.expect_intact(directory, "full disk")
    expect_refused(place.pack(disk / "packed"), "No space left on device", "full disk, packing")
    expect(sorted(p.name for p in disk.iterdir()) == ["ballast", "run"],
           f"full disk, packing: left over {[p.name for p in disk.iterdir()]}")
    (disk / "ballast").unlink()
    place.expect_resumes(directory, "full disk")


def read_only_disk(place):
    disk = place.root / "frozen"
    disk.mkdir()
    mount(disk, "size=4m")
    directory = disk / "run"
    place.stopped_at_step_5(directory)
    run(["mount", "-o", "remount,ro", str(disk)])
    words = "Read-only file system"
    expect_refused(run(place.resume(directory)), words, "read-only, resuming")
    expect_refused(run(place.start(disk / "new")), words, "read-only, training")
    expect_refused(place.pack(disk / "packed"), words, "read-only, packing")
    expect_refused(run([place.tnl, "plot", str(directory)]), words, "read-only, plotting")
    place.expect_intact(directory, "read-only")
    done = run([place.tnl, "eval", "--model", str(directory / "model"), "--text",
                str(place.root / "text.txt")])
    expect(done.returncode == 0, f"read-only, evaluating: {done.stderr}")
    run(["mount", "-o", "remount,rw", str(disk)])
    place.expect_resumes(directory, "read-only")


def limited_files(place):
    directory = place.root / "limited"
    place.stopped_at_step_5(directory)
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))}
    expect_refused(run(place.resume(directory), **limit), "File too large", "limit, training")
    place.expect_intact(directory, "limit")
    place.expect_resumes(directory, "limit")


def vanished_data(place):
    directory, data = place.root / "vanished", place.root / "data"
    shutil.copytree(place.root / "packed", data)
    place.stopped_at_step_5(directory, data)
    shutil.move(data, place.root / "away")
    done = run(place.resume(directory))
    expect(done.returncode == 2 and "No such file" in done.stderr, f"vanished data: {done.stderr}")
    place.expect_intact(directory, "vanished data")
    shutil.move(place.root / "away", data)
    place.expect_resumes(directory, "vanished data")


def shrinking_data(place):
    """A shard is cut while it is read."""
    directory, data = place.root / "shrunk", place.root / "data-2"
    shutil.copytree(place.root / "packed", data)
    command = place.start(directory, 1000000, data)
    command[command.index("--checkpoint-every") + 1] = "1000000"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not (directory / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    for shard in sorted(data.glob("train-*.bin")):
        os.truncate(shard, 0)
    said = process.communicate(timeout=300)[1]
    expect_refused(subprocess.CompletedProcess(command, process.returncode, "", said),
                   ".bin became shorter", "a shard cut while it is read")


def main(tnl):
    inside = os.environ.get("TNL_TEST_NAMESPACE") == "1"
    if not inside:
        flags = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
        trial = run(["unshare", *flags, "mount", "-t", "tmpfs", "none", "/mnt"])
        if trial.returncode == 0:
            os.environ["TNL_TEST_NAMESPACE"] = "1"
            os.execvp("unshare", ["unshare", *flags, sys.executable, __file__, tnl])
        print(f"skipped: full and read-only disks: cannot mount ({trial.stderr.strip()})")
    with tempfile.TemporaryDirectory() as root:
        place = Place(pathlib.Path(root), os.path.abspath(tnl))
        scenes = [limited_files, vanished_data, shrinking_data]
        if inside:
            scenes += [full_disk, read_only_disk]
        for scene in scenes:
            scene(place)
        if inside:
            for name in ("small", "frozen"):
                run(["umount", str(place.root / name)])
    print(f"{len(scenes)} scenes, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
