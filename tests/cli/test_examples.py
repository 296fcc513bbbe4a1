"""The examples, which use nothing but the public headers, do what they say."""
import os
import subprocess
import sys

from orion_case import Suite, expect

suite = Suite()


def generate():
    model = suite.path("model")
    expect(suite.orion_run(["demo-model", model]).code == 0, "no demo model")
    done = subprocess.run([sys.argv[2], model, "Once upon"], capture_output=True, timeout=120, check=False)
    expect(done.returncode == 0, done.stderr.decode())
    expect(done.stdout.startswith(b"Once upon") and len(done.stdout) > 100, f"stdout is {done.stdout[:200]!r}")


def missing_model():
    done = subprocess.run([sys.argv[2], suite.path("missing"), "x"], capture_output=True, timeout=120, check=False)
    expect(done.returncode == 1 and done.stderr.count(b"\n") == 1, f"exit {done.returncode}: {done.stderr[:200]!r}")


def adapt():
    model = suite.path("model")
    expect(suite.orion_run(["demo-model", model]).code == 0, "no demo model")
    style = os.path.join(suite.source, "examples", "sea_stories.txt")
    done = subprocess.run([sys.argv[3], model, style, suite.path("run"), "Once upon", "12"], capture_output=True, timeout=120,
                          check=False)
    expect(done.returncode == 0, done.stderr.decode())
    lines = {line.split(": ", 1)[0]: line.split(": ", 1)[1] for line in done.stdout.decode(errors="replace").splitlines() if ": " in line}
    losses = [float(v.split()[1]) for k, v in lines.items() if k.startswith("step ")]
    expect(len(losses) >= 2 and losses[-1] < losses[0], f"losses {losses}")
    expect(lines["before"] == lines["without"], "without the adapter the text is another")
    expect(lines["after"] != lines["before"], "the adapter changes nothing")
    expect(os.path.exists(suite.path("run/step-00000012/adapter_config.json")), "no PEFT directory")


suite.case("adapt trains an adapter and writes with it", adapt)
suite.case("generate writes a text", generate)
suite.case("generate of a missing model says so in one line", missing_model)
sys.exit(suite.run())
