"""What each command does, on a small model of its own making and on MIL texts written here."""
import json
import math
import os
import re
import struct
import subprocess
import sys

from orion_case import Suite, expect

suite = Suite()
MODEL = suite.path("demo")
subprocess.run([suite.orion, "demo-model", MODEL], check=True, capture_output=True)
PROMPT = "Once upon a time"


def run(*args, stdin=b"", code=0):
    result = suite.orion_run(args, stdin)
    expect(result.code == code, f"exit {result.code}, expected {code}: {result.errors()[:500]!r}")
    return result


def as_json(*args, stdin=b""):
    return json.loads(run(*args, "--json", stdin=stdin).stdout)


# ---- infer ----

SAMPLED = ["infer", "-m", MODEL, "-p", PROMPT, "--temp", "3", "--top-k", "40", "-n", "60", "--ignore-eos"]


def generated(*more, seed=7):
    """Bytes that infer prints after the prompt."""
    out = run(*SAMPLED, "--seed", seed, *more).stdout
    expect(out.startswith(PROMPT.encode()) and out.endswith(b"\n"), f"odd output {out!r}")
    return out[len(PROMPT):-1]


def stop_case():
    text = generated()
    inside = next((m for m in re.finditer(rb"[!-~][ -~][!-~]", text) if m.start() > 4), None)
    expect(inside, f"no place for a stop text in {text!r}")
    for length in (3, 2, 1):
        stop = inside.group()[:length]
        got = generated("--stop", stop.decode())
        expect(got == text[:text.index(stop)], f"--stop {stop!r} gives {got!r} of {text!r}")
    first = inside.group()[:2].decode()
    expect(generated("--stop", first + "\x01never") == text, "a stop text that only begins must not swallow anything")
    both = generated("--stop", "\x01never", "--stop", first)
    expect(both == text[:text.index(first.encode())], "of several stop texts the first to appear counts")
    tail = text[-1:]
    if tail.isascii():
        expect(generated("--stop", tail.decode() + "zzz") == text, "what was held back at the end is printed")


def speculation_case():
    plain = as_json(*SAMPLED, "--repeat-penalty", "1")
    for guesses in (1, 3, 31):
        fast = as_json(*SAMPLED, "--repeat-penalty", "1", "--speculate", guesses)
        expect(fast["tokens"] == plain["tokens"], f"--speculate {guesses} gives another text")
    greedy = ["infer", "-m", MODEL, "-p", PROMPT * 3, "-n", "60", "--ignore-eos"]
    fast = as_json(*greedy, "--speculate", "7")
    expect(fast["tokens"] == as_json(*greedy)["tokens"], "--speculate 7 gives another greedy text")
    expect(fast["accepted"] <= fast["guessed"], f"{fast['accepted']} of {fast['guessed']} guesses")


def seed_case():
    expect(generated() == generated(), "the same seed gives another text")
    expect(generated() != generated(seed=8), "another seed gives the same text")


def infer_json(value):
    for key in ["text", "tokens", "prompt_tokens", "load_ms", "prefill_ms", "decode_ms", "prefill_tok_s", "decode_tok_s",
                "device", "rss_mb"]:
        expect(key in value, f"key {key!r} is missing")
    expect(len(value["tokens"]) == 5 and value["prompt_tokens"] == 3, f"{value}")
    expect(all(value[k] >= 0 for k in ["load_ms", "prefill_ms", "decode_ms", "rss_mb"]), "negative times")


def prompt_sources():
    ids = json.loads(run("tokenize", "-m", MODEL, PROMPT).stdout)
    args = ["infer", "-m", MODEL, "-n", "8", "--ignore-eos"]
    by_text = as_json(*args, "-p", PROMPT)
    by_file = as_json(*args, "-f", suite.write("prompt.txt", PROMPT))
    by_stdin = as_json(*args, "-f", "-", stdin=PROMPT.encode())
    by_pipe = as_json(*args, "-f", "/dev/stdin", stdin=PROMPT.encode())  # as bash's <(command) is
    expect(by_pipe["tokens"] == by_stdin["tokens"], "a pipe by its name")
    by_ids = as_json(*args, "--tokens", ",".join(map(str, ids)))
    for other in (by_file, by_stdin, by_ids):
        expect(other["tokens"] == by_text["tokens"], f"{other['tokens']} instead of {by_text['tokens']}")


