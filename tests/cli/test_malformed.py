"""Every malformed file of the shared data gets the exit it deserves and one line that says what and where."""
import os
import shutil
import sys

from orion_case import Failed, Suite, expect

suite = Suite()

# Sound, or only harmlessly different; weights-nan may load with a warning that names the tensor; tensor-wrong-shape turns
# the shape of a square tensor around, which changes nothing.
MAY_LOAD = ("good", "bitflip-", "weights-nan", "tensor-wrong-shape")

# MIL texts whose fault is of types, shapes or names parse, and the check refuses them.
REFUSED = ("dimension-zero", "duplicate-", "literal-", "missing-argument", "undefined-", "unknown-argument",
           "use-before-definition", "wrong-result-")


def in_model(place, *args):
    """The file is a part of a model: put under the name `place` into a sound one. MODEL in args stands for that."""
    def command(path):
        model = suite.path("model-" + os.path.basename(os.path.dirname(path)) + "-" + os.path.basename(path))
        shutil.copytree(suite.shared("data/fuzz/base-model"), model, copy_function=shutil.copyfile)
        shutil.copyfile(path, os.path.join(model, place))
        return [model if arg == "MODEL" else arg for arg in args]
    return command


def tokenizer(path):
    if path.endswith(".bin"):
        model = suite.shared("data/llama2c/stories260K.bin")
        return ["tokenize", "-m", model, "--tokenizer", path, "some text"]
    place = "tokenizer.model" if path.endswith(".model") else "tokenizer.json"
    return in_model(place, "tokenize", "-m", "MODEL", "some text")(path)


# Folder of the data: how such a file is given to orion.
KINDS = {
    "blob": lambda path: ["inspect", path],
    "config": in_model("config.json", "eval", "-m", "MODEL", "--tokens", "1,2,3"),
    "llama2c": lambda path: ["eval", "-m", path, "--tokens", "1,2,3"],
    "mil": lambda path: ["check", path],
    "safetensors": in_model("model.safetensors", "eval", "-m", "MODEL", "--tokens", "1,2,3"),
    "tokenizer": tokenizer,
}


def check_file(kind, path):
    result = suite.orion_run(KINDS[kind](path))
    name = os.path.basename(path)
    if name.startswith("good"):
        expect(result.code == 0, f"good, but exit {result.code}: {result.errors()[:300]!r}")
    elif result.code == 0:
        expect(name.startswith(MAY_LOAD), "malformed, but exit 0")
    else:
        suite.check_failure(result, 4 if kind == "mil" and result.code == 4 and name.startswith(REFUSED) else 3)


def every_file(kind):
    def check():
        folder, problems = suite.shared(f"data/fuzz/{kind}"), []
        for name in sorted(os.listdir(folder)):
            try:
                check_file(kind, os.path.join(folder, name))
            except Failed as problem:
                problems.append(f"{name}: {problem}")
        expect(not problems, "\n".join(problems))
    return check


for each in sorted(KINDS):
    suite.case(f"{each}: each malformed file", every_file(each))
sys.exit(suite.run())
