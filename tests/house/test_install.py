"""What `meson install` gives is whole: with the flags of its orion.pc, examples/generate.c becomes a program that writes.

Usage: test_install.py SOURCE-ROOT BUILD-ROOT SANITIZERS COMPILER...; reports in TAP.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile


def output(command, **more):
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=100, **more)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def install(source, build, sanitizers, compiler):
    """Yields what was shown."""
    with tempfile.TemporaryDirectory(prefix="orion-install-") as there:
        output(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", there])
        found = {}
        for where, _, names in os.walk(there):
            found.update((name, os.path.join(where, name)) for name in names)
        version = output([found["orion"], "--version"])
        yield f"the command is there: {version.strip()}", version.startswith("orion ")
        with open(found["orion.pc"], encoding="utf-8") as file:
            text = file.read()
        with open(found["orion.pc"], "w", encoding="utf-8") as file:  # as if the place were the one it was made for
            file.write(re.sub(r"(?m)^prefix=", "prefix=" + there, text))
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(found["orion.pc"]))
        flags = output(["pkg-config", "--cflags", "--libs", "--static", "orion"], env=env).split()
        program = os.path.join(there, "generate")
        kinds = [kind for kind in re.findall(r"\w+", sanitizers) if kind != "none"]
        flags += ["-fsanitize=" + ",".join(kinds)] if kinds else []
        output([*compiler, "-o", program, os.path.join(source, "examples", "generate.c"), *flags])
        text = output([program, os.path.join(source, "models", "stories3m"), "Once upon"])
        yield "a program built with what orion.pc says writes a text", text.startswith("Once upon a time") and len(text) > 60


def main():
    source, build, sanitizers, *compiler = sys.argv[1:]
    if not shutil.which("pkg-config") or not shutil.which("meson"):
        print("1..0 # SKIP pkg-config or meson is not here")
        return 0
    failed, number = False, 0
    try:
        for number, (what, good) in enumerate(install(source, build, sanitizers, compiler), 1):
            print(f"{'ok' if good else 'not ok'} {number} - {what}")
            failed |= not good
    except (RuntimeError, KeyError, subprocess.TimeoutExpired) as problem:
        failed, number = True, number + 1
        print(f"not ok {number} - installing")
        for line in str(problem).splitlines():
            print(f"# {line}")
    print(f"1..{number}")
    return 1 if failed else 0


sys.exit(main())