def context_case():
    ids = ["--tokens", "1,2,3", "--ctx", "20", "-n", "50", "--ignore-eos"]
    result = run("infer", "-m", MODEL, *ids, "--json")
    value = json.loads(result.stdout)
    expect(len(value["tokens"]) == 18, f"{len(value['tokens'])} tokens instead of 18")  # the last one need not be fed
    expect("context" in result.errors(), "no warning that the context is used up")


suite.json("infer: as many tokens as asked for, all keys",
           ["infer", "-m", MODEL, "--tokens", "1,2,3", "-n", "5", "--ignore-eos", "--json"], check=infer_json)
suite.ok("infer: -n 0 prints the prompt alone", ["infer", "-m", MODEL, "-p", PROMPT, "-n", "0"], exact=PROMPT + "\n")
suite.json("infer: -n 0 generates nothing", ["infer", "-m", MODEL, "-p", PROMPT, "-n", "0", "--json"],
           check=lambda v: expect(v["tokens"] == [] and v["text"] == "", f"{v}"))
suite.case("infer: stop texts, also over the borders of tokens", stop_case)
suite.case("infer: speculation does not change the text", speculation_case)
suite.case("infer: the seed decides the text", seed_case)
suite.case("infer: text, file, standard input and ids say the same", prompt_sources)
suite.case("infer: the end of the context ends the text with a warning", context_case)
suite.fails("infer: a prompt longer than the context", ["infer", "-m", MODEL, "-p", PROMPT, "--ctx", "2"], code=1,
            stderr=r"4 tokens, the context 2 positions \(shorten it, or give a larger --ctx\)")
for flag, value, code in [("--temp", "-1", 2), ("--temp", "warm", 2), ("--seed", "9" * 30, 2), ("--top-k", "-1", 2), ("--top-k", "1.5", 2),
                          ("--top-p", "0", 2), ("--top-p", "2", 2), ("--min-p", "-0.1", 2), ("--repeat-penalty", "0", 2),
                          ("-n", "-1", 2), ("-n", "many", 2), ("--ctx", "100000", 2), ("--weights", "fp8", 2),
                          ("--target", "m99", 2), ("--threads", "-1", 2), ("--seed", "x", 2), ("--tokens", "1,x", 2),
                          ("--tokens", "5", 2)]:
    suite.fails(f"infer: {flag} {value} is refused", ["infer", "-m", MODEL, "-p", PROMPT, flag, value], code=code)
suite.fails("infer: a token outside the vocabulary", ["infer", "-m", MODEL, "--tokens", "1,99999"], code=2, stderr="99999")
suite.fails("infer: an unknown device", ["infer", "-m", MODEL, "-p", "x", "--device", "abacus"], code=3, stderr="abacus")

# ---- eval ----


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    size = int.from_bytes(data[8:10], "little")
    header = data[10:10 + size].decode()
    kind = re.search(r"'descr': '<(f[248])'", header).group(1)
    shape = [int(n) for n in re.search(r"'shape': \(([^)]*)\)", header).group(1).split(",") if n.strip()]
    count = math.prod(shape)
    return shape, struct.unpack(f"<{count}{ {'f2': 'e', 'f4': 'f', 'f8': 'd'}[kind]}", data[10 + size:])


def write_npy(name, shape, values, kind="f4"):
    header = f"{{'descr': '<{kind}', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    code = {"f2": "e", "f4": "f"}[kind]
    return suite.write(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
                       struct.pack(f"<{len(values)}{code}", *values))


