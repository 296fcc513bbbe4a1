"""orion train: a small model learns a text made here, its log and checkpoints are as agreed, and a run that is killed at any
moment goes on as if nothing had been."""
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

from orion_case import Suite, expect

suite = Suite()
KEYS = ["step", "loss", "lr", "grad_norm", "tokens", "tok_s", "step_ms", "update_ms", "rss_mb"]


def make_text(seed, sentences):
    """Sentences of the words that the demo tokenizer knows; a document every ten."""
    pick = random.Random(seed)
    text = ""
    for i in range(sentences):
        text += "Once upon a time " + " ".join(
            [pick.choice(["the", "a"]), pick.choice(["little", "big", "happy"]), pick.choice(["dog", "cat", "bird", "girl"]),
             pick.choice(["saw", "found", "liked"]), "the", pick.choice(["red", "blue", "green"]),
             pick.choice(["ball", "box", "tree"])]) + ". "
        if i % 10 == 9:
            text += "\n<|endoftext|>\n"
    return text


def prepare():
    demo = suite.path("demo")
    if os.path.isdir(demo):
        return demo
    vocab = json.loads(suite.orion_run(["demo-model", demo, "--json"]).stdout)["vocab"]
    suite.write("small.json", json.dumps({
        "model_type": "llama", "vocab_size": vocab, "max_position_embeddings": 64, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0}))
    suite.write("train.txt", make_text(1, 300))
    suite.write("held.txt", make_text(2, 40))
    return demo


def train_args(out, *more):
    demo = prepare()
    return ["train", "--config", suite.path("small.json"), "--tokenizer", demo, "--data", suite.path("train.txt"), "--batch", 4,
            "--seq", 32, "--lr", "1e-2", "--warmup", 3, "--out", suite.path(out), *more]


