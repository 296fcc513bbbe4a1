"""The command line on the Neural Engine's stand-in: programs, a model that writes, a model that learns, with the same results
as on the sim; what `devices` and `auto` say. Arguments: orion, the stand-in, the restarting program."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from orion_case import Suite, expect  # noqa: E402

suite = Suite()
STAND_IN, RESTARTS = os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
ANE = "ane:framework=" + STAND_IN
os.environ["TMPDIR"] = suite.path("tmp")
os.makedirs(os.environ["TMPDIR"])
os.environ.pop("ORION_ANE_FRAMEWORK", None)

CONV = """program(1.3)
{
  func main<ios18>(tensor<fp16, [1, 4, 1, 32]> x) {
    tensor<fp16, [1, 4, 1, 1]> w = const()[name = string("w"), val = tensor<fp16, [1, 4, 1, 1]>([[[[0.5]], [[2]], [[-1]], [[3]]]])];
    tensor<fp16, [1, 4, 1, 32]> h = mul(x = x, y = w)[name = string("h")];
    tensor<fp16, [1, 4, 1, 32]> y = sigmoid(x = h)[name = string("y")];
  } -> (y);
}
"""


def run(*args, **env):
    done = subprocess.run([suite.orion, *map(str, args)], capture_output=True, text=True, env={**os.environ, **env}, check=False)
    expect(done.returncode == 0, f"orion {' '.join(map(str, args))}: {done.stderr}")
    return done.stdout


def check_run():
    mil = suite.write("p.mil", CONV)
    outputs = []
    for device, out in [("sim:m4", "s"), (ANE, "a"), (ANE + ",route=b", "b")]:
        run("run", mil, "--random-inputs", 3, "--device", device, "--out", suite.path(out))
        with open(os.path.join(suite.path(out), "y.npy"), "rb") as file:
            outputs.append(file.read())
    expect(outputs[0] == outputs[1] == outputs[2], "outputs differ")


def check_devices():
    def ane(**env):
        listed = json.loads(run("devices", "--json", **env))["devices"]
        return next(d for d in listed if d["name"] == "ane")
    without = ane()
    expect(not without["available"] and "macOS" in without["reason"], str(without))
    there = ane(ORION_ANE_FRAMEWORK=STAND_IN)
    expect(there["available"] and there["answers"] and there["family"] == "m4", str(there))
    expect("NOT Apple's" in there["description"], str(there))
    text = run("devices", ORION_ANE_FRAMEWORK=STAND_IN)
    expect("it answers" in text, text)
    # With no slots nothing can be loaded: it is there, and does not answer.
    mute = ane(ORION_ANE_FRAMEWORK=STAND_IN, ORION_STANDIN="slots=0")
    expect(mute["available"] and not mute["answers"] and "0x50004" in mute["reason"], str(mute))


def demo():
    path = suite.path("demo")
    if not os.path.isdir(path):
        run("demo-model", path)
    return path


def tokens(device, **env):
    args = ["infer", "-m", demo(), "-p", "Once upon a time", "-n", 6, "--temp", 0, "--json"]
    return json.loads(run(*args, *(["--device", device] if device else []), **env))


def check_infer():
    want = tokens("sim:m4")["tokens"]
    for device in [ANE, ANE + ",route=b", ANE + ",slots=1"]:
        got = tokens(device)
        expect(got["tokens"] == want, f"{device}: {got['tokens']}, the sim says {want}")


def check_shared():
    for model in ["gpt2-small-random", "llama-small-random", "qwen3-small-random"]:
        path = suite.shared(os.path.join("data", "models", model))
        args = ["infer", "-m", path, "--tokens", "5,17,60", "-n", 5, "--temp", 0, "--ignore-eos", "--json", "--device"]
        want, got = (json.loads(run(*args, device))["tokens"] for device in ["sim:m4", ANE])
        expect(got == want, f"{model}: {got}, the sim says {want}")


def check_auto():
    env = {"ORION_ANE_FRAMEWORK": STAND_IN}
    expect(tokens("auto", **env)["device"].startswith("ane"), "auto takes the engine where one answers")
    expect(tokens(None, **env)["device"].startswith("ane"), "and so does no device")
    expect(tokens("auto")["device"].startswith("cpu"), "and cpu where there is none")
    expect(tokens("auto", **env, ORION_STANDIN="slots=0")["device"].startswith("cpu"), "or where it does not answer")
    # A try that did not come back.
    mark = os.path.join(os.environ["TMPDIR"], f"orion-ane-trial-{os.getuid()}")
    with open(mark, "w", encoding="utf-8"):
        pass
    expect(tokens("auto", **env)["device"].startswith("cpu"), "or where the last try did not come back")
    os.remove(mark)


def train(device, out, *more, **env):
    if not os.path.exists(suite.path("small.json")):
        with open(os.path.join(demo(), "config.json"), encoding="utf-8") as file:
            vocab = json.load(file)["vocab_size"]
        suite.write("small.json", json.dumps({
            "model_type": "llama", "vocab_size": vocab, "max_position_embeddings": 64, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0}))
        suite.write("train.txt", "Once upon a time the dog saw the red ball. The cat liked the big box. " * 60)
    run("train", "--config", suite.path("small.json"), "--tokenizer", demo(), "--data", suite.path("train.txt"), "--batch", 1, "--seq",
        32, "--lr", "1e-2", "--warmup", 3, "--target", "m4", "--threads", 1, "--device", device, "--out", suite.path(out), *more, **env)
    with open(os.path.join(suite.path(out), "log.jsonl"), encoding="utf-8") as file:
        return [json.loads(line)["loss"] for line in file]


def check_train():
    want = train("sim:m4", "on_sim", "--steps", 20)
    expect(len(want) == 20 and want[-1] < want[0], str(want))
    got = train(ANE, "on_ane", "--steps", 20)
    expect(got == want, f"{got}, the sim says {want}")


def check_strategies():
    """Patched weights are tried and given up where the world ignores them; compiling anew gives the same losses."""
    want = train("sim:m4", "three", "--steps", 3)
    for update in ["delta", "recompile"]:
        got = train(ANE, update, "--steps", 3, "--update", update)
        expect(got == want, f"{update}: {got}, the sim says {want}")


def check_probe():
    """Each question in a process of its own: one dies, as it should; what only an engine's clock can answer stays open."""
    want = {"C01": True, "C09": True, "C15": None, "X04": None, "X19": True}
    only = [word for rule in want for word in ("--only", rule)]
    rows = json.loads(run("probe", "--device", ANE, "--json", "--destructive", *only))["rows"]
    expect({row["rule"]: row["agrees"] for row in rows} == want, json.dumps(rows))
    expect("not measurable" in rows[3]["note"], json.dumps(rows[3]))


def check_restart():
    log = suite.path("lives")
    done = subprocess.run([RESTARTS, log], env={**os.environ, "ORION_ANE_FRAMEWORK": STAND_IN}, capture_output=True, text=True, check=False)
    with open(log, encoding="utf-8") as file:
        lines = file.read().split("\n")
    expect(done.returncode == 0 and lines == ["exhausted", "exhausted", "done with 1 compiles in this life", ""], f"{lines} {done.stderr}")


suite.case("a program gives the same bytes as on the sim, by either route", check_run)
suite.case("devices says whether the engine answers, and why not", check_devices)
suite.case("a model writes the same tokens as on the sim", check_infer)
suite.case("models of other people's weights too", check_shared)
suite.case("auto takes the engine where one answers", check_auto)
suite.case("twenty steps of training have the losses of the sim", check_train)
suite.case("weights by each strategy", check_strategies)
suite.case("probes in processes of their own", check_probe)
suite.case("a process out of compiles starts anew and goes on", check_restart)
sys.exit(suite.run())
