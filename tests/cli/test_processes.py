"""Training by several processes under mpirun: equal to one process with the batch of all, the same bits every time, resumed by
another number; and whatever goes wrong in one of them ends all, with one line that says what."""
import array
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from orion_case import Skip, Suite, expect

suite = Suite()
os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_plm_rsh_agent="/bin/false",
                  OMPI_MCA_mpi_yield_when_idle="1")  # tests share the machine
# What Open MPI itself keeps until the end is no leak of ours.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
MPIRUN = ["mpirun", "--oversubscribe", "-n"]


@functools.lru_cache
def why_not():
    """Why no case can run here, "" if they can."""
    if not shutil.which("mpirun"):
        return "mpirun is missing (Open MPI)"
    done = launch(2, ["train"], check=False)
    expect(len(done.own) == 1, f"not one line: {done.own}")
    return "orion is built without MPI" if "built without MPI" in done.own[0] else ""


def case(name, check):
    def run():
        if why_not():
            raise Skip(why_not())
        check()
    suite.case(name, run)


def launch(n, args, wrapper=(), check=True):
    """Runs orion in n processes; its own lines of stderr are in `.own`."""
    command = MPIRUN + [str(n)] + [str(a) for a in wrapper] + [suite.orion] + [str(a) for a in args]
    done = subprocess.run(command, capture_output=True, timeout=100, check=False, stdin=subprocess.DEVNULL)
    done.own = [line for line in done.stderr.decode(errors="replace").splitlines() if "orion: " in line]
    if check:
        expect(done.returncode == 0 and not done.own, done.stderr.decode(errors="replace")[-2000:])
    return done


def fails(n, args, wrapper, what):
    done = launch(n, args, wrapper, check=False)
    expect(done.returncode != 0, "it does not fail")
    expect(len(done.own) == 1 and done.own[0].startswith("orion: error: ") and what in done.own[0],
           f"not one line with {what!r}: {done.own} {done.stderr.decode(errors='replace')[-500:]}")


def train_args(out, *more, steps=8):
    if not os.path.exists(suite.path("small.json")):
        suite.write("small.json", json.dumps({
            "model_type": "llama", "vocab_size": 64, "max_position_embeddings": 64, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0}))
        suite.write("ids.bin", array.array("H", [(i * i // 3 + i % 5) % 64 for i in range(4000)]).tobytes())
    return ["train", "--config", suite.path("small.json"), "--data", suite.path("ids.bin"), "--seq", 32, "--lr", "1e-2",
            "--warmup", 2, "--steps", steps, "--quiet", "--out", suite.path(out), *more]


def losses(out):
    with open(os.path.join(suite.path(out), "log.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [(line["step"], line["loss"], line["grad_norm"], line["tokens"]) for line in lines]


def weights(out, step):
    with open(os.path.join(suite.path(out), f"step-{step:08d}", "model.safetensors"), "rb") as file:
        data = file.read()
    values = array.array("f")
    values.frombytes(data[8 + int.from_bytes(data[:8], "little"):])
    return values


def same_to_rounding(a, b):
    most = max(abs(x) for x in weights(a, 8))
    error = max(abs(x - y) for x, y in zip(weights(a, 8), weights(b, 8)))
    expect(error < 1e-4 * most, f"weights differ by {error / most:.2g} of the largest")
    for x, y in zip(losses(a), losses(b)):
        expect(x[0] == y[0] and x[3] == y[3] and abs(x[1] - y[1]) < 1e-4 and abs(x[2] - y[2]) < 1e-3 * x[2], f"{x} {y}")


def equals_one():
    launch(2, train_args("two", "--batch", 2, "--save-every", 4))
    expect(suite.orion_run(train_args("one", "--batch", 4, "--save-every", 4)).code == 0, "one process fails")
    expect(len(losses("two")) == 8, "the log does not have a line for each step")
    same_to_rounding("one", "two")
    print(f"# losses of one and two processes: {[line[1] for line in losses('one')]} {[line[1] for line in losses('two')]}")


def repeats():
    launch(2, train_args("again", "--batch", 2))
    expect(weights("again", 8) == weights("two", 8) and losses("again") == losses("two"), "another run has other bits")


def goes_on_by_others():
    for n, out in [(1, "by1"), (2, "by2"), (4, "by4")]:
        shutil.copytree(suite.path("two"), suite.path(out))
        shutil.rmtree(suite.path(f"{out}/step-00000008"))
        launch(n, ["train", "--resume", suite.path(out), "--quiet"])
        same_to_rounding("one", out)
    expect(weights("by2", 8) == weights("two", 8), "the same number of processes, other bits")
    fails(3, ["train", "--resume", suite.path("two"), "--steps", 9], [], "3 processes cannot share the run's batch of 4")


def wrap(name, script):
    path = suite.write(name, "#!/bin/sh\n" + script)
    os.chmod(path, 0o755)
    return [path]


def missing_file():
    other = wrap("other.sh", 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then exec "$@" --eval-data gone.bin; fi\nexec "$@"\n')
    fails(2, train_args("gone"), other, "process 1 of 2: gone.bin: ")


def different_data():
    other = wrap("seed.sh", 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then exec "$@" --seed 7; fi\nexec "$@"\n')
    fails(2, train_args("seeds"), other, "do not have the same weights, data and options")


def full_disk():
    other = wrap("full.sh", 'if [ "$OMPI_COMM_WORLD_RANK" = 0 ]; then ulimit -f 40; fi\nexec "$@"\n')
    fails(2, train_args("full", "--save-every", 2), other, "is not saved, earlier ones stand")


def wrong_usage():
    fails(2, ["train", "--stepps", 3], [], "--stepps")


def killed():
    args = [str(a) for a in train_args("killed", "--batch", 2, steps=100000)]
    process = subprocess.Popen(MPIRUN + ["2"] + wrap("pid.sh", 'echo $$ > "$PIDS.$OMPI_COMM_WORLD_RANK"\nexec "$@"\n') +
                               [suite.orion] + args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=dict(os.environ, PIDS=suite.path("pid")))
    log = os.path.join(suite.path("killed"), "log.jsonl")
    while not (os.path.exists(log) and os.path.getsize(log) > 1000):
        expect(process.poll() is None, "it ended by itself")
        time.sleep(0.05)
    pids = [int(open(suite.path(f"pid.{rank}"), encoding="utf-8").read()) for rank in range(2)]
    os.kill(pids[1], signal.SIGKILL)
    expect(process.wait(timeout=60) != 0, "mpirun says that all is well")
    for _ in range(200):
        if not os.path.exists(f"/proc/{pids[0]}"):
            return
        time.sleep(0.05)
    expect(not os.path.isdir("/proc/self"), "the other process lives on")


case("two processes equal one with twice the batch", equals_one)
case("a run by two processes has the same bits every time", repeats)
case("a run goes on under another number of processes, or says why not", goes_on_by_others)
case("a file that one process lacks ends all", missing_file)
case("processes with different data are refused", different_data)
case("a disk that is full for the one that writes ends all", full_disk)
case("wrong usage is said once", wrong_usage)
case("a process that is killed ends the other", killed)
sys.exit(suite.run())