def read_log(run):
    with open(os.path.join(suite.path(run), "log.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_weights(run, step):
    files = []
    for name in ["model.safetensors", "optimizer.safetensors"]:
        with open(os.path.join(suite.path(run), f"step-{step:08d}", name), "rb") as file:
            files.append(file.read())
    return files


def learns():
    result = suite.orion_run(train_args("a", "--eval-data", suite.path("held.txt"), "--steps", 30, "--eval-every", 10, "--json"))
    expect(result.code == 0, result.errors())
    said = json.loads(result.stdout)
    log = read_log("a")
    expect([line["step"] for line in log] == list(range(1, 31)), "steps of the log")
    for line in log:
        for key in KEYS:
            expect(isinstance(line[key], (int, float)), f"{key} in {line}")
        expect(("eval_loss" in line) == (line["step"] % 10 == 0), f"eval_loss in {line}")
    expect(5.0 < log[0]["loss"] < 6.5, f"first loss {log[0]['loss']}")
    expect(log[-1]["loss"] < 2.5 and log[-1]["eval_loss"] < 2.5, f"last losses {log[-1]}")
    expect(log[-1]["tokens"] == 30 * 4 * 32 == said["tokens"], "tokens")
    expect(said["best_eval_loss"] == min(line.get("eval_loss", 99) for line in log) or abs(
        said["best_eval_loss"] - log[-1]["eval_loss"]) < 1e-6, f"best of {said}")
    expect(log[0]["lr"] < log[2]["lr"] == 1e-2 > log[-1]["lr"], "learning rates")


def writes_models():
    run = suite.path("a")
    done = suite.orion_run(["infer", "-m", os.path.join(run, "step-00000030"), "-p", "Once upon a", "-n", 4, "--temp", 0])
    expect(done.code == 0 and "time" in done.text(), f"{done.text()!r} {done.errors()}")
    best = [name for name in os.listdir(run) if name.startswith("best-")]
    expect(len(best) == 1, f"best ones: {best}")


def inspects():
    svg = suite.path("curve.svg")
    result = suite.orion_run(["inspect", suite.path("a"), "--svg", svg, "--json"])
    said = json.loads(result.stdout)
    expect(said["kind"] == "run" and said["step"] == 30 and said["checkpoint_step"] == 30, f"{said}")
    expect(xml.parse(svg).getroot().tag.endswith("svg"), "no SVG")
    said = json.loads(suite.orion_run(["inspect", os.path.join(suite.path("a"), "step-00000030"), "--json"]).stdout)
    expect(said["kind"] == "checkpoint" and said["step"] == 30 and said["layers"] == 2, f"{said}")


def killed_runs_go_on():
    steps = 40
    whole = suite.orion_run(train_args("whole", "--steps", steps, "--threads", 2, "--quiet"))
    expect(whole.code == 0, whole.errors())
    args = [suite.orion] + [str(a) for a in train_args("killed", "--steps", steps, "--save-every", 1, "--threads", 1, "--quiet")]
    pick = random.Random(3)
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=pick.uniform(0.3, 1.0))
            expect(process.returncode == 0, errors.decode())
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        run = suite.path("killed")
        if os.path.isdir(os.path.join(run, f"step-{steps:08d}")):
            break  # killed between its last checkpoint and its end: there is nothing left to go on with
        if os.path.isdir(run) and any(re.match(r"step-\d+$", name) for name in os.listdir(run)):
            args = [suite.orion, "train", "--resume", run, "--save-every", "1", "--threads", "1", "--quiet"]
        elif os.path.isdir(run):
            for name in os.listdir(run):
                if name == "log.jsonl":
                    os.remove(os.path.join(run, name))
    else:  # on a busy machine no kill leaves it the time to end
        expect(subprocess.run(args, stderr=subprocess.DEVNULL, check=False).returncode == 0, "the last one fails")
    expect(read_weights("whole", steps) == read_weights("killed", steps), f"after {kills} kills the weights differ")
    log = read_log("killed")
    expect([line["step"] for line in log] == list(range(1, steps + 1)), "steps of the log")
    expect([line["loss"] for line in log] == [line["loss"] for line in read_log("whole")], "losses of the log")


def stops_when_asked():
    args = [suite.orion] + [str(a) for a in train_args("asked", "--steps", 100000, "--quiet")]
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    log = os.path.join(suite.path("asked"), "log.jsonl")
    for _ in range(600):
        if os.path.exists(log) and os.path.getsize(log) > 1000:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    expect(process.returncode == 1 and b"stopped after step" in errors, f"{process.returncode} {errors!r}")
    step = read_log("asked")[-1]["step"]
    expect(os.path.isfile(os.path.join(suite.path("asked"), f"step-{step:08d}", "state.json")), "it is not saved")


def strategies_agree():
    weights = []
    for kind in ["delta", "input", "recompile"]:
        result = suite.orion_run(train_args(kind, "--steps", 3, "--update", kind, "--quiet"))
        expect(result.code == 0 and not result.errors(), result.errors())
        weights.append(read_weights(kind, 3))
    expect(weights[0] == weights[1] == weights[2], "the strategies end in different weights")


def starts_itself_anew():
    """A process of this sim compiles so few programs that most updates need a new one."""
    few = suite.orion_run(train_args("few", "--steps", 12, "--update", "recompile", "--device", "sim:ideal,compiles=14",
                                     "--eval-data", suite.path("held.txt"), "--eval-every", 5))
    expect(few.code == 0, few.errors())
    expect(few.errors().count("\n") == 1 and "a process may compile 14 programs, and each update takes 1" in few.errors(),
           f"it is said once: {few.errors()}")
    expect(few.text().count("from step 0") == 1 and "step 12" in few.text(), few.text())
    whole = suite.orion_run(train_args("whole2", "--steps", 12, "--update", "recompile", "--device", "sim:ideal",
                                       "--eval-data", suite.path("held.txt"), "--eval-every", 5, "--quiet"))
    expect(whole.code == 0 and not whole.errors(), whole.errors())
    expect(read_weights("few", 12) == read_weights("whole2", 12), "other weights than without a limit")
    log = [[(line["step"], line["loss"], line.get("eval_loss")) for line in read_log(run)] for run in ("few", "whole2")]
    expect(log[0] == log[1], "other losses than without a limit")
    saved = [name for name in os.listdir(suite.path("few")) if name.startswith("step-")]
    expect(len(saved) > 1, f"it never started anew: {saved}")


def learns_on_an_engine():
    result = suite.orion_run(train_args("engine", "--steps", 6, "--device", "sim:m4", "--quiet"))
    expect(result.code == 0 and not result.errors(), result.errors())
    losses = [line["loss"] for line in read_log("engine") if "loss" in line]
    result = suite.orion_run(train_args("host", "--steps", 6, "--quiet"))
    expect(result.code == 0, result.errors())
    expected = [line["loss"] for line in read_log("host") if "loss" in line]
    expect(losses[-1] < losses[0] and len(losses) == len(expected), f"{losses}")
    expect(all(abs(a - b) < 2e-2 for a, b in zip(losses, expected)), f"{losses} instead of {expected}")


def goes_on_from_a_model():
    result = suite.orion_run(["train", "-m", prepare(), suite.path("train.txt"), "--steps", 2, "--seq", 16, "--out", suite.path("on"),
                              "--json"])
    expect(result.code == 0, result.errors())
    expect(json.loads(result.stdout)["steps"] == 2, "steps")


def fast_products_are_near():
    losses = []
    for precision in ["exact", "fast"]:
        result = suite.orion_run(train_args(precision, "--steps", 5, "--precision", precision, "--json"))
        expect(result.code == 0, result.errors())
        losses.append([line["loss"] for line in read_log(precision)])
    for exact, fast in zip(*losses):
        expect(abs(fast / exact - 1) < 1e-2, f"losses {losses}")


def memory_is_kept_to():
    plain = suite.orion_run(train_args("roomy", "--steps", 3, "--json"))
    short = suite.orion_run(train_args("short", "--steps", 3, "--json", "--memory", "0.5M"))
    expect(plain.code == 0 and json.loads(plain.stdout)["recompute"] == "none" and not plain.stderr, plain.errors())
    expect(short.code == 0 and json.loads(short.stdout)["recompute"] == "most" and "memory is short" in short.errors(), short.errors())
    expect(read_weights("roomy", 3) == read_weights("short", 3), "weights differ")
    for wrong in [("--memory", "much"), ("--memory", "4T"), ("--memory", "0"), ("--recompute", "all")]:
        result = suite.orion_run(train_args("wrong", "--steps", 3, *wrong))
        expect(result.code == 2 and wrong[1] in result.errors(), result.errors())


suite.case("a small model learns", learns)
suite.case("checkpoints are models", writes_models)
suite.case("inspect shows a run, its curve and a checkpoint", inspects)
suite.case("runs that are killed go on to the same bits", killed_runs_go_on)
suite.case("an interrupt saves and stops", stops_when_asked)
suite.case("strategies of updating end in the same weights", strategies_agree)
suite.case("a process that may compile no more is replaced", starts_itself_anew)
suite.fails("a process that may compile too little for one step",
            lambda: train_args("least", "--update", "recompile", "--device", "sim:ideal,compiles=5"), 4, "compiles=5 allows no more")
suite.case("a model is trained on", goes_on_from_a_model)
suite.case("a simulated engine trains with the losses of cpu", learns_on_an_engine)
suite.case("fast products learn the same", fast_products_are_near)
suite.case("what memory lacks is computed again, to the same bits", memory_is_kept_to)
suite.fails("a precision that is none", lambda: train_args("rough", "--precision", "rough"), 2, "neither exact nor fast")
suite.fails("the simulator has one precision", lambda: train_args("rough", "--device", "sim:m4", "--precision", "fast"), 2, "cpu")
suite.fails("another run's directory", lambda: train_args("a"), 2, "holds another run")
suite.fails("no data", lambda: ["train", "-m", prepare(), "--out", suite.path("x")], 2, "--data")
suite.fails("no directory", lambda: ["train", "-m", prepare(), "--data", suite.path("train.txt")], 2, "--out")
suite.fails("what is missing, before a model is opened", lambda: ["train", "-m", suite.path("none"), "--data", "x.txt"], 2, "--out")
suite.fails("a loss scale that is none, before a model is opened",
            lambda: ["train", "-m", suite.path("none"), "--data", "x.txt", "--out", suite.path("x"), "--loss-scale", "big"], 2, "neither auto")
suite.fails("an adapter on random weights", lambda: train_args("z", "--lora-rank", 2), 2, "-m MODEL")
suite.fails("a directory's name that is too long", lambda: train_args("/".join(["d" * 200] * 25)), 2, "want 1 to 4095 bytes")
suite.fails("nothing to train", ["train", "--data", "x.txt", "--out", "y"], 2, "give one of")
suite.fails("a run that is done", lambda: ["train", "--resume", suite.path("a")], 2, "has made its 30 steps")
suite.fails("nothing to resume", lambda: ["train", "--resume", suite.path("no")], 3, "no: cannot open")
suite.fails("a bad loss scale", lambda: train_args("y", "--loss-scale", "big"), 2, "neither auto nor a number")
suite.fails("a text without tokenizer", lambda: ["train", "--config", suite.path("small.json"), "--data", suite.path("train.txt"),
                                                 "--out", suite.path("z")], 2, "there is no tokenizer")
sys.exit(suite.run())
