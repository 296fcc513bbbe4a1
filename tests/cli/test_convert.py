"""`orion convert`: weights in another format or type, read back here without Orion's help.

Floats must be the very numbers, rounded once. Integers times their scales must be within half a step of the weights, in
the layout that compressed-tensors describes; what opens them must compute what `--weights int8` computes of the original.
"""
import json
import os
import struct
import sys

from orion_case import Suite, expect

suite = Suite()
STORIES = ["data/llama2c/stories260K.bin", "--tokenizer", "data/llama2c/tok512.bin"]
SMALL = "data/models/tinystories-656k"
GPT2 = "data/models/tiny-random-gpt2"
TEXT = "data/tinystories/val.txt"
FORMATS = {"F32": ("f", 4), "F16": ("e", 2), "I8": ("b", 1), "I32": ("I", 4), "I64": ("q", 8)}


def convert(source, name, *args):
    out = suite.path(name)
    source = suite.shared(source) if source.startswith("data/") else source
    args = [suite.shared(a) if a.startswith("data/") else a for a in args]
    result = suite.orion_run(["convert", source, out, *args])
    expect(result.code == 0, result.errors())
    return out


def tensors(directory):
    with open(os.path.join(directory, "model.safetensors"), "rb") as file:
        data = file.read()
    size, = struct.unpack_from("<Q", data)
    found = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + at for at in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            values = [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(begin, end, 2)]
        else:
            letter, width = FORMATS[entry["dtype"]]
            values = struct.unpack_from(f"<{(end - begin) // width}{letter}", data, begin)
        found[name] = (entry["dtype"], entry["shape"], values)
    return found


def loss(model, *args):
    model = [suite.shared(a) if a.startswith("data/") else a for a in model]
    result = suite.orion_run(["eval", "-m", *model, "-f", suite.shared(TEXT), "--limit", "120", "--json", *args])
    expect(result.code == 0, result.errors())
    return json.loads(result.stdout)["nll"]


def floats():
    want = tensors(convert(SMALL, "fp32", "--dtype", "fp32"))
    half, brain = (tensors(convert(SMALL, d, "--dtype", d)) for d in ["fp16", "bf16"])
    for name, (_, shape, values) in want.items():
        expect(half[name][:2] == ("F16", shape) and brain[name][:2] == ("BF16", shape), name)
        for v, h, b in zip(values[::7], half[name][2][::7], brain[name][2][::7]):
            expect(h == struct.unpack("<e", struct.pack("<e", v))[0], f"{name}: {v} is {h} as fp16")
            expect(abs(b - v) <= abs(v) * 2 ** -8, f"{name}: {v} is {b} as bf16")
    expect(loss([suite.path("fp16")]) == loss([SMALL]), "another loss")


def check_int8(want, got, name, turned):
    kind, shape, q = got[name]
    rows, cols = shape
    skind, sshape, scales = got[name + "_scale"]
    expect(kind == "I8" and skind == "F16" and sshape == [rows, 1], f"{name}: {kind} {shape}, scales {skind} {sshape}")
    for r in range(rows):
        for c in range(r % 5, cols, 5):
            w = want[c * rows + r] if turned else want[r * cols + c]
            expect(abs(q[r * cols + c] * scales[r] - w) <= scales[r] * 0.5001, f"{name} [{r}, {c}]: {w} is off")


def int8():
    for source, model in [(SMALL, "tinystories"), (GPT2, "gpt2")]:
        want, got = (tensors(convert(source, model + d, "--dtype", d)) for d in ["fp32", "int8"])
        matrices = [n[:-6] for n in got if n.endswith("_scale")]
        expect(len(matrices) >= 7, f"only {matrices} are integers")
        for name in matrices:
            check_int8(want[name][2], got, name, model == "gpt2")
        ours, theirs = loss([suite.path(model + "int8")], "--weights", "int8"), loss([source], "--weights", "int8")
        # Attention's factor goes into the weights before they are rounded there, into the scales here: exact where the
        # root of the heads' size is a power of two.
        expect(ours == theirs if model == "tinystories" else abs(ours / theirs - 1) < 1e-3, f"{model}: {ours}, not {theirs}")


