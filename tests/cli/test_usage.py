"""What holds for every command: help, wrong usage, exit codes."""
import os
import subprocess
import sys

from orion_case import Suite, expect

suite = Suite()
subprocess.run([suite.orion, "demo-model", suite.path("demo")], check=True, capture_output=True)

suite.ok("help is on stdout and names the commands", ["--help"], stdout=r"(?s)infer.*fmt|fmt.*infer")
suite.ok("the version names the build", ["--version"], stdout=r"^orion \d+\.\d+\.\d+ \w+(-dirty)?\n$")
suite.fails("no command is wrong usage", [], code=2)
suite.fails("a negative limit is wrong usage", ["eval", "-m", "x", "--tokens", "1,2,3", "--limit", "-3"], code=2, stderr="--limit")
suite.fails("an unknown command is named", ["no-such-command"], code=2, stderr="no-such-command")

for command in ["infer", "eval", "tokenize", "compile", "check", "run", "fmt", "inspect", "bench", "devices"]:
    suite.ok(f"{command} --help shows an example", [command, "--help"], stdout=rf"orion {command}")
    suite.fails(f"{command} refuses an unknown option by name", [command, "--no-such-option"], code=2,
                stderr="no-such-option")

for command in ["check", "fmt", "inspect", "run"]:
    suite.fails(f"{command} of a missing file is a bad input file", [command, suite.path("missing.mil")], code=3,
                stderr=r"missing\.mil")
suite.fails("infer of a missing model is a bad input file", ["infer", "-m", suite.path("missing"), "-p", "x"], code=3,
            stderr="missing: there is no such model")
suite.fails("infer without a model is wrong usage", ["infer", "-p", "x"], code=2)


# Options that would say nothing in their company: better refused than passed over. X stands for files that need not be there.
for name, args, why in [
        ("tokenize", ["-m", "X", "--decode", "1,2", "more"], None),
        ("tokenize", ["-m", "X", "--decode", "1,2", "--to", "X"], "--to"),
        ("tokenize", ["--learn", "300", "-f", "X", "--to", "X", "--decode", "1"], "--decode"),
        ("compile", ["-m", "X", "-o", "X", "--batch", "2"], "--program train"),
        ("compile", ["-m", "X", "-o", "X", "--program", "prefill", "--ctx", "9"], "--program decode"),
        ("run", ["X", "--tolerance", "0.1"], "record"),
        ("bench", ["dispatch", "--at", "5"], "bench infer"),
        ("bench", ["update", "-m", "X", "--length", "5"], "bench prefill"),
        ("infer", ["-m", "", "-p", "x"], "--model: the name is empty"),
        ("eval", ["-m", "X", "--tokens", "1,2", "--logits", ""], "--logits: the name is empty"),
        ("inspect", [""], "an operand is empty"),
        ("devices", ["--threads", "4294967297"], "1024"),
        ("probe", ["--device", "sim:m4", "--threads", "4294967297"], "1024")]:
    real = suite.path("demo")
    suite.fails(f"{name} {' '.join(args)}", [name] + [real if a == "X" else a for a in args], code=2, stderr=why)

if not os.path.exists("/usr/lib/libobjc.A.dylib"):
    suite.fails("probe where there is no engine names one that is simulated", ["probe"], code=3, stderr="--device sim:m4")


def devices(value):
    names = [d.get("name") if isinstance(d, dict) else d for d in value["devices"]]
    expect("cpu" in names, f"cpu is missing among {names}")


suite.json("devices as JSON", ["devices", "--json"], keys=["devices"], check=devices)
sys.exit(suite.run())