def eval_case():
    ids = [5, 17, 200, 33, 2, 90, 44, 45, 46, 3, 120]
    out = suite.path("eval.npy")
    value = as_json("eval", "-m", MODEL, "--tokens", ",".join(map(str, ids)), "--logits", out)
    shape, logits = read_npy(out)
    expect(shape == [len(ids), 278], f"shape {shape}")
    total = 0
    for i in range(len(ids) - 1):
        row = logits[i * 278:(i + 1) * 278]
        top = max(row)
        total += math.log(sum(math.exp(v - top) for v in row)) + top - row[ids[i + 1]]
    expect(value["tokens"] == len(ids) - 1, f"{value}")
    expect(abs(value["nll"] - total / (len(ids) - 1)) < 1e-6, f"nll {value['nll']}, by the logits {total / (len(ids) - 1)}")
    expect(abs(value["ppl"] - math.exp(value["nll"])) < 1e-3, f"{value}")


def eval_sources():
    text = "A text that is longer than one bucket of eight positions, by some."
    ids = json.loads(run("tokenize", "-m", MODEL, text).stdout)
    tokens = suite.path("eval.bin")
    run("tokenize", "-m", MODEL, text, "--to", tokens)
    values = [as_json("eval", "-m", MODEL, "-f", suite.write("eval.txt", text)),
              as_json("eval", "-m", MODEL, "--tokens", ",".join(map(str, ids))),
              as_json("eval", "-m", MODEL, "--tokens-file", tokens)]
    expect(len({v["nll"] for v in values}) == 1, f"{values}")
    windows = as_json("eval", "-m", MODEL, "--tokens-file", tokens, "--ctx", "10")
    expect(windows["tokens"] == len(ids) - math.ceil(len(ids) / 10), f"{windows}")


suite.case("eval: nll is that of the logits it writes", eval_case)
suite.case("eval: text, ids and token file say the same; windows", eval_sources)
suite.fails("eval: nothing to evaluate", ["eval", "-m", MODEL], code=2)
suite.fails("eval: windows of one token predict nothing", ["eval", "-m", MODEL, "--tokens", "1,2,3", "--ctx", "1"], code=2,
            stderr="--ctx 2")
suite.fails("eval: a token file of another vocabulary",
            lambda: ["eval", "-m", MODEL, "--tokens-file", suite.write("other.bin", struct.pack("<3H", 1, 2, 60000))], code=3,
            stderr=r"other\.bin: byte 4: token 60000")
suite.fails("eval: a token file of odd size", lambda: ["eval", "-m", MODEL, "--tokens-file", suite.write("odd.bin", b"abc")],
            code=3, stderr="odd.bin")

# ---- tokenize ----


def tokenize_case():
    text = "Tokens, tokens: \n  the end. "
    ids = json.loads(run("tokenize", "-m", MODEL, stdin=text.encode()).stdout)
    back = run("tokenize", "-m", MODEL, "--decode", ",".join(map(str, ids))).stdout
    expect(back.rstrip(b"\n") == text.encode(), f"{back!r}")
    out = suite.path("tokens.bin")
    value = as_json("tokenize", "-m", MODEL, text, "--to", out)
    with open(out, "rb") as file:
        data = file.read()
    expect(data == struct.pack(f"<{len(ids)}H", *ids), "the token file differs from the ids")
    expect(value["count"] == len(ids), f"{value}")


def documents_case():
    """As training reads a text: blanks and separators between documents go, each begins with the begin token (id 1)."""
    tokenizer = suite.shared("data/tokenizers/llama2/tokenizer.model")
    text = suite.write("two.txt", "A cat sat.\n<|endoftext|>\n  A dog ran.\n<|endoftext|>\n")
    ids = json.loads(run("tokenize", "-m", tokenizer, "--documents", "-f", text).stdout)
    parts = [json.loads(run("tokenize", "-m", tokenizer, "--bos", part).stdout) for part in ("A cat sat.", "A dog ran.")]
    expect(ids == parts[0] + parts[1] and parts[0][0] == 1, f"{ids} instead of {parts}")


