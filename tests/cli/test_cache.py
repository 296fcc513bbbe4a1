"""Packed weights kept for the next start: the same text with and without, files made once, damage found and mended, a
changed model seen, and nothing written where that is not wanted."""
import os
import shutil
import sys
import time

from orion_case import Suite, expect

suite = Suite()
SMALL = "data/models/tinystories-656k"
SETTLED = 2.1  # seconds after which a file is known by its times


def run(directory, model, *args):
    env = dict(os.environ, ORION_CACHE=directory)
    result = suite.orion_run(["infer", "-m", model, "-p", "Once upon a time", "-n", "24", *args], env=env)
    expect(result.code == 0, result.errors())
    return result.stdout


def files(directory):
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return {n: os.stat(os.path.join(directory, n)).st_ino for n in names}


def second_start():
    model, cache = suite.shared(SMALL), suite.path("second")
    for weights in ["fp16", "int8", "int4"]:
        want = run("off", model, "--weights", weights)
        before = len(files(cache))
        expect(run(cache, model, "--weights", weights) == want, f"{weights}: the first start says something else")
        made = files(cache)
        expect(weights == "int4" or len(made) > before, f"{weights}: nothing was kept")
        expect(run(cache, model, "--weights", weights) == want, f"{weights}: the second start says something else")
        expect(files(cache) == made, f"{weights}: files were made again")
    for name in made:
        expect(os.stat(os.path.join(cache, name)).st_mode & 0o022 == 0, f"{name} is open to others")


def damage():
    model, cache = suite.shared(SMALL), suite.path("damaged")
    want = run(cache, model)
    sound = files(cache)
    for name in sound:
        with open(os.path.join(cache, name), "r+b") as file:
            file.seek(-100, os.SEEK_END)
            byte = file.read(1)
            file.seek(-100, os.SEEK_END)
            file.write(bytes([byte[0] ^ 64]))
    expect(run(cache, model) == want, "damaged weights were used")
    mended = files(cache)
    expect(mended.keys() == sound.keys(), "other files")
    stamp = {n: os.stat(os.path.join(cache, n)).st_mtime_ns for n in mended}
    expect(run(cache, model) == want, "mended, they are other weights")
    expect({n: os.stat(os.path.join(cache, n)).st_mtime_ns for n in mended} == stamp, "they were not mended")


def changed_model():
    model, cache = suite.path("changing"), suite.path("changed")
    shutil.copytree(suite.shared(SMALL), model)
    path = os.path.join(model, "model.safetensors")
    os.chmod(model, 0o755)
    os.chmod(path, 0o644)
    run(cache, model)
    expect(files(cache) == {}, "weights of a file that has just been written were kept")
    time.sleep(SETTLED)
    first = run(cache, model)
    expect(files(cache) != {}, "nothing was kept")
    size = os.path.getsize(path)
    times = os.stat(path)
    with open(path, "r+b") as file:  # another model of the same size, under the same name, inode and time
        file.seek(size - 400000)
        block = file.read(200000)
        file.seek(size - 400000)
        file.write(block[100000:] + block[:100000])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    time.sleep(SETTLED)
    second = run(cache, model)
    expect(second == run("off", model), "weights of the earlier model were used")
    expect(second != first, "the change changes nothing: this test shows nothing")


def unwanted():
    model, home = suite.shared(SMALL), suite.path("home")
    env = {k: v for k, v in os.environ.items() if k not in ("ORION_CACHE", "XDG_CACHE_HOME")}
    env["HOME"] = home
    args = ["infer", "-m", model, "-p", "a", "-n", "2"]
    for extra, more in [({"ORION_CACHE": "off"}, []), ({}, ["--device", "cpu:cache=off"])]:
        result = suite.orion_run([*args, *more], env=dict(env, **extra))
        expect(result.code == 0 and not os.path.exists(home), f"{extra} {more}: {result.errors()}")
    result = suite.orion_run(args, env=dict(env, XDG_CACHE_HOME=os.path.join(home, "xdg")))
    expect(result.code == 0 and files(os.path.join(home, "xdg", "orion")), "XDG_CACHE_HOME is not followed")


suite.case("a second start uses what the first one packed", second_start)
suite.case("damaged files are found out and made anew", damage)
suite.case("a changed model is another one, whatever its times say", changed_model)
suite.case("nothing is written where that is not wanted", unwanted)
sys.exit(suite.run())
