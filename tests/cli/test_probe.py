"""orion probe: its table and JSON, going on where it stopped, measured targets and who takes them, wrong usage."""
import json
import sys

from orion_case import Suite, expect

suite = Suite()
ROW = {"rule", "title", "expected", "observed", "agrees", "note", "skipped"}
ANSWERS, TARGET = suite.path("answers.json"), suite.path("mine.json")
PROGRAM = suite.write("wide.mil", """program(1.3)
[buildInfo = dict<string, string>({})]
{
func main<ios18>(tensor<fp16, [1, 64, 1, 4096]> x) {
tensor<fp16, [1, 64, 1, 4096]> y = relu(x = x)[name = string("y")];
} -> (y);
}
""")
ONLY = ["--only", "C29", "--only", "C40", "--only", "L11"]


def agreeing(n):
    def check(report):
        for row in report["rows"]:
            expect(ROW <= set(row), f"keys: {sorted(row)}")
        wrong = [row for row in report["rows"] if row["agrees"] is not True]
        expect(not wrong, f"not agreeing: {wrong}")
        expect(len(report["rows"]) >= n and report["agree"] == len(report["rows"]), f"{len(report['rows'])} rows")
    return check


def disagreeing(rule):
    def check(report):
        wrong = [row["rule"] for row in report["rows"] if row["agrees"] is not True]
        expect(wrong == [rule], f"not agreeing: {wrong}")
    return check


def resumed(report):
    agreeing(4)(report)
    with open(ANSWERS, encoding="utf-8") as file:
        kept = json.load(file)
    expect([row["rule"] for row in kept["rows"]] == ["C29", "C40", "L11", "C44"], f"kept: {kept['rows']}")


def measured(report):
    with open(TARGET, encoding="utf-8") as file:
        target = json.load(file)
    expect(target["family"] == "m4", f"family: {target}")
    expect(target["limits"] == {"dispatch_us": 95.0, "load_slots": 127.0} or
           (abs(target["limits"]["dispatch_us"] - 95) < 1 and target["limits"]["load_slots"] == 127), f"limits: {target}")


suite.json("sim:m4 agrees on every row", ["probe", "--device", "sim:m4", "--json"], keys=["device", "family", "rows", "agree",
                                                                                         "disagree", "open"], check=agreeing(60))
suite.ok("the table names the paper's twenty", ["probe", "--device", "sim:m4", "--only", "C01", "--only", "C20"],
         stdout=r"C01  agrees(.|\n)*C20  agrees(.|\n)*2 agree, 0 disagree")
suite.json("a rule that is off disagrees", ["probe", "--device", "sim:m4,off=C29", *ONLY, "--json"], check=disagreeing("C29"))
suite.json("answers are kept", ["probe", "--device", "sim:m4", *ONLY, "--resume", ANSWERS, "--json"], check=agreeing(3))
suite.json("and it goes on", ["probe", "--device", "sim:m4", *ONLY, "--only", "C44", "--resume", ANSWERS, "--json"], check=resumed)
suite.fails("answers of another device", ["probe", "--device", "sim:m1", "--resume", ANSWERS], code=3, stderr="answers")
suite.json("a target is written", ["probe", "--device", "sim:m4", *ONLY, "--update-target", TARGET, "--json"], check=measured)
SLOW = suite.write("slow.json", '{"family": "m4", "limits": {"dispatch_us": 500, "max_axis": 1024}}')
suite.json("the simulator plays a measured target", ["probe", "--device", f"sim:m4,target={SLOW}", *ONLY, "--json"],
           check=disagreeing("C29"))
suite.ok("check takes the family", ["check", PROGRAM, "--target", "m4"], stdout="nothing to say")
suite.fails("check takes a measured target", ["check", PROGRAM, "--target", SLOW], code=4, stderr="would stop it")
suite.fails("a target of another family", ["probe", "--device", f"sim:m1,target={SLOW}", "--only", "C29"], code=2, stderr="target of m4")
BAD = suite.write("bad.json", '{"family": "m4", "limits": {"max_axes": 1}}')
suite.fails("a limit that is none", ["check", PROGRAM, "--target", BAD], code=3, stderr="max_axes")
suite.fails("no such rule", ["probe", "--device", "sim:m4", "--only", "C99"], code=2, stderr="C99")
suite.fails("a rule without a probe", ["probe", "--device", "sim:m4", "--only", "C34"], code=2, stderr="C34")
suite.fails("a device that is no engine", ["probe", "--device", "cpu"], code=3, stderr="m1 to m6")
sys.exit(suite.run())
