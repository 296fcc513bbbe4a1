"""The error statistics that were published for an M6's activation functions, computed anew from what `orion run` gives on
sim:m6: count of inputs, largest absolute error, largest error in two kinds of ulp and where, and the places where the
smoothed error has its minima, which are those of the knots. sin is not solved and reported only.

usage: test_tables.py ORION SHARED      (writes TAP)
"""
import json
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

ORION, SHARED = sys.argv[1], os.environ.get("ORION_SHARED", sys.argv[2])
POINTS = 2048 * 256
erf = np.vectorize(math.erf)

FUNCTIONS = {  # operation, exact function, range
    "sigmoid": ("sigmoid(x = x)", lambda x: 0.5 + 0.5 * np.tanh(x / 2), -12, 12),
    "tanh": ("tanh(x = x)", np.tanh, -6, 6),
    "gelu": ('gelu(mode = mode, x = x)', lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))), -8, 8),
    "gelu_tanh": ('gelu(mode = mode_tanh, x = x)',
                  lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))), -8, 8),
    "silu": ("silu(x = x)", lambda x: x / (1 + np.exp(-x)), -12, 12),
    "exp": ("exp(x = x)", np.exp, -12, 10),
    "log": ("log(epsilon = log_eps, x = x)", np.log, 2 ** -10, 1000),
    "sqrt": ("sqrt(x = x)", np.sqrt, 2 ** -10, 1000),
    "rsqrt": ("rsqrt(epsilon = log_eps, x = x)", lambda x: 1 / np.sqrt(x), 2 ** -6, 1000),
    "inverse": ("inverse(epsilon = eps, x = x)", lambda x: 1 / x, 2 ** -6, 1000),
    "erf": ("erf(x = x)", erf, -4, 4),
    "sin": ("sin(x = x)", np.sin, -8, 8),
}
HEAD = """program(1.3)
{
  func main<ios18>(tensor<fp16, [%d]> x) {
    string mode = const()[name = string("mode"), val = string("EXACT")];
    string mode_tanh = const()[name = string("mode_tanh"), val = string("TANH_APPROXIMATION")];
    fp16 eps = const()[name = string("eps"), val = fp16(1e-4)];
    fp16 log_eps = const()[name = string("log_eps"), val = fp16(0)];
    tensor<fp16, [%d]> y = %s[name = string("y")];
  } -> (y);
}
"""


def device(call, x):
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, "p.mil"), "w") as f:
            f.write(HEAD % (x.size, x.size, call))
        np.save(os.path.join(work, "x.npy"), x)
        done = subprocess.run([ORION, "run", os.path.join(work, "p.mil"), "--device", "sim:m6,mode=numbers", "--in",
                               "x=" + os.path.join(work, "x.npy"), "--out", work, "--json"],
                              capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return np.load(os.path.join(work, "y.npy")).astype(np.float64)


def mean_of_nine(v):
    """Added from the ends inwards, so that mirrored numbers have mirrored means: two minima beside zero are both found."""
    padded = np.pad(v, 4)
    shifted = [padded[i:i + v.size] / 9 for i in range(9)]
    return (shifted[0] + shifted[8]) + (shifted[1] + shifted[7]) + (shifted[2] + shifted[6]) + (
        shifted[3] + shifted[5]) + shifted[4]


def statistics(call, exact, low, high):
    grid = np.geomspace(low, high, POINTS) if low > 0 else np.linspace(low, high, POINTS)
    x16 = np.unique(grid.astype(np.float16).astype(np.float64)).astype(np.float16)
    x = x16.astype(np.float64)
    want = exact(x)
    error = device(call, x16) - want
    size = np.abs(want)
    exponent = np.maximum(np.floor(np.log2(np.where(size > 0, size, 2.0 ** -24))), -14)
    ulps = np.abs(error) / 2.0 ** (exponent - 10)
    old = np.abs(error) / (np.maximum(size, 2.0 ** -14) * 2.0 ** -10)
    smooth = mean_of_nine(np.abs(error))
    top = 0.3 * np.max(smooth)
    minima = x[[i for i in range(9, len(smooth) - 9) if smooth[i] < top and smooth[i] == smooth[i - 9:i + 10].min()]]
    gaps = np.diff(minima)
    return {"points": len(x), "max_abs": "%.3e" % np.max(np.abs(error)), "max_old_ulp": "%.1f" % np.max(old),
            "max_ulp": "%.1f" % np.max(ulps), "max_ulp_at": "%.4g" % x[int(np.argmax(ulps))],
            "n_minima": len(minima), "first20": np.round(minima[:20], 4).tolist(),
            "median_gap": "%.4f" % np.median(gaps), "gap_min": "%.4f" % gaps.min(), "gap_max": "%.4f" % gaps.max()}


def same(got, want):
    if isinstance(want, list):
        return got == want
    return float(got) == float(want)


def main():
    path = os.path.join(SHARED, "data", "anevec", "lut_stats_m6.json")
    if not os.path.exists(path):
        print("1..0 # skip shared test data data/anevec is missing (set ORION_SHARED)")
        return
    with open(path) as f:
        published = json.load(f)
    names = [n for n in FUNCTIONS if n in published]
    print("1..%d" % len(names))
    total = agree = 0
    for number, name in enumerate(names, 1):
        got = statistics(*FUNCTIONS[name])
        apart = [k for k, v in published[name].items() if not same(got[k], v)]
        if name != "sin":
            total += len(published[name])
            agree += len(published[name]) - len(apart)
        note = "; ".join("%s is %s, published %s" % (k, got[k], published[name][k]) for k in apart if k != "first20")
        print("%s %d - %s: %d of %d statistics%s%s" % (
            "not ok" if apart and name != "sin" else "ok", number, name, len(published[name]) - len(apart),
            len(published[name]), " (not solved)" if name == "sin" else "", " # " + note if note else ""), flush=True)
    print("# %d of %d statistics of the solved functions" % (agree, total))


main()
