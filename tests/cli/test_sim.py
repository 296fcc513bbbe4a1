"""The simulated engine from the command line: it refuses by rule, counts what happens to numbers, trains, and what a record
wrote down replays."""
import json
import sys

from orion_case import Suite, expect

suite = Suite()

TEXT = """program(1.3)
[buildInfo = dict<string, string>({{"a", "b"}})]
{
  func main<ios18>(tensor<fp16, [1, 4, 1, 32]> x) {
%s
  } -> (y);
}
"""
EXP = TEXT % '    tensor<fp16, [1, 4, 1, 32]> y = exp(x = x)[name = string("y")];'
GELU = TEXT % '    tensor<fp16, [1, 4, 1, 32]> y = gelu(x = x)[name = string("y")];'


def program(name, text):
    return suite.write(name, text)


def rules_are_played():
    path = program("gelu.mil", GELU)
    refused = suite.orion_run(["run", path, "--random-inputs", "1", "--device", "sim:m4"])
    expect(refused.code == 4, f"exit {refused.code}")
    expect("C10-gelu-mode" in refused.errors(), refused.errors())
    for spec in ["sim:m4,off=C10", "sim:m4,mode=numbers"]:
        expect(suite.orion_run(["run", path, "--random-inputs", "1", "--device", spec]).code == 0, spec)


def numbers_are_counted():
    path = program("exp.mil", EXP)
    args = ["run", path, "--random-inputs", "1", "--device", "sim:m4", "--sim-report"]
    rows = json.loads(suite.orion_run(args + ["--json"]).text())["sim_report"]
    expect([row["op"] for row in rows] == ["exp"] and rows[0]["results"] == 128 and rows[0]["max_error"] > 0, str(rows))
    expect("exp  " in suite.orion_run(args).text(), "no table")
    refused = suite.orion_run(["run", path, "--random-inputs", "1", "--device", "cpu", "--sim-report"])
    expect(refused.code != 0 and "sim does" in refused.errors(), refused.errors())


def a_record_replays():
    path, record = program("exp.mil", EXP), suite.path("calls.record")
    done = suite.orion_run(["run", path, "--random-inputs", "1", "--device", "record:sim:m4,file=" + record])
    expect(done.code == 0, done.errors())
    shown = json.loads(suite.orion_run(["inspect", record, "--json"]).text())
    expect(shown["device"] == "sim:m4" and shown["run"] == 1 and not shown["ends_inside_a_call"], str(shown))
    same = json.loads(suite.orion_run(["run", record, "--device", "sim:m4", "--json"]).text())
    expect(same["same"] == 1 and same["worst"] == 0, str(same))
    near = json.loads(suite.orion_run(["run", record, "--device", "cpu", "--tolerance", "0.01", "--json"]).text())
    expect(0 < near["worst"] < 0.01, str(near))
    far = suite.orion_run(["run", record, "--device", "cpu", "--tolerance", "1e-9"])
    expect(far.code == 1 and "differs" in far.errors(), far.errors())


def training_runs_on_the_engine():
    demo = suite.path("demo")
    vocab = json.loads(suite.orion_run(["demo-model", demo, "--json"]).text())["vocab"]
    config = suite.write("small.json", json.dumps({
        "model_type": "llama", "vocab_size": vocab, "max_position_embeddings": 64, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": True}))
    data = suite.write("data.txt", "Once upon a time the little dog saw the red ball. " * 60)
    losses = {}
    for device in ["cpu", "sim:m4"]:
        done = suite.orion_run(["train", "--config", config, "--tokenizer", demo, "--data", data, "--steps", "5", "--batch", "1",
                                "--seq", "32", "--lr", "0.003", "--device", device, "--out",
                                suite.path("run-" + device.replace(":", "-")), "--json"])
        expect(done.code == 0, done.errors())
        losses[device] = json.loads(done.text())
    a, b = losses["cpu"], losses["sim:m4"]
    expect(b["loss"] < b["first_loss"], str(b))
    expect(abs(a["loss"] - b["loss"]) < 0.02 * a["loss"], f"{a['loss']} on cpu, {b['loss']} on sim:m4")


suite.case("rules are played", rules_are_played)
suite.case("numbers are counted", numbers_are_counted)
suite.case("a record replays", a_record_replays)
suite.case("training runs on the engine", training_runs_on_the_engine)
sys.exit(suite.run())
