"""orion bench: its figures, their round trip through a file, wrong usage. Nothing here asserts a speed."""
import json
import os
import re
import subprocess
import sys

from orion_case import Suite, expect

suite = Suite()
MODEL = suite.path("demo")
subprocess.run([suite.orion, "demo-model", MODEL], check=True, capture_output=True)
KEYS = ["bench", "version", "commit", "command", "machine", "device", "threads", "figures"]
INFER = ["bench", "infer", "-m", MODEL, "--quick", "--repeat", "2", "-n", "2", "--prompt-tokens", "3"]


def by_name(report):
    return {f["name"]: f for f in report["figures"]}


def sound(report, names, ceilings):
    """Every figure is there and in order; those with a ceiling name it."""
    figures = by_name(report)
    expect(len(figures) == len(report["figures"]), "a name is there twice")
    for name in names:
        expect(name in figures, f"{name} is missing among {sorted(figures)}")
    for f in report["figures"]:
        expect(0 < f["low"] <= f["median"] <= f["high"] or f["samples"] == 1, f"out of order: {f}")
        expect(f["samples"] >= 1 and f["unit"], f"odd figure: {f}")
    for name, ceiling in ceilings.items():
        expect(figures[name]["ceiling"] == ceiling and figures[name]["fraction"] > 0, f"no ceiling: {figures[name]}")
    machine = report["machine"]
    expect(machine["processors"] >= 1 and machine["level"] and len(machine["load"]) == 3, f"odd machine: {machine}")


def infer(report):
    sound(report, ["load", "load_cold", "first_token", "peak_memory", "weights", "kv_cache", "memory_read", "plain_read@4",
                   "floor@4", "decode@4", "decode_rate@4", "decode_read@4", "bytes_read@9", "decode@9"],
          {"decode_read@4": "plain_read"})
    figures = by_name(report)
    per_position = (figures["bytes_read@9"]["median"] - figures["bytes_read@4"]["median"]) / 5
    with open(os.path.join(MODEL, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    kv_heads = config.get("num_key_value_heads", config["num_attention_heads"])
    head = config["hidden_size"] // config["num_attention_heads"]
    want = 2 * config["num_hidden_layers"] * kv_heads * head * 2 / 1e6
    expect(abs(per_position - want) < 1e-3 * want, f"{per_position} MB of keys and values a position, not {want}")
    expect(figures["decode@4"]["samples"] == 4, "2 repetitions of 2 tokens are not 4 samples")
    expect(report["command"][:3] == ["orion", "bench", "infer"] and "--quick" in report["command"], "odd command")


suite.json("infer measures each position", INFER + ["--at", "4", "--at", "9", "--json"], keys=KEYS, check=infer)
suite.json("infer on the simulator has no ceilings", INFER + ["--device", "sim", "--at", "4", "--json"], keys=KEYS,
           check=lambda r: expect("decode@4" in by_name(r) and "memory_read" not in by_name(r), "wrong figures"))
suite.json("prefill measures each length", ["bench", "prefill", "-m", MODEL, "--quick", "--length", "8", "--length", "16",
                                            "--json"], keys=KEYS,
           check=lambda r: sound(r, ["first@8", "prefill@8", "prefill_rate@8", "floor@16", "multiply_add@16"],
                                 {"prefill_compute@16": "multiply_add"}))
suite.json("kernels measures a model's shapes", ["bench", "kernels", "-m", MODEL, "--quick", "--repeat", "1", "--json"],
           keys=KEYS, check=lambda r: (sound(r, ["memory_read", "multiply_add"], {}),
                                       expect(any(re.fullmatch(r"fp16 \d+x\d+ rows 32", n) for n in by_name(r)),
                                              "no product of 32 rows")))
for device in ["cpu", "cpu:isa=portable", "sim"]:
    suite.json(f"dispatch on {device}", ["bench", "dispatch", "--device", device, "--quick", "--json"], keys=KEYS,
               check=lambda r: sound(r, ["parse", "compile", "bind", "lock", "run"], {}))
suite.fails("dispatch on a device that runs nothing", ["bench", "dispatch", "--device", "null"], code=4, stderr="null")


def round_trip():
    """What is saved is what --json prints, and compares with itself as unchanged."""
    path = suite.path("saved.json")
    result = suite.orion_run(["bench", "dispatch", "--quick", "--save", path, "--json"])
    expect(result.code == 0, result.errors())
    printed = json.loads(result.stdout)
    with open(path, encoding="utf-8") as file:
        expect(json.load(file) == printed, "the file is not what was printed")
    figures = by_name(printed)
    for factor, note in [(1000, "better"), (0.001, "worse")]:
        for f in printed["figures"]:
            for key in ["median", "low", "high", "best"]:
                f[key] *= factor
        with open(path, "w", encoding="utf-8") as file:
            json.dump(printed, file)
        result = suite.orion_run(["bench", "dispatch", "--quick", "--compare", path, "--json"])
        expect(result.code == 0, result.errors())
        run = by_name(json.loads(result.stdout))["run"]
        expect(abs(run["saved"] - figures["run"]["median"]) < 1e-6 * run["saved"], f"not the saved figure: {run}")
        expect(run["note"] == note and (run["change_percent"] < 0) == (note == "better"), f"not {note}: {run}")
        table = suite.orion_run(["bench", "dispatch", "--quick", "--compare", path]).text()
        expect(re.search(rf"run .*; was .*%, {note}", table), f"no {note} in {table!r}")
        for f in printed["figures"]:
            for key in ["median", "low", "high", "best"]:
                f[key] /= factor


suite.case("saved figures are found again", round_trip)
suite.ok("a table names machine and unit", ["bench", "dispatch", "--quick"], stdout=r"(?s)processors?.*run .* us")

suite.fails("no kind is wrong usage", ["bench"], code=2, stderr="operand")
for kind in ["train", "update", "nonsense"]:
    suite.fails(f"{kind} is no kind", ["bench", kind], code=2, stderr=kind)
suite.fails("infer needs a model", ["bench", "infer"], code=2, stderr="-m MODEL")
suite.fails("a missing model is named", ["bench", "infer", "-m", suite.path("none")], code=3, stderr="none")
suite.fails("a position beyond the context", INFER + ["--at", "1000000"], code=2, stderr="1000000")
suite.fails("a prompt of no token", ["bench", "prefill", "-m", MODEL, "--quick", "--length", "0"], code=2, stderr="length")
suite.fails("no samples", ["bench", "dispatch", "--repeat", "0"], code=2, stderr="repeat")
suite.fails("too many positions", INFER + ["--at", "1"] * 9, code=2, stderr="more than")
suite.fails("a file that is not there", ["bench", "dispatch", "--compare", suite.path("none.json")], code=3,
            stderr=r"none\.json")
suite.fails("a file that is no JSON", lambda: ["bench", "dispatch", "--compare", suite.write("bad.json", "{")], code=3,
            stderr=r"bad\.json:1:")
suite.fails("a file without figures", lambda: ["bench", "dispatch", "--compare", suite.write("odd.json", "{}")], code=3,
            stderr="no figures")
suite.fails("figures of another kind", lambda: ["bench", "dispatch", "--compare", suite.write(
    "other.json", '{"bench": "infer", "figures": []}')], code=2, stderr="infer")
sys.exit(suite.run())