suite.case("tokenize: documents as training data", documents_case)
suite.fails("tokenize: documents from a file", ["tokenize", "-m", MODEL, "--documents", "text"], code=2, stderr="wants -f FILE")
suite.case("tokenize: ids, back again, and the bytes of a token file", tokenize_case)
suite.fails("tokenize: ids that are none", ["tokenize", "-m", MODEL, "--decode", "1,,2"], code=2)
suite.fails("tokenize: ids without commas between", ["tokenize", "-m", MODEL, "--decode", "1 2 3 4 5 6 7"], code=2,
            stderr="without a comma")

# ---- compile, check, run ----


def compile_case(target, device):
    def check():
        out = suite.path(f"programs-{target}")
        value = as_json("compile", "-m", MODEL, "-o", out, "--target", target, "--ctx", "40")
        expect(value["target"] == target and len(value["parts"]) == 2, f"{value}")
        with open(os.path.join(out, "plan.json"), encoding="utf-8") as file:
            plan = json.load(file)
        for part in plan["parts"]:
            mil = os.path.join(out, part["program"], "model.mil")
            expect(os.path.getsize(os.path.join(out, part["program"], "weights", "weight.bin")) > 64, "no weights")
            run("check", mil, "--target", target)
            run("fmt", "--check", mil)
            results = suite.path(f"results-{target}")
            run("run", mil, "--random-inputs", "1", "--device", device, "--out", results)
            for port in part["ports"]:
                if port["direction"] == "output":
                    shape, values = read_npy(os.path.join(results, port["name"] + ".npy"))
                    expect(math.prod(shape) == port["rows"] * port["cols"], f"{port['name']}: {shape}")
                    expect(all(math.isfinite(v) for v in values) and any(values), f"{port['name']} is no result")
    return check


for each in [("m4", "sim:ideal"), ("m1", "cpu"), ("cpu", "cpu")]:
    suite.case(f"compile: programs for {each[0]} pass the check and run on {each[1]}", compile_case(*each))


def training_case(target, device, programs):
    def check():
        out = suite.path(f"training-{target}")
        value = as_json("compile", "-m", MODEL, "-o", out, "--target", target, "--program", "train", "--tokens", "20")
        expect([p["program"] for p in value["parts"]] == [f"{p}_00" for p in programs], f"{value}")
        with open(os.path.join(out, "plan.json"), encoding="utf-8") as file:
            plan = json.load(file)
        expect(("training" in plan) == (target != "cpu"), "what the programs are for")
        for part in plan["parts"]:
            mil = os.path.join(out, part["program"], "model.mil")
            checked = as_json("check", mil, "--target", target)
            expect(target == "cpu" or checked["findings"] == [], f"{checked}")
            if device:
                run("run", mil, "--random-inputs", "1", "--device", device, "--out", suite.path("results"))
    return check


UNITS = ["layer", "layer_back", "norm", "norm_back", "loss", "loss_back"]
for each in [("m4", "sim:ideal", UNITS), ("m1", "cpu", UNITS), ("cpu", None, ["train"])]:
    suite.case(f"compile: programs of training for {each[0]} pass the check without a remark", training_case(*each))
for args, pattern in [(["--target", "m99"], "m99"), (["--program", "backwards"], "backwards"), (["--tokens", "0"], "0"),
                      (["--program", "train", "--weights", "fp16"], "inputs"), (["--program", "train", "--batch", "0"], "batch"),
                      (["--weights", "fp32", "--target", "m1"], "fp32"), (["--passes", "magic"], "magic"),
                      (["--dump-after", "magic"], "magic"), (["--emit", "mil,magic"], "magic")]:
    suite.fails(f"compile: {' '.join(args)} is refused",
                ["compile", "-m", MODEL, "-o", suite.path("refused"), *args], code=2, stderr=pattern)