def int4():
    want, out = tensors(convert(SMALL, "full", "--dtype", "fp32")), convert(SMALL, "int4", "--dtype", "int4")
    got = tensors(out)
    for name in [n[:-6] for n in got if n.endswith("_scale")]:
        _, (rows, words), packed = got[name + "_packed"]
        _, (_, groups), scales = got[name + "_scale"]
        _, _, (n, cols) = got[name + "_shape"]
        expect((n, (cols + 7) // 8) == (rows, words), f"{name}: its shape does not agree")
        group, top = cols // groups, 0
        for r in range(rows):
            for c in range(r % 5, cols, 5):
                q = (packed[r * words + c // 8] >> 4 * (c % 8) & 15) - 8
                s, w = scales[r * groups + c // group], want[name][2][r * cols + c]
                error = abs(q * s - w)
                expect(error <= abs(s) * 0.5001 or q in (-8, 7), f"{name} [{r}, {c}]: {w} is off by {error / abs(s)} steps")
                top = max(top, error / abs(s))
        expect(top < 4, f"{name}: cut off by {top} steps")
    with open(os.path.join(out, "config.json"), encoding="utf-8") as file:
        said = json.load(file)["quantization_config"]
    group = said["config_groups"]["group_0"]["weights"]
    expect(said["format"] == "pack-quantized" and group["num_bits"] == 4 and group["group_size"] == 32, said)
    expect(loss([out], "--weights", "int4") == loss([SMALL], "--weights", "int4"), "another loss")
    expanded = convert(out, "expanded", "--dtype", "fp32")
    expect(abs(loss([expanded], "--weights", "fp32") / loss([out]) - 1) < 1e-5, "expanded, it is another model")
    again = convert(out, "again")
    expect(tensors(again) == got, "as it is, it is another model")


def llama2c():
    directory = convert(*STORIES[:1], "stories", *STORIES[1:])
    back = convert(directory, "back.bin")
    with open(suite.shared(STORIES[0]), "rb") as file, open(back, "rb") as other:
        want, got = file.read(), other.read()
    context, half = struct.unpack_from("<7i", want)[6], 4
    tables = len(want) - 4 * 2 * context * half  # the classifier is tied: they end the file
    expect(len(want) == len(got) and want[:tables] == got[:tables], "other bytes")
    for a, b in zip(struct.iter_unpack("<f", want[tables:]), struct.iter_unpack("<f", got[tables:])):
        expect(abs(a[0] - b[0]) < 1e-4, "other rotary tables")
    text = [suite.orion_run(["infer", *m, "-p", "Once", "-n", "20", "--weights", "fp32"]).stdout
            for m in [["-m", suite.shared(STORIES[0]), "--tokenizer", suite.shared(STORIES[2])], ["-m", directory]]]
    expect(text[0] == text[1] and len(text[0]) > 20, f"another text: {text}")


def engine():
    model, out = convert(SMALL, "engine-int8", "--dtype", "int8"), suite.path("programs")
    result = suite.orion_run(["compile", "-m", model, "-o", out, "--target", "m4", "--ctx", "64"])
    expect(result.code == 0, result.errors())
    body = open(os.path.join(out, sorted(d for d in os.listdir(out) if d.startswith("body"))[0], "model.mil"), encoding="utf-8").read()
    expect("tensor<int8, [" in body, "the program has no integer weights")


def refusals():
    small, out = suite.shared(SMALL), suite.path("refused")
    for args, code, why in [([small, small], 2, "same"), ([small, out, "--dtype", "int3"], 2, "int3"),
                            ([small, out + ".bin", "--dtype", "int8"], 2, "fp32"),
                            ([small, out + ".bin"], 3, "epsilon"), ([suite.shared(GPT2), out + ".bin"], 3, "family"),
                            ([suite.path("none"), out], 3, "none"),
                            ([small, out, "--tokenizer", suite.path("nothing")], 3, "nothing")]:
        result = suite.orion_run(["convert", *args])
        expect(result.code == code and why in result.errors(), f"{args}: {result.code}, {result.errors()}")
        expect(not os.path.exists(args[1]) or args[1] == small, f"{args[1]} was made")


def strange_tokenizer():
    """Into a directory where another model's tokenizer.json would be found before vocab.json: refused before anything is written."""
    demo, stories = suite.path("demo"), os.path.join(suite.source, "models", "stories3m")
    expect(suite.orion_run(["demo-model", demo]).code == 0, "demo-model")
    with open(os.path.join(demo, "model.safetensors"), "rb") as file:
        before = file.read()
    result = suite.orion_run(["convert", stories, demo])
    expect(result.code == 2 and "tokenizer.json of another model" in result.errors(), f"{result.code}, {result.errors()}")
    with open(os.path.join(demo, "model.safetensors"), "rb") as file:
        expect(file.read() == before and not os.path.exists(os.path.join(demo, "vocab.json")), "something was written")
    for _ in range(2):  # the same again is no mistake
        convert(stories, "once-more", "--dtype", "int8")


def damaged():
    model = convert(SMALL, "damaged", "--dtype", "int4")
    path = os.path.join(model, "model.safetensors")
    with open(path, "rb") as file:
        sound = file.read()
    for old, new, why in [(b"down_proj.weight_scale", b"down_proj.weight_zcale", "scales"),
                          (b"down_proj.weight_shape", b"down_proj.weight_g_idx", "order"),
                          (b"down_proj.weight_packed", b"down_proj.weight_pucked", "missing"),
                          (b'"I32","shape":[128,48]', b'"I32","shape":[64,96]', "shape")]:
        changed = sound.replace(old, new)
        expect(changed != sound, old)
        size, = struct.unpack_from("<Q", changed)  # of the header, whose length may have changed
        changed = struct.pack("<Q", size + len(changed) - len(sound)) + changed[8:]
        with open(path, "wb") as file:
            file.write(changed)
        result = suite.orion_run(["infer", "-m", model, "-p", "a", "-n", "1"])
        expect(result.code == 3 and why in result.errors() and len(result.errors().splitlines()) == 1,
               f"{old}: {result.code}, {result.errors()}")


suite.case("a directory with another model's tokenizer is left alone", strange_tokenizer)
suite.case("fp32, fp16 and bf16 hold the same numbers, rounded once", floats)
suite.case("int8 is within half a step of the weights, and computes what --weights int8 computes", int8)
suite.case("int4 lies as compressed-tensors has it, and computes what --weights int4 computes", int4)
suite.case("a llama2.c file comes back from a directory to the byte", llama2c)
suite.case("a quantised directory compiles to quantised programs for the engine", engine)
suite.case("what cannot be written is refused, and nothing is left behind", refusals)
suite.case("a damaged quantised directory is refused in one line", damaged)
sys.exit(suite.run())
