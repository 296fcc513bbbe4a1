"""Where output goes: full disks, closed standard files, devices and pipes instead of files, names that JSON cannot spell."""
import json
import os
import stat
import subprocess
import sys

from orion_case import Skip, Suite, expect

suite = Suite()
MODEL = suite.path("demo")
subprocess.run([suite.orion, "demo-model", MODEL], check=True, capture_output=True)
TEXT = suite.write("text.txt", "Once upon a time there was a little dog.\n" * 40)
CONFIG = suite.write("small.json", json.dumps({
    "model_type": "llama", "vocab_size": 278, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 0}))


def by_shell(redirection, *args, before=""):
    """Runs orion with a redirection of the shell's; the result has what is left of both outputs."""
    line = before + '"$0" "$@" ' + redirection
    return subprocess.run(["sh", "-c", line, suite.orion, *args], capture_output=True, timeout=60, check=False)


def full_output(*args):
    def check():
        if not os.path.exists("/dev/full"):
            raise Skip("this system has no /dev/full")
        done = by_shell("> /dev/full", *args)
        expect(done.returncode == 1, f"exit {done.returncode}")
        expect(b"standard output: cannot write: " in done.stderr, f"{done.stderr!r}")
    suite.case("a full disk below standard output is an error of " + (" ".join(args[:2])), check)


for command in (["--help"], ["--version"], ["infer", "--help"], ["devices", "--json"], ["infer", "-m", MODEL, "-p", "Once", "-n", "2"]):
    full_output(*command)


def closed_output():
    run = suite.path("run")
    done = by_shell(">&-", "train", "--config", CONFIG, "--tokenizer", MODEL, "--data", TEXT, "--out", run, "--steps", "2",
                    "--batch", "1", "--seq", "8")
    expect(done.returncode == 1 and b"standard output" in done.stderr, f"exit {done.returncode}: {done.stderr!r}")
    with open(os.path.join(run, "log.jsonl"), encoding="utf-8") as log:
        steps = [json.loads(line)["step"] for line in log]  # what would have been printed is not among them
    expect(steps == [1, 2], f"{steps}")


def closed_input():
    done = by_shell("<&-", "tokenize", "-m", MODEL)
    expect(done.returncode == 1 and b"standard input: cannot read" in done.stderr, f"exit {done.returncode}: {done.stderr!r}")


def a_begun_line():
    """A record that outgrows the limit on files fails in the middle of the text."""
    done = by_shell("", "infer", "-m", MODEL, "-p", "Once", "-n", "200", "--ignore-eos", "--device",
                    "record:cpu,file=" + suite.path("big.record"), before="ulimit -f 4096; ")
    expect(done.returncode == 1 and b"cannot write" in done.stderr, f"exit {done.returncode}: {done.stderr!r}")
    expect(done.stdout.startswith(b"Once") and done.stdout.endswith(b"\n"), f"{done.stdout!r}")


suite.case("a failure ends the line that was begun", a_begun_line)
suite.case("what is printed while standard output is closed goes into no file", closed_output)
suite.case("a closed standard input is no empty text", closed_input)


def to_devices():
    """Through links: a command that replaces what it writes to would then cost the link, not the machine's own device."""
    for name, args in (("null", ["tokenize", "-m", MODEL, "Once upon a time", "--to"]),
                       ("zero", ["eval", "-m", MODEL, "-f", TEXT, "--limit", "20", "--logits"])):
        link = suite.path("link-to-" + name)
        os.symlink("/dev/" + name, link)
        expect(suite.orion_run([*args, link]).code == 0, f"{args[0]} to /dev/{name}")
        expect(stat.S_ISCHR(os.stat(link).st_mode), f"{args[0]} replaced /dev/{name}")


def to_a_pipe():
    done = by_shell("| od -An -tu2", "tokenize", "-m", MODEL, "-q", "Once", "--to", "/dev/stdout")
    expect(done.returncode == 0 and done.stdout.split()[:1] != [], f"{done.stdout!r} {done.stderr!r}")
    ids = json.loads(suite.orion_run(["tokenize", "-m", MODEL, "Once"]).stdout)
    expect([int(x) for x in done.stdout.split()[:len(ids)]] == ids, f"{done.stdout!r} instead of {ids}")


def odd_names():
    """A path of bytes that are no UTF-8, in the JSON of each command that names it."""
    def odd(name):
        return os.path.join(os.fsencode(suite.temp.name), name.encode() + b"-\xff")
    program = odd("programs")
    for out, args in ((program, ["compile", "-m", MODEL, "-o", program]), (odd("c"), ["convert", MODEL, odd("c")]),
                      (odd("d"), ["demo-model", odd("d")]), (odd("t"), ["tokenize", "-m", MODEL, "Once", "--to", odd("t")]),
                      (odd("v"), ["tokenize", "--learn", "260", "-f", TEXT, "--to", odd("v")]),
                      (odd("r"), ["train", "--config", CONFIG, "--tokenizer", MODEL, "--data", TEXT, "--steps", "1", "--batch", "1",
                                  "--seq", "8", "--out", odd("r")])):
        done = subprocess.run([suite.orion, *args, "--json"], capture_output=True, timeout=60, check=False)
        expect(done.returncode == 0 and os.path.exists(out), f"{args[0]}: {done.stderr!r}")
        value = json.loads(done.stdout)
        expect("\ufffd" in json.dumps(value, ensure_ascii=False), f"{args[0]}: {done.stdout!r}")


def modes():
    secret = suite.write("secret.mil", "program(1.3){}")
    program = os.path.join(suite.path("p"), "head_00", "model.mil")
    expect(suite.orion_run(["compile", "-m", MODEL, "-o", suite.path("p")]).code == 0, "compile")
    with open(program, encoding="utf-8") as file:
        text = file.read()
    suite.write("secret.mil", text.replace("    ", "  "))
    os.chmod(secret, 0o600)
    expect(suite.orion_run(["fmt", "-i", secret]).code == 0, "fmt -i")
    expect(stat.S_IMODE(os.stat(secret).st_mode) == 0o600, "fmt -i opened the file to others")
    with open(secret, encoding="utf-8") as file:
        expect(file.read() == text, "fmt -i")


suite.case("a device is written to and stays", to_devices)
suite.case("/dev/stdout is a file like others", to_a_pipe)
suite.case("JSON is whole where a path is no UTF-8", odd_names)
suite.case("a file written again is as private as it was", modes)
suite.fails("a folder is no file to write", ["tokenize", "-m", MODEL, "Once", "--to", suite.temp.name], code=1, stderr="is a directory")
sys.exit(suite.run())