HEAD = "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\n"
RELU = HEAD + """    func main<ios18>(tensor<fp16, [1, 4, 1, 32]> x) {
            tensor<fp16, [1, 4, 1, 32]> y = relu(x = x)[name = string("y")];
        } -> (y);
}"""


def relu():
    return suite.write("relu.mil", RELU)


def run_case():
    values = [float(i - 64) / 8 for i in range(128)]
    for kind in ("f4", "f2"):
        x = write_npy(f"x-{kind}.npy", [1, 4, 1, 32], values, kind)
        for device in ("cpu", "sim:ideal"):
            out = suite.path("relu-out")
            run("run", relu(), "--in", f"x={x}", "--out", out, "--device", device)
            shape, got = read_npy(os.path.join(out, "y.npy"))
            expect(shape == [1, 4, 1, 32] and list(got) == [max(v, 0) for v in values], f"{device}: {got[:8]}")


suite.case("run: arrays in, arrays out", run_case)
suite.fails("run: a missing input is named", lambda: ["run", relu()], code=2, stderr="input x")
suite.fails("run: an input that is none", lambda: ["run", relu(), "--in", "q=a.npy"], code=2, stderr="q=a.npy")
suite.fails("run: an array of another shape",
            lambda: ["run", relu(), "--in", "x=" + write_npy("short.npy", [1, 4, 1, 31], [0.0] * 124)], code=3, stderr="short.npy")
suite.fails("run: an array that is none", lambda: ["run", relu(), "--in", "x=" + suite.write("broken.npy", "no array")], code=3,
            stderr="broken.npy")
suite.fails("run: a file that is missing", lambda: ["run", relu(), "--in", "x=" + suite.path("none.npy")], code=3,
            stderr="none.npy")
WIDE = RELU.replace("[1, 4, 1, 32]", "[1, 4, 20000, 32]")
suite.json("check: findings with rule, place and way out", lambda: ["check", suite.write("wide.mil", WIDE), "--target", "m1", "--json"],
           code=4, check=lambda v: expect({f["rule"] for f in v["findings"]} == {"L04-axis"} and all(
               set(f) >= {"rule", "severity", "line", "column", "op", "value", "message", "way_out"} for f in v["findings"]), f"{v}"))
suite.fails("check: the device that was asked is named",
            lambda: ["check", suite.write("relu.mil", RELU), "--device", "null"], code=4, stderr="would stop it on null")
suite.ok("check: the same program fits a later chip", lambda: ["check", suite.write("wide.mil", WIDE), "--target", "m4"])

# ---- fmt ----


def fmt_case():
    canonical = run("fmt", relu()).stdout
    loose = suite.write("loose.mil", re.sub(r"\s+", " ", RELU))
    expect(run("fmt", loose).stdout == canonical, "the form depends on the spelling")
    suite.check_failure(suite.orion_run(["fmt", "--check", loose]), 1, "canonical")
    run("fmt", "-i", loose)
    with open(loose, "rb") as file:
        expect(file.read() == canonical, "-i wrote something else")
    run("fmt", "--check", loose)
    expect(run("fmt", "-", stdin=canonical).stdout == canonical, "standard input")


suite.case("fmt: one form, kept by --check and -i", fmt_case)
suite.fails("fmt: a syntax error with its place", lambda: ["fmt", suite.write("bad.mil", HEAD + "  func 7")], code=3,
            stderr=r"bad\.mil:4:\d+")
suite.fails("fmt: --check and -i together", lambda: ["fmt", "--check", "-i", relu()], code=2)
suite.fails("fmt: standard input cannot be rewritten", ["fmt", "-i", "-"], code=2, stdin=RELU.encode())
suite.fails("fmt: the way out of a text from standard input is one", ["fmt", "--check", "-"], code=1,
            stderr=r"\(orion fmt -\)", stdin=b"program(1.3) { func main<ios18>(tensor<fp16, [4]> x) {} -> (x); }")

