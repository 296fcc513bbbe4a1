"""docs/limits.md, the check and its test name the same rules. Usage: test_limits_page.py SOURCE-ROOT; reports in TAP."""
import os
import re
import sys

ROOT = sys.argv[1]
RULE = r"[CL]\d\d-[a-z0-9-]+"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


rows = re.findall(rf"^\| `({RULE})` \|(.*)\|$", read("docs/limits.md"), re.M)
page = {rule for rule, _ in rows}
check = set(re.findall(rf'"({RULE})"', read("src/target/check.c")))
tested = set(re.findall(rf'"({RULE})"', read("tests/target/test_check.c")))

CASES = [
    ("the check has rules", [] if check else ["none found"]),
    ("every rule of the check is on the page", sorted(check - page)),
    ("every rule of the page is in the check", sorted(page - check)),
    ("every rule has a test", sorted(check - tested)),
    ("no test is of an unknown rule", sorted(tested - check)),
    ("every rule is on the page once", sorted(rule for rule in page if [r for r, _ in rows].count(rule) > 1)),
    ("every row is complete", [rule for rule, rest in rows if len([c for c in rest.split("|") if c.strip()]) != 4]),
]
print(f"1..{len(CASES)}")
for number, (name, problems) in enumerate(CASES, 1):
    print(f"{'not ok' if problems else 'ok'} {number} - {name}")
    for problem in problems:
        print(f"# {problem}")
sys.exit(any(problems for _, problems in CASES))
