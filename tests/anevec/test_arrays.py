"""Whole arrays: seeded inputs go through `orion run` on the simulated families, and the relative error of the result must
be the number that was published for the real machine, to the last digits that the reference itself determines.

usage: test_arrays.py ORION SHARED      (SHARED holds data/anevec; writes TAP)
ORION_ANEVEC_FULL=1 runs every published size (minutes); otherwise the smallest of each kind.
Reductions, softmax and layer_norm are not solved: how near they come is reported, and never fails.
"""
import csv
import math
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("1..0 # skip python's numpy is missing")
    sys.exit(0)

ORION, SHARED = sys.argv[1], sys.argv[2]
SHARED = os.environ.get("ORION_SHARED", SHARED)
FULL = os.environ.get("ORION_ANEVEC_FULL", "") not in ("", "0")
FAMILIES = {"H13": "m1", "H14": "m2", "H15": "m3", "H16": "m4", "H17": "m5", "H18": "m6"}
# How many digits agree where a machine's own bits are known to be right.
LIMIT = {"gemm_linear": 1e-12, "conv3x3": 1e-12, "relu": 1e-12, "gelu": 1e-8}

HEAD = "program(1.3)\n{\n  func main<ios18>(%s) {\n%s  } -> (y);\n}\n"


def const(name, kind, value):
    return '    %s %s = const()[name = string("%s"), val = %s(%s)];\n' % (kind, name, name, kind, value)


def tensor(shape):
    return "tensor<fp16, [%s]>" % ", ".join(map(str, shape))


def program(inputs, out_shape, consts, call):
    params = ", ".join("%s %s" % (tensor(v.shape), k) for k, v in inputs.items())
    body = "".join(const(*c) for c in consts) + '    %s y = %s[name = string("y")];\n' % (tensor(out_shape), call)
    return HEAD % (params, body)


def device(family, text, inputs):
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, "p.mil"), "w") as f:
            f.write(text)
        command = [ORION, "run", os.path.join(work, "p.mil"), "--device", "sim:" + family + ",mode=numbers", "--out", work, "--json"]
        for name, value in inputs.items():
            np.save(os.path.join(work, name + ".npy"), value)
            command += ["--in", "%s=%s" % (name, os.path.join(work, name + ".npy"))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return np.load(os.path.join(work, "y.npy")).astype(np.float64)


def relative_error(got, want):
    got, want = got.astype(np.float64).ravel(), np.asarray(want, np.float64).ravel()
    def norm(v):  # sums in pairs: the reference's digits beyond the 12th depend on it
        return math.sqrt(float(np.sum(np.square(v))))
    return norm(got - want) / norm(want)


def gemm(n):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, n)).astype(np.float32) / np.float32(np.sqrt(n))
    w = rng.standard_normal((n, n)).astype(np.float32) / np.float32(np.sqrt(n))
    rows = min(n, 256)
    inputs = {"x": x[:rows].astype(np.float16), "w": w.astype(np.float16)}
    text = program(inputs, (rows, n), [("no", "bool", "false"), ("yes", "bool", "true")],
                   "matmul(transpose_x = no, transpose_y = yes, x = x, y = w)")
    return text, inputs, x[:rows].astype(np.float64) @ w.astype(np.float64).T


