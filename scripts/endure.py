#!/usr/bin/env python3
"""What a training run must endure: kills at any moment, thousands of updates, a full disk. Reports in TAP.

    scripts/endure.py build/orion                              the full count: 50 kills, 10,000 updates of each strategy
    scripts/endure.py build/orion --kills 4 --updates 300      the short form, which `make test` runs

Kills     a run that saves after every step is killed (SIGKILL) at random moments and resumed each time: every resumption
          works, and it ends in the bits of a run that nobody disturbed: weights, moments, the losses in its log.
Updates   with each way of updating weights: memory, memory maps and open files are after the last update what they were
          after the first tenth.
Disk      where nothing more can be written, the run ends with one line that says so; older checkpoints are whole, nothing
          half-written stays, and when there is room again the run goes on to the bits of the undisturbed one.
"""
import argparse
import array
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CONFIG = {
    "model_type": "llama", "vocab_size": 64, "max_position_embeddings": 32, "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0}
SAVED = ["model.safetensors", "optimizer.safetensors"]


class Endure:
    def __init__(self, options, folder):
        self.options, self.folder, self.case, self.failed = options, folder, 0, False
        self.pick = random.Random(options.seed)
        with open(self.path("config.json"), "w", encoding="utf-8") as file:
            json.dump(CONFIG, file)
        with open(self.path("ids.bin"), "wb") as file:
            file.write(array.array("H", [(i * i // 3 + i % 5) % 64 for i in range(4000)]).tobytes())

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def start(self, out, *more, **how):
        """A new run, or one that goes on where there is a checkpoint."""
        run = self.path(out)
        args = [self.options.orion, "train", "--quiet"]
        if self.newest(out):
            args += ["--resume", run]
        else:
            shutil.rmtree(run, ignore_errors=True)
            args += ["--config", self.path("config.json"), "--data", self.path("ids.bin"), "--seq", "16", "--batch", "2",
                     "--warmup", "2", "--out", run]
        return subprocess.Popen(args + [str(a) for a in more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **how)

    def finish(self, process):
        errors = process.communicate(timeout=3000)[1].decode()
        return process.returncode, errors

    def saved(self, out, step):
        files = []
        for name in SAVED:
            with open(self.path(out, f"step-{step:08d}", name), "rb") as file:
                files.append(file.read())
        return files

    def losses(self, out):
        with open(self.path(out, "log.jsonl"), encoding="utf-8") as file:
            return [(line["step"], line["loss"]) for line in map(json.loads, file)]

    def report(self, name, problem, skip=None):
        self.case += 1
        if skip:
            print(f"skipped: {skip}\nok {self.case} # SKIP {name}", flush=True)
            return
        print(f"{'not ok' if problem else 'ok'} {self.case} - {name}", flush=True)
        if problem:
            print(f"# {problem}", flush=True)
        self.failed |= bool(problem)

    def newest(self, out):
        """The step of the newest checkpoint, 0 if there is none."""
        run = self.path(out)
        return max((int(name[5:]) for name in (os.listdir(run) if os.path.isdir(run) else []) if name.startswith("step-")),
                   default=0)

    # ---- kills ----

    def kills(self):
        steps = 60 * self.options.kills  # so many that it is hardly done before the last kill
        began = time.time()
        code, errors = self.finish(self.start("whole", "--steps", steps, "--save-every", 0))
        if code:
            return f"undisturbed: {errors}"
        kills = empty = 0
        reached = []
        args = ["--steps", steps, "--save-every", 1]
        while kills < self.options.kills and self.newest("killed") < steps:
            process, before = self.start("killed", *args), self.newest("killed")
            if self.pick.random() < 0.75:  # let it get somewhere, however slow the machine; the others may die while they start
                while process.poll() is None and self.newest("killed") == before:
                    time.sleep(0.005)
            time.sleep(self.pick.uniform(0, 0.4))
            if process.poll() is not None:
                if process.returncode:
                    return f"after {kills} kills: {self.finish(process)[1]}"
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            reached.append(self.newest("killed"))
            empty += reached[-1] == 0
        code, errors = self.finish(self.start("killed", *args)) if reached[-1] < steps else (0, "")
        if code:
            return f"after {kills} kills: {errors}"
        if kills * 2 < self.options.kills:
            return f"all {steps} steps are done after {kills} kills"
        print(f"# {kills} kills, {empty} of them before the first checkpoint, the others after steps "
              f"{[r for r in reached if r]} of {steps}; {time.time() - began:.0f} s")
        if self.saved("whole", steps) != self.saved("killed", steps):
            return f"after {kills} kills weights or moments differ"
        if self.losses("whole") != self.losses("killed"):
            return "the logs differ"
        left = [name for name in os.listdir(self.path("killed")) if name.startswith(".")]
        return f"left behind: {left}" if left else None

    # ---- updates ----

    @staticmethod
    def measure(pid):
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
            maps = sum(1 for _ in file)
        return rss, maps, len(os.listdir(f"/proc/{pid}/fd"))

    def updates(self, kind):
        total = self.options.updates
        began = time.time()
        process = self.start(kind, "--steps", 1 << 30, "--update", kind, "--save-every", 0, "--threads", 1)
        log, seen, samples = self.path(kind, "log.jsonl"), 0, []
        with_at = [total // 10, total]
        file = None
        try:
            while with_at:
                if process.poll() is not None:
                    return f"it ended: {self.finish(process)[1]}"
                if not file and os.path.exists(log):
                    file = open(log, "rb")
                if file:
                    seen += file.read().count(b"\n")
                if seen >= with_at[0]:
                    samples.append((seen,) + self.measure(process.pid))
                    with_at.pop(0)
                time.sleep(0.01)
        finally:
            process.kill()
            process.communicate()
            if file:
                file.close()
        first, last = samples
        with open(log, encoding="utf-8") as lines:
            update = sorted(json.loads(line)["update_ms"] for line in lines if line.endswith("\n"))
        print(f"# {kind}: after {first[0]} and {last[0]} updates: {first[1]} and {last[1]} kB resident, {first[2]} and {last[2]} "
              f"maps, {first[3]} and {last[3]} files; update {update[len(update) // 2]:.3g} ms; {time.time() - began:.0f} s")
        if last[1] > first[1] * 1.02 + 512:
            return f"memory grows from {first[1]} to {last[1]} kB"
        if last[2] > first[2] + 2:
            return f"memory maps grow from {first[2]} to {last[2]}"
        return f"open files grow from {first[3]} to {last[3]}" if last[3] > first[3] else None

    # ---- disk ----

    def check_full(self, out, code, errors, kept):
        if code != 1 or errors.count("\n") != 1 or "is not saved, earlier ones stand" not in errors:
            return f"exit {code}: {errors!r}"
        names = sorted(os.listdir(self.path(out)))
        if [name for name in names if name.startswith((".", "step-"))] != kept:
            return f"what stands: {names}"
        return None

    def go_on(self, out, steps):
        code, errors = self.finish(self.start(out, "--steps", steps))
        if code:
            return f"resuming: {errors}"
        self.finish(self.start(out + "-whole", "--steps", steps, "--save-every", 0))
        return None if self.saved(out, steps) == self.saved(out + "-whole", steps) else "the bits differ from an undisturbed run's"

    def size_limit(self):
        """No file may be longer than a checkpoint's moments: what a limit of the shell, or of a quota, does."""
        process = self.start("limited", "--steps", 3)
        code, errors = self.finish(process)
        if code:
            return errors
        size = os.path.getsize(self.path("limited", "step-00000003", "optimizer.safetensors"))

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1000, size - 1000))
        code, errors = self.finish(self.start("limited", "--steps", 6, "--save-every", 2, preexec_fn=limit))
        return self.check_full("limited", code, errors, ["step-00000003"]) or self.go_on("limited", 6)

    def full_disk(self):
        """A file system of its own that is too small for three checkpoints. Needs root; None if it cannot be had."""
        where = self.path("full")
        os.mkdir(where)
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", where], check=False,
                                               stderr=subprocess.DEVNULL).returncode:
            return None
        try:
            code, errors = self.finish(self.start("full/run", "--steps", 40, "--save-every", 4, "--keep", 0))
            kept = sorted(name for name in os.listdir(self.path("full/run")) if name.startswith("step-"))
            print(f"# the disk was full after {kept[-1]}: {errors.strip()[-80:]}")
            problem = self.check_full("full/run", code, errors, kept)
            if problem or not kept or "No space left" not in errors:
                return problem or f"{kept} {errors}"
            subprocess.run(["mount", "-o", "remount,size=64m", where], check=True)
            return self.go_on("full/run", 40) or ""
        finally:
            subprocess.run(["umount", where], check=False)

    def run(self):
        print("1..6")
        self.report(f"{self.options.kills} kills change no bit", self.kills())
        for kind in ["delta", "input", "recompile"]:
            name = f"{self.options.updates} updates by {kind} leave memory, maps and files as they were"
            if os.path.isdir("/proc/self"):
                self.report(name, self.updates(kind))
            else:
                self.report(name, None, skip="there is no /proc here")
        self.report("a limit on the size of files is said, older checkpoints stand", self.size_limit())
        result = self.full_disk()
        self.report("a full disk is said, older checkpoints stand", result, skip=result is None and "no file system may be mounted")
        return 1 if self.failed else 0


def main():
    # A sanitizer keeps what was freed for a while, which is no growth of ours.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("orion")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--updates", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.orion = os.path.abspath(options.orion)
    with tempfile.TemporaryDirectory(prefix="orion-endure-") as folder:
        return Endure(options, folder).run()


if __name__ == "__main__":
    sys.exit(main())
