"""count_tests.py LOG STATUS: counts single test cases in meson's testlog.json and prints one summary line.

A program that reports in TAP counts with its cases; what it planned and did not report (it crashed) has failed. Any other
program counts as one. Exit status 1 if anything failed, or if meson's own STATUS says so and no case did.
"""
import json
import re
import sys

LINE = re.compile(r"^(not )?ok\b(?: +\d+)?(.*)$")


def count(test):
    passed = failed = skipped = 0
    plan = None
    for line in (test.get("stdout") or "").splitlines():
        if re.match(r"^1\.\.\d+", line):
            plan = int(re.match(r"^1\.\.(\d+)", line).group(1))
        match = LINE.match(line)
        if not match:
            continue
        if re.search(r"# *SKIP", match.group(2), re.I):
            skipped += 1
        elif match.group(1):
            failed += 1
        else:
            passed += 1
    seen = passed + failed + skipped
    good = test["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
    if plan is None and seen == 0:
        return (0, 0, 1) if test["result"] == "SKIP" else (int(good), int(not good), 0)
    failed += max((plan or 0) - seen, 0)
    if not good and failed == 0:
        failed = 1
    return passed, failed, skipped


def main():
    totals, reasons = [0, 0, 0], []
    try:
        with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
            for line in log:
                test = json.loads(line)
                result = count(test)
                totals = [a + b for a, b in zip(totals, result)]
                if result[1]:
                    reasons.append(f"failed: {test['name']} ({result[1]}, {test['result'].lower()})")
                for text in re.findall(r"^skipped: .*$", test.get("stdout") or "", re.M):
                    reasons.append(text)
    except FileNotFoundError:
        pass
    passed, failed, skipped = totals
    if (sys.argv[2] != "0" and failed == 0) or passed + failed + skipped == 0:
        failed += 1
    for reason in sorted(set(reasons)):
        print(reason)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)


main()
