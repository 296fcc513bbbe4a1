"""Adapters on the command line: --lora of infer and eval, orion train --lora-rank, inspect, and convert --merge-lora."""
import json
import os
import random
import shutil
import struct
import sys

from orion_case import Suite, expect

suite = Suite()
ADAPTERS = [("gpt2-small-random", "lora-r8"), ("llama-small-random", "lora-qv-r4"), ("llama-small-random", "lora-all-r16"),
            ("qwen3-small-random", "lora-qv-r4"), ("qwen3-small-random", "lora-all-r16")]


def logits(path):
    """Rows of a .npy file of fp32."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<H", data[8:10])[0]
    shape = [int(n) for n in data[10:10 + size].split(b"(")[1].split(b")")[0].split(b",") if n.strip()]
    flat = struct.unpack(f"<{shape[0] * shape[1]}f", data[10 + size:])
    return [flat[i * shape[1]:(i + 1) * shape[1]] for i in range(shape[0])]


def run_json(*args):
    done = suite.orion_run([*args, "--json"])
    expect(done.code == 0, done.errors())
    return json.loads(done.text())


def check_golden(model, adapter, tolerance, *args):
    folder = suite.shared(f"data/models/{model}")
    with open(os.path.join(folder, adapter, "golden.json"), encoding="utf-8") as file:
        golden = json.load(file)
    out = suite.path("logits.npy")
    ids = ",".join(str(i) for i in golden["ids"])
    run_json("eval", "-m", folder, "--tokens", ids, "--logits", out, "--lora", os.path.join(folder, adapter), *args)
    top = max(abs(v) for row in golden["logits"] for v in row)
    off = max(abs(a - b) for x, y in zip(logits(out), golden["logits"]) for a, b in zip(x, y))
    expect(off <= tolerance * top, f"{model}/{adapter} {args}: off by {off:g} of {top:g}")
    return folder, golden


def goldens():
    for model, adapter in ADAPTERS:
        check_golden(model, adapter, 1e-3, "--weights", "fp32")
        folder, golden = check_golden(model, adapter, 2e-2)
        made = run_json("infer", "-m", folder, "--tokens", ",".join(map(str, golden["ids"])), "-n", len(golden["greedy"]),
                        "--weights", "fp32", "--ignore-eos", "--lora", os.path.join(folder, adapter))
        expect(made["tokens"] == golden["greedy"], f"{model}/{adapter}: {made['tokens']}, want {golden['greedy']}")


def scales():
    folder = suite.shared("data/models/llama-small-random")
    adapter = os.path.join(folder, "lora-qv-r4")
    nll = lambda *args: run_json("eval", "-m", folder, "--tokens", "1,17,5,42,99,3", "--weights", "fp32", *args)["nll"]
    plain, whole = nll(), nll("--lora", adapter)
    expect(abs(nll("--lora", adapter + ":0") - plain) < 1e-5, "scale 0 is no adapter")
    expect(abs(nll("--lora", adapter + ":0.25", "--lora", adapter + ":0.75") - whole) < 1e-5, "scales add up")
    expect(abs(whole - plain) > 1e-3, "the adapter changes nothing")


def make_data():
    pick = random.Random(3)
    path = suite.path("ids.bin")
    with open(path, "wb") as file:
        file.write(b"".join(struct.pack("<H", pick.choice([5, 6, 7, 9, 11, 20])) for _ in range(3000)))
    return path


def train():
    folder, data, run = suite.shared("data/models/llama-small-random"), make_data(), suite.path("run")
    args = ["--data", data, "--batch", 4, "--seq", 16, "--lr", "1e-2", "--warmup", 2]
    result = run_json("train", "-m", folder, *args, "--steps", 12, "--save-every", 6, "--lora-rank", 4, "--lora-alpha", 8,
                      "--lora-targets", "q,v,down", "--out", run)
    expect(result["loss"] < result["first_loss"], "the loss does not fall")
    last, middle = os.path.join(run, "step-00000012"), os.path.join(run, "step-00000006")
    with open(os.path.join(last, "adapter_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    expect(config["peft_type"] == "LORA" and config["r"] == 4 and config["lora_alpha"] == 8, f"config is {config}")
    expect(config["target_modules"] == ["q_proj", "v_proj", "down_proj"], f"targets are {config['target_modules']}")
    expect(os.path.getsize(os.path.join(last, "adapter_model.safetensors")) < 30000, "the adapter's file is large")
    again = suite.path("again")
    shutil.copytree(run, again)
    shutil.rmtree(os.path.join(again, "step-00000012"))
    expect(suite.orion_run(["train", "--resume", again]).code == 0, "resume")
    for name in ("adapter_model.safetensors", "optimizer.safetensors"):
        with open(os.path.join(last, name), "rb") as a, open(os.path.join(again, "step-00000012", name), "rb") as b:
            expect(a.read() == b.read(), f"{name} differs after resuming")
    nll = lambda *more: run_json("eval", "-m", folder, "--tokens-file", data, "--limit", 100, *more)["nll"]
    expect(nll("--lora", last) < nll("--lora", middle) < nll(), "training helps on its data")
    run_json("train", "-m", folder, *args, "--steps", 3, "--lora", last, "--out", suite.path("more"))


def inspect():
    folder = suite.shared("data/models/gpt2-small-random")
    o = run_json("inspect", os.path.join(folder, "lora-r8"))
    expect(o["kind"] == "adapter" and o["rank"] == 8 and o["alpha"] == 16 and o["modules"] == 12, f"{o}")
    expect(o["targets"] == "c_attn,c_fc,c_proj", f"{o}")


def merge():
    folder = suite.shared("data/models/gpt2-small-random")
    with open(os.path.join(folder, "lora-r8", "golden.json"), encoding="utf-8") as file:
        golden = json.load(file)
    merged, out = suite.path("merged"), suite.path("merged.npy")
    done = suite.orion_run(["convert", folder, merged, "--dtype", "fp32", "--merge-lora", os.path.join(folder, "lora-r8")])
    expect(done.code == 0, done.errors())
    run_json("eval", "-m", merged, "--tokens", ",".join(map(str, golden["ids"])), "--logits", out, "--weights", "fp32")
    off = max(abs(a - b) for x, y in zip(logits(out), golden["logits"]) for a, b in zip(x, y))
    expect(off < 1e-3, f"off by {off:g}")


def bad():
    llama, gpt2 = suite.shared("data/models/llama-small-random"), suite.shared("data/models/gpt2-small-random")
    cases = [(["--lora", os.path.join(gpt2, "lora-r8")], 3, "c_attn"), (["--lora", os.path.join(llama, "config.json")], 3, "is a file"),
             (["--lora", os.path.join(llama, "none")], 3, "no such directory"), (["--lora", llama], 3, "adapter_config.json"),
             (["--lora", os.path.join(llama, "lora-qv-r4") + ":big"], 2, "'big' is no scale")]
    for args, code, text in cases:
        done = suite.orion_run(["infer", "-m", llama, "--tokens", "1,2,3", "-n", 1, *args])
        expect(done.code == code and text in done.errors() and done.errors().count("\n") == 1,
               f"{args}: exit {done.code}, {done.errors()!r}")
    data = make_data()
    for args, text in [(["--lora-targets", "q"], "--lora-rank"), (["--lora-rank", "4", "--lora-targets", "c"], "'c'"),
                       (["--lora-rank", "4", "--lora", os.path.join(llama, "lora-qv-r4")], "leave the --lora options out")]:
        done = suite.orion_run(["train", "-m", llama, "--data", data, "--seq", 16, "--out", suite.path("bad"), *args])
        expect(done.code == 2 and text in done.errors(), f"{args}: exit {done.code}, {done.errors()!r}")


suite.case("adapters give the reference's logits and tokens", goldens)
suite.case("scales scale, and several adapters add up", scales)
suite.case("an adapter is trained, resumed to the bit, and trained on", train)
suite.case("inspect says what an adapter is", inspect)
suite.case("convert merges an adapter", merge)
suite.case("what is no adapter for the model gets one line", bad)
sys.exit(suite.run())
