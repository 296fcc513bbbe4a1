"""Cases for the command line: run `orion` with arguments and look at exit code, stdout and stderr. Reports in TAP.

A test script names the cases and says what must come out:

    from orion_case import Suite
    suite = Suite()                                   # takes the path of orion from sys.argv[1]
    suite.ok("devices lists cpu", ["devices"], stdout=r"\\bcpu\\b")
    suite.json("fmt says what it did", ["devices", "--json"], keys=["devices"])
    suite.fails("an unknown command", ["nonsense"], code=2, stderr="nonsense")
    sys.exit(suite.run())

Every failing command must leave exactly one line on stderr, `orion: error: WHAT: WHY (what to do)`; a good one none
but warnings (stderr is no terminal here, so there is no progress); `--json` gives one JSON object on stdout and nothing else.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

TIMEOUT = 120


class Skip(Exception):
    """Raised by a check that cannot run here; the text is the reason."""


class Failed(Exception):
    """Raised by a check; the text says what was wrong."""


class Result:
    def __init__(self, args, code, stdout, stderr):
        self.args, self.code, self.stdout, self.stderr = args, code, stdout, stderr

    def text(self):
        return self.stdout.decode("utf-8", errors="replace")

    def errors(self):
        return self.stderr.decode("utf-8", errors="replace")


def expect(condition, what):
    if not condition:
        raise Failed(what)


class Suite:
    def __init__(self, orion=None):
        self.orion = os.path.abspath(orion or sys.argv[1])
        self.source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.cases = []
        self.temp = tempfile.TemporaryDirectory(prefix="orion-cli-")

    # ---- places ----

    def shared(self, relative):
        """Path of shared test data ("data/..."); skips the case where it is missing."""
        env = os.environ.get("ORION_SHARED")
        roots = [env] if env else [os.path.join(self.source, "..", "shared"),
                                   os.path.join(self.source, "..", "..", "shared")]
        for root in roots:
            if os.path.exists(os.path.join(root, relative)):
                return os.path.join(root, relative)
        raise Skip(f"shared test data {relative} is missing (set ORION_SHARED)")

    def path(self, name):
        """A path below a folder that vanishes after the run."""
        return os.path.join(self.temp.name, name)

    def write(self, name, data):
        """Writes a file below that folder (text or bytes) and returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        return path

    # ---- running ----

    def orion_run(self, args, stdin=b"", env=None):
        """Runs orion, checks what holds for every command, returns the Result."""
        done = subprocess.run([self.orion] + [str(a) for a in args], input=stdin, capture_output=True, timeout=TIMEOUT,
                              check=False, env=env)
        result = Result(args, done.returncode, done.stdout, done.stderr)
        errors = result.errors()
        expect(result.code in (0, 1, 2, 3, 4), f"exit {result.code}: {errors[-2000:]}")
        if result.code == 0:
            warnings = all(line.startswith("orion: warning: ") for line in errors.splitlines())
            expect(warnings, f"stderr of a good run: {errors[:500]!r}")
        return result

    def check_failure(self, result, code, stderr=None):
        errors = result.errors()
        expect(result.code == code, f"exit {result.code}, expected {code}: {errors[:500]!r}")
        expect(errors.endswith("\n") and errors.count("\n") == 1, f"stderr is not one line: {errors[:500]!r}")
        expect(errors.startswith("orion: error: "), f"stderr does not begin as an error: {errors[:500]!r}")
        if stderr:
            expect(re.search(stderr, errors), f"stderr lacks {stderr!r}: {errors[:500]!r}")

    # ---- kinds of cases; an argument list may be a function that makes it, for paths of shared data ----

    def case(self, name, check):
        """Any check: a function of no arguments that raises Failed, or Skip."""
        self.cases.append((name, check))

    def ok(self, name, args, stdout=None, exact=None, stdin=b""):
        """Exit 0; stdout matches a pattern, or equals a text."""
        def check():
            result = self.orion_run(args() if callable(args) else args, stdin)
            expect(result.code == 0, f"exit {result.code}: {result.errors()[:500]!r}")
            if stdout is not None:
                expect(re.search(stdout, result.text()), f"stdout lacks {stdout!r}: {result.text()[:500]!r}")
            if exact is not None:
                want = exact() if callable(exact) else exact
                want = want.encode() if isinstance(want, str) else want
                expect(result.stdout == want, f"stdout is {result.stdout[:500]!r}, expected {want[:500]!r}")
        self.case(name, check)

    def json(self, name, args, keys=(), check=None, code=0, stdin=b""):
        """`--json`: one object on stdout with these keys; check(object) may look closer."""
        def run():
            result = self.orion_run(args() if callable(args) else args, stdin)
            expect(result.code == code, f"exit {result.code}, expected {code}: {result.errors()[:500]!r}")
            try:
                value = json.loads(result.stdout)
            except ValueError as error:
                raise Failed(f"stdout is not JSON ({error}): {result.text()[:500]!r}") from error
            expect(isinstance(value, dict), "stdout is JSON, but no object")
            for key in keys:
                expect(key in value, f"key {key!r} is missing among {sorted(value)}")
            if check:
                check(value)
        self.case(name, run)

    def fails(self, name, args, code, stderr=None, stdin=b""):
        """Exit `code` and one error line that matches a pattern."""
        self.case(name, lambda: self.check_failure(self.orion_run(args() if callable(args) else args, stdin), code, stderr))

    def run(self):
        print(f"1..{len(self.cases)}", flush=True)
        failed = False
        for number, (name, check) in enumerate(self.cases, 1):
            try:
                check()
                print(f"ok {number} - {name}", flush=True)
            except Skip as reason:
                print(f"skipped: {reason}\nok {number} # SKIP {name}", flush=True)
            except (Failed, OSError, subprocess.TimeoutExpired, KeyError, TypeError) as problem:
                failed = True
                print(f"not ok {number} - {name}", flush=True)
                for line in str(problem).splitlines():
                    print(f"# {line}", flush=True)
        self.temp.cleanup()
        return 1 if failed else 0
