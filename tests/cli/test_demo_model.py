"""The demo model: it is what its card says, it writes, and `make demo` (made small) trains it on what it wrote."""
import json
import os
import re
import subprocess
import sys

from orion_case import Suite, expect

suite = Suite()
MODEL = os.path.join(suite.source, "models", "stories3m")
STORY = ("Once upon a time, there was a little girl named Lily. She had a red ball. One day, Lily went to the park with her mom. "
         "She saw a big dog. The dog wanted to play with the ball. Lily was scared, but her mom said, \"Do not be afraid. The dog "
         "is nice.\" Lily threw the ball and the dog ran to get it. They played all day and became good friends.")


def knows_stories():
    path = suite.path("story.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write(STORY)
    for weights, bound in (("fp16", 1.2), ("int8", 1.2)):  # 1.135 is measured; before training it is 7.6
        said = json.loads(suite.orion_run(["eval", "-m", MODEL, "-f", path, "--weights", weights, "--json"]).stdout)
        expect(said["nll"] < bound, f"{weights}: {said['nll']} nats a token")


def card():
    with open(os.path.join(MODEL, "README.md"), encoding="utf-8") as file:
        text = file.read()
    with open(os.path.join(MODEL, "training.jsonl"), encoding="utf-8") as file:
        log = [json.loads(line) for line in file]
    last = log[-1]
    expect(f"{last['step']} steps of" in text and last["step"] == len(log), f"{len(log)} steps")
    expect(f"{last['eval_loss']:.3f} on" in text, f"held-out loss {last['eval_loss']}")
    expect(f"{last['loss']:.2f} (last batch)" in text, f"loss {last['loss']}")
    inspected = json.loads(suite.orion_run(["inspect", MODEL, "--json"]).stdout)
    weights = re.search(r"parameters \| ([\d,]+);", text).group(1).replace(",", "")
    expect(str(inspected.get("parameters", "")) == weights, f"{inspected.get('parameters')} parameters")


def demo():
    out = suite.path("demo")
    env = dict(os.environ, ORION=suite.orion, OUT=out, STORIES="2", STEPS="3")
    done = subprocess.run(["sh", "scripts/demo.sh"], cwd=suite.source, env=env, capture_output=True, timeout=200, check=False)
    text = done.stdout.decode(errors="replace")
    expect(done.returncode == 0, done.stderr.decode(errors="replace")[:300])
    expect(re.search(r"\nOnce upon a time.{200}", text, re.S), text[:300])
    rows = re.findall(r"^ +(\d+) +([\d.]+) +\d+ +[\d.]+ +[\d.]+$", text, re.M)
    expect([int(row[0]) for row in rows] == [1, 2, 3], f"rows {rows}")
    expect(all(1 < float(row[1]) < 4 for row in rows), f"losses {rows}")


suite.case("the demo model is at home in a story", knows_stories)
suite.case("the card has the figures of log and model", card)
suite.case("make demo writes, trains, and prints what each update costs", demo)
sys.exit(suite.run())
