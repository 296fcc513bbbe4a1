"""Models against their goldens: logits of every position against float64 PyTorch, greedy tokens, the story of llama2.c.

The bound is on the difference relative to the largest logit's magnitude: 1e-3 with fp32 weights, 3e-2 with fp16; the
likeliest token must be the reference's wherever its lead exceeds that bound. The same programs compiled for chip families
run on cpu and on the simulator in its ideal arithmetic, within the fp16 bound.
"""
import array
import json
import sys

from orion_case import Suite, expect

suite = Suite()
BOUND = {"fp32": 1e-3, "fp16": 3e-2}

# name, model, golden file, keys of ids, logits and greedy tokens in it
MODELS = [(m, f"data/models/{m}", f"data/models/{m}/golden.json", "ids", "logits", "greedy")
          for m in ["gpt2-small-random", "llama-small-random", "llama-gqa-untied-bf16", "llama3-rope-scaled",
                    "qwen2-small-random", "qwen3-small-random"]]
MODELS += [("tiny-random-gpt2", "data/models/tiny-random-gpt2", "data/golden/tiny-random-gpt2.json", "input_ids",
            "logits_first_8_positions", "greedy_ids"),
           ("tinystories-656k", "data/models/tinystories-656k", "data/golden/tinystories-656k.json", "prompt_ids",
            "logits_prompt_positions", "greedy_ids")]


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    expect(data[:6] == b"\x93NUMPY", "not an .npy file")
    size = int.from_bytes(data[8:10], "little")
    shape = eval(data[10:10 + size].decode())["shape"]
    values = array.array("f", data[10 + size:])
    return [values[i * shape[1]:(i + 1) * shape[1]] for i in range(shape[0])]


def join(ids):
    return ",".join(str(i) for i in ids)


def compare(got, want, bound):
    expect(len(got) == len(want), f"{len(got)} positions instead of {len(want)}")
    for position, (g, w) in enumerate(zip(got, want)):
        scale = max(abs(v) for v in w)
        worst = max(abs(a - b) for a, b in zip(g, w)) / scale
        expect(worst <= bound, f"position {position}: off by {worst:.2e} of the largest logit, bound {bound}")
        order = sorted(range(len(w)), key=lambda i: -w[i])
        if w[order[0]] - w[order[1]] > 2 * bound * scale:
            expect(max(range(len(g)), key=lambda i: g[i]) == order[0], f"position {position}: another likeliest token")


def logits_case(name, model, golden, ids_key, logits_key, weights, extra=()):
    def check():
        with open(suite.shared(golden), encoding="utf-8") as file:
            gold = json.load(file)
        out = suite.path("logits.npy")
        result = suite.orion_run(["eval", "-m", suite.shared(model), "--tokens", join(gold[ids_key]), "--weights", weights,
                                  "--logits", out, *extra])
        expect(result.code == 0, result.errors())
        want = gold[logits_key]
        compare(read_npy(out)[:len(want)], want, BOUND[weights])
    suite.case(name, check)


def greedy_case(name, model, golden, ids_key, greedy_key):
    """Greedy tokens through prefill and single steps: equal with fp32 up to the first near-tie of the reference."""
    def check():
        with open(suite.shared(golden), encoding="utf-8") as file:
            gold = json.load(file)
        prompt, want = gold[ids_key], gold[greedy_key]
        if want[:len(prompt)] == prompt:  # some goldens repeat the prompt
            want = want[len(prompt):]
        result = suite.orion_run(["infer", "-m", suite.shared(model), "--tokens", join(prompt), "-n", len(want),
                                  "--weights", "fp32", "--ignore-eos", "--json"])
        expect(result.code == 0, result.errors())
        got = json.loads(result.stdout)["tokens"]
        expect(got == want, f"tokens {got} instead of {want}")
    suite.case(name, check)


for name, model, golden, ids, logits, greedy in MODELS:
    for weights in ["fp32", "fp16"]:
        logits_case(f"{name}: logits with {weights} weights", model, golden, ids, logits, weights)
    greedy_case(f"{name}: greedy tokens", model, golden, ids, greedy)
    for target, device in [("m1", "cpu"), ("m4", "sim:ideal")]:  # the programs are the same but for a pass or two
        logits_case(f"{name}: logits of programs for {target} on {device}", model, golden, ids, logits, "fp16",
                    ["--target", target, "--device", device])
    logits_case(f"{name}: logits of the cpu programs on sim:ideal", model, golden, ids, logits, "fp32",
                ["--device", "sim:ideal"])


def story():
    with open(suite.shared("data/golden/stories260K_greedy200.txt"), "rb") as file:
        want = file.read()
    result = suite.orion_run(["infer", "-m", suite.shared("data/llama2c/stories260K.bin"), "--tokenizer",
                              suite.shared("data/llama2c/tok512.bin"), "-p", "", "-n", "200", "--weights", "fp32"])
    expect(result.code == 0, result.errors())
    expect(result.stdout.strip() == want.strip(), f"another story: {result.text()!r}")


suite.case("stories260K: greedy text of 200 steps equals llama2.c's", story)

sys.exit(suite.run())