def conv(channels, batch):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, channels, 64, 64)).astype(np.float32)[:1]
    w = rng.standard_normal((channels, channels, 3, 3)).astype(np.float32).astype(np.float64)
    w = w * np.sqrt(2.0 / (channels * 9))
    padded = np.pad(x[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    want = np.zeros((channels, 64 * 64))
    for r in range(3):
        for s in range(3):
            want += w[:, :, r, s] @ padded[:, r:r + 64, s:s + 64].reshape(channels, -1)
    inputs = {"x": x.astype(np.float16), "w": w.astype(np.float16)}
    text = program(inputs, (1, channels, 64, 64), [("pt", "string", '"custom"'),
                   ("pad", "tensor<int32, [4]>", "[1, 1, 1, 1]")],
                   "conv(pad = pad, pad_type = pt, weight = w, x = x)")
    return text, inputs, want


def draws(op, rows):
    """The inputs were drawn one after another: [256, 4096], [2048, 4096], [8192, 4096]."""
    rng = np.random.default_rng(11)
    for r in (256, 2048, 8192):
        x = rng.standard_normal((r, 4096)).astype(np.float32)
        if r == rows:
            break
    return x


def lines(op, rows):
    x = draws(op, rows)
    inputs, consts, shape = {"x": x.astype(np.float16)}, [], x.shape
    x64 = x.astype(np.float64)
    if op == "relu":
        call, want = "relu(x = x)", np.maximum(x, 0)
    elif op == "gelu":
        call = "gelu(x = x)"
        want = x * 0.5 * (1.0 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3).astype(np.float64)))
    elif op == "reduce_sum":
        consts = [("axes", "tensor<int32, [1]>", "[1]"), ("keep", "bool", "false")]
        call, want, shape = "reduce_sum(axes = axes, keep_dims = keep, x = x)", x.sum(-1), (rows,)
    elif op == "softmax":
        consts, call = [("axis", "int32", "1")], "softmax(axis = axis, x = x)"
        e = np.exp(x64 - x64.max(-1, keepdims=True))
        want = e / e.sum(-1, keepdims=True)
    else:
        g = np.random.default_rng(13)
        gamma = g.standard_normal(4096).astype(np.float32) * np.float32(0.1) + np.float32(1)
        beta = g.standard_normal(4096).astype(np.float32) * np.float32(0.1)
        inputs.update(gamma=gamma.astype(np.float16), beta=beta.astype(np.float16))
        consts = [("axes", "tensor<int32, [1]>", "[1]"), ("eps", "fp16", "1e-5")]
        call = "layer_norm(axes = axes, beta = beta, epsilon = eps, gamma = gamma, x = x)"
        d = x64 - x64.mean(-1, keepdims=True)
        want = d / np.sqrt((d ** 2).mean(-1, keepdims=True) + 1e-5) * gamma + beta
    return program(inputs, shape, consts, call), inputs, want


def case(op, param):
    if op == "gemm_linear":
        return gemm(int(param))
    if op == "conv3x3":
        channels, batch = (int(part[2:]) for part in param.split())
        return conv(channels, batch)
    return lines(op, int(param[1:].split(",")[0]))


def small(op, param):
    return {"gemm_linear": param == "512", "conv3x3": param.startswith("C=64 ")}.get(op, param.startswith("[256,"))


def main():
    path = os.path.join(SHARED, "data", "anevec", "array_checksums.tsv")
    if not os.path.exists(path):
        print("1..0 # skip shared test data data/anevec is missing (set ORION_SHARED)")
        return
    with open(path) as f:
        rows = [r for r in csv.DictReader(f, delimiter="\t") if FULL or small(r["op"], r["param"])]
    made, results, number = None, {}, 0
    print("1..%d" % len(rows))
    for row in sorted(rows, key=lambda r: (r["op"], r["param"])):
        op, param, family, want = row["op"], row["param"], FAMILIES[row["family"]], float(row["relerr"])
        if made is None or made[0] != (op, param):
            made, results = ((op, param), case(op, param)), {}
        text, inputs, reference = made[1]
        if family not in results:
            results[family] = relative_error(device(family, text, inputs), reference)
        got = results[family]
        apart = abs(got - want) / want
        number += 1
        target = op not in LIMIT
        good = target or apart <= LIMIT[op]
        print("%s %d - %s %s %s: %.16g, published %.16g, %.1e apart%s" % (
            "ok" if good else "not ok", number, op, param, row["machine"], got, want, apart,
            " (open target)" if target else ""), flush=True)


main()
