"""What holds for every command: help, wrong usage, exit codes."""
import sys

from orion_case import Suite, expect

suite = Suite()

suite.ok("help is on stdout and names the commands", ["--help"], stdout=r"(?s)infer.*fmt|fmt.*infer")
suite.ok("the version names the build", ["--version"], stdout=r"^orion \d+\.\d+\.\d+ \w+\n$")
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


def devices(value):
    names = [d.get("name") if isinstance(d, dict) else d for d in value["devices"]]
    expect("cpu" in names, f"cpu is missing among {names}")


suite.json("devices as JSON", ["devices", "--json"], keys=["devices"], check=devices)
sys.exit(suite.run())
