"""Quantised weights: how much a trained model loses, and programs with integer weights through files.

int8 must cost next to nothing: its cross-entropy on a text within 1 % of fp16's. int4 on models as small as these costs
visibly; it must not cost more than Q4_0 does in groups of the same size, but for what 1,500 tokens cannot tell
(docs/quantisation.md has it from more). Rounding the activations too (--precision fast) may change a hundredth of either.
Programs written by `compile` pass `check` and run from their files on cpu and on the simulator, to the same numbers.
"""
import array
import glob
import json
import os
import sys

from orion_case import Suite, expect
from q4_0 import requantise

suite = Suite()
MODELS = [("tinystories-656k", ["-m", "data/models/tinystories-656k"], 1.04),
          ("stories260K", ["-m", "data/llama2c/stories260K.bin", "--tokenizer", "data/llama2c/tok512.bin"], 1.15)]


def with_paths(args):
    return [suite.shared(a) if a.startswith("data/") else a for a in args]


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    size = int.from_bytes(data[8:10], "little")
    halves = b"f2" in data[10:10 + size]
    values = memoryview(data[10 + size:]).cast("B")
    if not halves:
        return array.array("f", values.tobytes())
    import struct
    return struct.unpack(f"<{len(values) // 2}e", values)


def loss_case(name, model, int4_bound):
    def check():
        nll = {}
        for weights in ["fp16", "int8", "int4", "int8 fast", "int4 fast"]:
            how = ["--weights", weights[:4]] + (["--precision", "fast"] if weights.endswith("fast") else [])
            result = suite.orion_run(["eval", *with_paths(model), "-f", suite.shared("data/tinystories/val.txt"), "--limit",
                                      "1500", *how, "--json"])
            expect(result.code == 0, result.errors())
            nll[weights] = json.loads(result.stdout)["nll"]
        for weights in ["int8", "int4"]:
            fast = nll[weights + " fast"]
            expect(abs(fast / nll[weights] - 1) <= 0.01, f"{weights} gives {nll[weights]}, fast {fast}")
            expect(fast != nll[weights], f"fast changes nothing for {weights}: is it used?")
        expect(abs(nll["int8"] / nll["fp16"] - 1) <= 0.01, f"int8 gives {nll['int8']}, fp16 {nll['fp16']}")
        expect(nll["int8"] != nll["fp16"], "int8 changes nothing: is it used?")
        expect(nll["int4"] <= nll["fp16"] * int4_bound, f"int4 gives {nll['int4']}, fp16 {nll['fp16']}")
    suite.case(f"{name}: what quantised weights lose", check)


def q4_0_case(name, model):
    def check():
        plain, rounded = suite.path(name + "-fp32"), suite.path(name + "-q4_0")
        result = suite.orion_run(["convert", *with_paths(model)[1:2], plain, "--dtype", "fp32", *with_paths(model)[2:]])
        expect(result.code == 0, result.errors())
        requantise(plain, rounded)
        nll = []
        for args in [[plain, "--weights", "int4"], [rounded, "--weights", "fp32"]]:
            result = suite.orion_run(["eval", "-m", *args, "-f", suite.shared("data/tinystories/val.txt"), "--limit", "1500",
                                      "--json"])
            expect(result.code == 0, result.errors())
            nll.append(json.loads(result.stdout)["nll"])
        expect(nll[0] <= nll[1] * 1.015, f"int4 gives {nll[0]}, Q4_0 {nll[1]}")
    suite.case(f"{name}: int4 loses no more than Q4_0", check)


def files_case(target, weights):
    def check():
        out = suite.path(f"programs-{target}-{weights}")
        result = suite.orion_run(["compile", *with_paths(MODELS[0][1]), "-o", out, "--target", target, "--weights", weights,
                                  "--ctx", "64"])
        expect(result.code == 0, result.errors())
        parts = sorted(glob.glob(os.path.join(out, "*", "model.mil")))
        expect(len(parts) >= 2, f"{len(parts)} programs")
        for part in parts:
            with open(part, encoding="utf-8") as file:
                expect(f"tensor<{weights}, [" in file.read(), f"{part}: no matrix is {weights}")
            result = suite.orion_run(["check", part, "--target", target])
            expect(result.code == 0, result.text())
            values = []
            for device in ["cpu", "sim:ideal"]:
                results = os.path.join(os.path.dirname(part), device.replace(":", "-"))
                result = suite.orion_run(["run", os.path.dirname(part), "--random-inputs", "3", "--device", device,
                                          "--out", results])
                expect(result.code == 0, result.errors())
                values.append({os.path.basename(p): read_npy(p) for p in glob.glob(os.path.join(results, "*.npy"))})
            expect(values[0] and values[0].keys() == values[1].keys(), "other outputs")
            for name, got in values[0].items():
                want = values[1][name]
                scale = max(abs(v) for v in want)
                worst = max(abs(a - b) for a, b in zip(got, want)) / scale
                expect(len(got) == len(want) and worst <= 1e-2, f"{part}: {name} is off by {worst:.1e}")
    suite.case(f"{weights} programs for {target} go through files", check)


for entry in MODELS:
    loss_case(*entry)
    q4_0_case(*entry[:2])
for target in ["cpu", "m4"]:
    for weights in ["int8", "int4"]:
        files_case(target, weights)
suite.fails("no such precision", lambda: ["eval", *with_paths(MODELS[0][1]), "--tokens", "1,2", "--precision", "rough"], code=2,
            stderr="rough")
suite.fails("the simulator has one precision", lambda: ["eval", *with_paths(MODELS[0][1]), "--tokens", "1,2", "--device",
                                                        "sim:m4", "--precision", "fast"], code=2, stderr="cpu")
sys.exit(suite.run())
