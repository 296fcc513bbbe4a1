"""The examples, which use nothing but the public headers, do what they say."""
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


suite.case("generate writes a text", generate)
suite.case("generate of a missing model says so in one line", missing_model)
sys.exit(suite.run())