# ---- inspect ----


def inspect_case():
    out = suite.path("inspected")
    run("compile", "-m", MODEL, "-o", out, "--target", "m4", "--ctx", "32")
    for path, pattern in [(MODEL, "llama"), (os.path.join(MODEL, "model.safetensors"), "embed_tokens"),
                          (os.path.join(MODEL, "tokenizer.json"), "278"),
                          (os.path.join(out, "body_00", "model.mil"), "main"),
                          (os.path.join(out, "body_00", "weights", "weight.bin"), "fp16")]:
        text = run("inspect", path).text()
        expect(pattern in text, f"{path}: no {pattern!r} in {text[:300]!r}")
        expect(pattern in json.dumps(as_json("inspect", path)), f"{path}: no {pattern!r} in the JSON")


suite.case("inspect: every kind of file", inspect_case)


def long_paths():
    """Longer than any buffer that a path might be put together in; longer than the system takes is one clear error."""
    long = suite.path(os.path.join(*["d" * 200] * 8))
    run("compile", "-m", MODEL, "-o", long, "--target", "m4", "--ctx", "32", "--emit", "mil,dot", "--dump-after", "all")
    for name in ["plan.json", "body_00/model.mil", "body_00/model.dot", "head_00/model.mil"]:
        expect(os.path.isfile(os.path.join(long, name)), f"no {name}")
    expect(len(os.listdir(os.path.join(long, "dump"))) > 4, "dumps are missing")
    results = os.path.join(long, "results")
    run("run", os.path.join(long, "head_00", "model.mil"), "--random-inputs", "1", "--device", "cpu", "--out", results)
    expect(all(name.endswith(".npy") for name in os.listdir(results)) and os.listdir(results), "no results")
    for command in [["compile", "-m", MODEL], ["run", os.path.join(long, "head_00", "model.mil"), "--random-inputs", "1"]]:
        option = "-o" if command[0] == "compile" else "--out"
        result = suite.orion_run([*command, option, "/".join(["d" * 200] * 25)])
        expect(result.code == 2 and "want 1 to 4095 bytes" in result.errors(), f"{result.code}: {result.errors()}")


suite.case("paths may be long", long_paths)
suite.fails("inspect: a file of no known kind", lambda: ["inspect", suite.write("noise.dat", bytes(range(7, 200)))], code=3,
            stderr="noise.dat")
suite.fails("inspect: settings without their model", lambda: ["inspect", os.path.join(MODEL, "config.json")], code=3,
            stderr="give the directory")

# ---- devices, demo-model ----

suite.ok("devices: a table", ["devices"], stdout=r"(?s)cpu.*m4|m4.*cpu")
suite.ok("demo-model --help shows an example", ["demo-model", "--help"], stdout="orion demo-model")


def demo_case():
    first, second, other = suite.path("demo-a"), suite.path("demo-b"), suite.path("demo-c")
    run("demo-model", first)
    run("demo-model", second)
    run("demo-model", other, "--seed", "2")
    files = []
    for folder in (first, second, other):
        with open(os.path.join(folder, "model.safetensors"), "rb") as file:
            files.append(file.read())
    expect(files[0] == files[1] and files[0] != files[2], "the seed does not decide the weights")


def demo_over():
    """Another seed replaces a demo model; any other model stays."""
    folder = suite.path("demo-d")
    run("demo-model", folder)
    run("demo-model", folder, "--seed", "2")
    with open(os.path.join(folder, "tokenizer.json"), "a", encoding="utf-8") as file:
        file.write(" ")
    result = suite.orion_run(["demo-model", folder])
    suite.check_failure(result, 2, "holds another model")


suite.case("demo-model: the seed decides the weights", demo_case)
suite.case("demo-model: another model is not overwritten", demo_over)
sys.exit(suite.run())
