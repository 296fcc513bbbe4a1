#!/usr/bin/env python3
"""Writes the goldens of the conformance suite: one text file of cases for each group of operations.

A case is a program of one operation, its inputs and what PyTorch or NumPy say comes out, computed in float64 from the
inputs as their type holds them. Format (read by test_conformance.c):

    == operation.what        the operation's name picks the tolerance
    -- mil                   followed by the program's text
    -- in NAME               followed by all elements, row-major
    -- out NAME              likewise

Usage: make_goldens.py [folder]   (default: goldens beside this file). Deterministic.
"""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.default_rng(7)
NAMES = {np.dtype("float16"): "fp16", np.dtype("float32"): "fp32", np.dtype("int32"): "int32", np.dtype("int16"): "int16",
         np.dtype("int8"): "int8", np.dtype("uint8"): "uint8", np.dtype("bool"): "bool", np.dtype("uint32"): "uint32",
         np.dtype("uint16"): "uint16"}
groups = {}
current = None


class Sub:  # a tensor of a type that NumPy lacks: int4, uint1, ...
    def __init__(self, name, values):
        self.name, self.values = name, np.asarray(values)


def group(name):
    global current
    current = groups.setdefault(name, [])


def number(v):
    if isinstance(v, (bool, np.bool_)):
        return "true" if v else "false"
    if isinstance(v, (int, np.integer)):
        return str(int(v))
    v = float(v)
    if v != v:
        return "nan"
    if v in (float("inf"), float("-inf")):
        return "inf" if v > 0 else "-inf"
    return "%.9g" % v if v != int(v) or abs(v) > 1e9 else "%.1f" % v


def type_name(a):
    name = a.name if isinstance(a, Sub) else NAMES[a.dtype]
    shape = a.values.shape if isinstance(a, Sub) else a.shape
    return "tensor<%s, [%s]>" % (name, ", ".join(map(str, shape)))


def nested(a):
    if a.ndim == 0:
        return number(a[()])
    return "[" + ", ".join(nested(x) for x in a) + "]"


def literal(v):
    """(type, value) of a constant: Python scalars, strings, lists of integers or bools, arrays."""
    if isinstance(v, str):
        return "string", 'string("%s")' % v
    if isinstance(v, bool):
        return "bool", "bool(%s)" % number(v)
    if isinstance(v, int):
        return "int32", "int32(%d)" % v
    if isinstance(v, list):
        v = np.array(v, dtype=bool if v and isinstance(v[0], bool) else np.int32)
    if isinstance(v, Sub):
        return type_name(v), "%s(%s)" % (type_name(v), nested(v.values))
    if v.ndim == 0:
        return NAMES[v.dtype], "%s(%s)" % (NAMES[v.dtype], number(v[()]))
    return type_name(v), "%s(%s)" % (type_name(v), nested(v))


def flat(a):
    a = np.asarray(a)
    return " ".join("%d" % v if a.dtype != np.float64 and a.dtype.kind in "iub" else number(v) for v in a.reshape(-1))


def case(name, inputs, consts, outputs, tuples=None):
    """`inputs` are run-time arguments, `consts` constant ones, `tuples` {argument: [input names]}; outputs by order.

    An output is an array of the result's type, or (dtype, float64 array)."""
    op = name.split(".")[0]
    lines, args = [], []
    tuples = tuples or {}
    in_tuple = {n for names in tuples.values() for n in names}
    for k, v in consts.items():
        t, text = literal(v)
        lines.append('    %s c_%s = const()[name = string("c_%s"), val = %s];' % (t, k, k, text))
        args.append("%s = c_%s" % (k, k))
    args += ["%s = %s" % (k, k) for k in inputs if k not in in_tuple]
    args += ["%s = (%s)" % (k, ", ".join(names)) for k, names in tuples.items()]
    outs = []
    for i, o in enumerate(outputs):
        dtype, values = o if isinstance(o, tuple) else (np.asarray(o).dtype, np.asarray(o))
        outs.append((np.dtype(dtype), np.asarray(values)))
    results = ["tensor<%s, [%s]> y%d" % (NAMES[d], ", ".join(map(str, v.shape)), i) for i, (d, v) in enumerate(outs)]
    lines.append('    %s = %s(%s)[name = string("op")];' % (", ".join(results), op, ", ".join(sorted(args))))
    params = ", ".join("%s %s" % (type_name(v), k) for k, v in inputs.items())
    rets = ", ".join("y%d" % i for i in range(len(outs)))
    mil = "program(1.3)\n{\n  func main<ios18>(%s) {\n%s\n  } -> (%s);\n}" % (params, "\n".join(lines), rets)
    text = ["== " + name, "-- mil", mil]
    for k, v in inputs.items():
        text += ["-- in " + k, flat(v)]
    for i, (d, v) in enumerate(outs):
        text += ["-- out y%d" % i, flat(v if d.kind in "iub" else v.astype(np.float64))]
    current.append("\n".join(text))


def rand(shape, dtype=np.float32, low=-2.0, high=2.0):
    return rng.uniform(low, high, shape).astype(dtype)


def ints(shape, low, high, dtype=np.int32):
    return rng.integers(low, high, shape).astype(dtype)


def wide(a):  # float64 tensor of what the array holds
    return torch.tensor(np.asarray(a).astype(np.float64))


FLOATS = [(np.float32, "fp32"), (np.float16, "fp16")]


def sc(v, dtype):
    return np.array(v, dtype=dtype)


# ---- elementwise ----
def elementwise():
    group("elementwise")
    sig = torch.sigmoid
    unary = {
        "abs": (torch.abs, -2, 2), "acos": (torch.acos, -1, 1), "asin": (torch.asin, -1, 1), "atan": (torch.atan, -4, 4),
        "atanh": (torch.atanh, -0.9, 0.9), "ceil": (torch.ceil, -3, 3), "cos": (torch.cos, -4, 4), "cosh": (torch.cosh, -3, 3),
        "erf": (torch.erf, -3, 3), "exp": (torch.exp, -5, 5), "exp2": (torch.exp2, -5, 5), "floor": (torch.floor, -3, 3),
        "identity": (lambda x: x, -3, 3), "round": (torch.round, -4, 4), "sign": (torch.sign, -1, 1), "sin": (torch.sin, -4, 4),
        "sinh": (torch.sinh, -3, 3), "sqrt": (torch.sqrt, 0, 9), "square": (torch.square, -4, 4), "tan": (torch.tan, -1, 1),
        "relu": (torch.relu, -2, 2), "relu6": (F.relu6, -3, 9), "sigmoid": (sig, -8, 8), "silu": (F.silu, -8, 8),
        "softplus": (lambda x: torch.log1p(torch.exp(x)), -8, 8), "softsign": (F.softsign, -4, 4), "tanh": (torch.tanh, -4, 4),
    }
    for dtype, tag in FLOATS:
        for op, (fn, low, high) in unary.items():
            x = rand((2, 3, 5), dtype, low, high)
            if op == "round":
                x.reshape(-1)[:4] = [0.5, 1.5, 2.5, -0.5]
            case(f"{op}.{tag}", {"x": x}, {}, [(dtype, fn(wide(x)).numpy())])
        eps = np.float64(dtype(1e-3))
        for op, fn in {"inverse": lambda v, e: 1 / (v + e), "log": lambda v, e: np.log(v + e),
                       "rsqrt": lambda v, e: 1 / np.sqrt(v + e)}.items():
            x = rand((3, 4), dtype, 0.1, 6)
            case(f"{op}.{tag}", {"x": x}, {"epsilon": sc(1e-3, dtype)}, [(dtype, fn(x.astype(np.float64), eps))])
        a, b = sc(0.75, dtype), sc(0.25, dtype)
        param = {
            "clip": lambda v: np.clip(v, -0.5, 0.75), "clamped_relu": lambda v: np.minimum(np.where(v >= 0, v, 0.75 * v), 0.25),
            "linear_activation": lambda v: v * 0.75 + 0.25, "scaled_tanh": lambda v: 0.75 * np.tanh(0.25 * v),
            "sigmoid_hard": lambda v: np.clip(v * 0.75 + 0.25, 0, 1),
        }
        for op, fn in param.items():
            x = rand((4, 7), dtype, -3, 3)
            consts = {"alpha": sc(-0.5, dtype), "beta": a} if op == "clip" else {"alpha": a, "beta": b}
            case(f"{op}.{tag}", {"x": x}, consts, [(dtype, fn(x.astype(np.float64)))])
        one = {"elu": lambda v: np.where(v > 0, v, 0.75 * np.expm1(v)), "leaky_relu": lambda v: np.where(v >= 0, v, 0.75 * v),
               "threshold": lambda v: np.maximum(v, 0.75), "thresholded_relu": lambda v: np.where(v >= 0.75, v, 0)}
        for op, fn in one.items():
            x = rand((4, 7), dtype, -3, 3)
            case(f"{op}.{tag}", {"x": x}, {"alpha": a}, [(dtype, fn(x.astype(np.float64)))])
        x = rand((3, 16), dtype, -5, 5)
        case(f"gelu.exact_{tag}", {"x": x}, {"mode": "EXACT"}, [(dtype, F.gelu(wide(x)).numpy())])
        w = wide(x)
        tanh = 0.5 * w * (1 + torch.tanh(np.sqrt(2 / np.pi) * (w + 0.044715 * w ** 3)))
        case(f"gelu.tanh_{tag}", {"x": x}, {"mode": "TANH_APPROXIMATION"}, [(dtype, tanh.numpy())])
        case(f"gelu.sigmoid_{tag}", {"x": x}, {"mode": "SIGMOID_APPROXIMATION"}, [(dtype, (w * sig(1.702 * w)).numpy())])
        x, al, be = rand((2, 3, 4), dtype), rand((3,), dtype, 0.1, 1), rand((3,), dtype, 0.5, 2)
        ch = al.astype(np.float64)[None, :, None]
        case(f"prelu.{tag}", {"x": x}, {"alpha": al}, [(dtype, F.prelu(wide(x), wide(al)).numpy())])
        soft = ch * np.log1p(np.exp(be.astype(np.float64)[None, :, None] * x))
        case(f"softplus_parametric.{tag}", {"x": x}, {"alpha": al, "beta": be}, [(dtype, soft)])
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30], np.float32)
    for op, fn in {"exp": np.exp, "tanh": np.tanh, "relu": lambda v: np.where(np.isnan(v), v, np.maximum(v, 0)),
                   "abs": np.abs}.items():
        with np.errstate(all="ignore"):
            case(f"{op}.specials", {"x": x}, {}, [(np.float32, fn(x.astype(np.float64)))])
    x = np.array([65504, 65504, -65504, 6e-8, 3e-8], np.float16)
    y = np.array([16, 15, -65504, 0, 0], np.float16)
    with np.errstate(all="ignore"):
        case("add.fp16_edges", {"x": x, "y": y}, {}, [(np.float16, (x.astype(np.float64) + y).astype(np.float16))])
    xi = ints((3, 4), -9, 9)
    case("abs.int32", {"x": xi}, {}, [np.abs(xi)])
    case("sign.int32", {"x": xi}, {}, [np.sign(xi)])
    case("square.int32", {"x": xi}, {}, [xi * xi])
    xb = ints((3, 4), 0, 2, np.int32).astype(bool)
    case("cast.bool_fp16", {"x": xi}, {"dtype": "fp16"}, [(np.float16, xi.astype(np.float64))])
    x = np.array([1.5, -1.5, 2.999, -0.2, 300.7, -300.7], np.float32)
    case("cast.fp32_int32", {"x": x}, {"dtype": "int32"}, [np.trunc(x).astype(np.int32)])
    case("cast.fp32_fp16", {"x": x}, {"dtype": "fp16"}, [(np.float16, x.astype(np.float16))])
    case("cast.fp32_bool", {"x": np.array([0, 1, -2, 0.5], np.float32)}, {"dtype": "bool"}, [np.array([0, 1, 1, 1], bool)])
    case("cast.fp16_fp32", {"x": x.astype(np.float16)}, {"dtype": "fp32"}, [(np.float32, x.astype(np.float16).astype(np.float64))])
    case("cast.bool_int32", {"x": xb}, {"dtype": "int32"}, [xb.astype(np.int32)])
    case("logical_not.bool", {"x": xb}, {}, [~xb])


def binary():
    group("binary")
    fns = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "real_div": np.divide, "maximum": np.maximum,
           "minimum": np.minimum, "floor_div": np.floor_divide, "mod": np.mod, "pow": np.power}
    shapes = [((2, 3, 4), (2, 3, 4)), ((2, 1, 4), (1, 3, 1)), ((4,), (2, 3, 4)), ((1, 8, 1, 5), (1, 8, 1, 1))]
    for dtype, tag in FLOATS:
        for op, fn in fns.items():
            for i, (sx, sy) in enumerate(shapes):
                x, y = rand(sx, dtype), rand(sy, dtype)
                if op in ("real_div", "floor_div", "mod"):
                    y = (np.sign(y) * (np.abs(y) + dtype(0.5))).astype(dtype)
                if op == "pow":
                    x = np.abs(x) + dtype(0.1)
                case(f"{op}.{tag}_{i}", {"x": x, "y": y}, {}, [(dtype, fn(x.astype(np.float64), y.astype(np.float64)))])
        x = rand((2, 3), dtype)
        case(f"mul.{tag}_scalar_const", {"x": x}, {"y": sc(0.125, dtype)}, [(dtype, x.astype(np.float64) * 0.125)])
    for op in ("add", "sub", "mul", "maximum", "minimum", "floor_div", "mod"):
        x, y = ints((3, 5), -20, 20), ints((5,), 1, 7)
        y[0] = -3
        case(f"{op}.int32", {"x": x, "y": y}, {}, [fns[op](x, y).astype(np.int32)])
    compare = {"equal": np.equal, "not_equal": np.not_equal, "greater": np.greater, "greater_equal": np.greater_equal,
               "less": np.less, "less_equal": np.less_equal}
    for op, fn in compare.items():
        for dtype in (np.float32, np.float16, np.int32):
            x, y = ints((4, 5), -2, 3).astype(dtype), ints((1, 5), -2, 3).astype(dtype)
            case(f"{op}.{NAMES[np.dtype(dtype)]}", {"x": x, "y": y}, {}, [fn(x, y)])
    for op, fn in {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}.items():
        x, y = ints((4, 4), 0, 2).astype(bool), ints((4, 4), 0, 2).astype(bool)
        case(f"{op}.bool", {"x": x, "y": y}, {}, [fn(x, y)])
    cond = ints((3, 4), 0, 2).astype(bool)
    for dtype, tag in FLOATS:
        a, b = rand((3, 4), dtype), rand((3, 4), dtype)
        case(f"select.{tag}", {"cond": cond, "a": a, "b": b}, {}, [np.where(cond, a, b)])


# ---- multiply-accumulate ----
def products():
    group("products")
    for dtype, tag in FLOATS:
        for i, (sx, sy, tx, ty) in enumerate([((3, 5), (5, 4), False, False), ((2, 3, 5), (2, 4, 5), False, True),
                                              ((2, 1, 5, 3), (1, 4, 5, 6), True, False), ((2, 5, 3), (2, 4, 5), True, True),
                                              ((1, 2, 6, 9), (1, 2, 9, 70), False, False), ((7, 33), (1, 33), False, True)]):
            x, y = rand(sx, dtype), rand(sy, dtype)
            a, b = x.astype(np.float64), y.astype(np.float64)
            z = np.matmul(a.swapaxes(-1, -2) if tx else a, b.swapaxes(-1, -2) if ty else b)
            case(f"matmul.{tag}_{i}", {"x": x, "y": y}, {"transpose_x": tx, "transpose_y": ty}, [(dtype, z)])
        for i, (shape, n, bias) in enumerate([((4, 7), 3, True), ((2, 3, 8), 5, False), ((1, 16), 9, True)]):
            x, w, b = rand(shape, dtype), rand((n, shape[-1]), dtype), rand((n,), dtype)
            z = x.astype(np.float64) @ w.astype(np.float64).T + (b.astype(np.float64) if bias else 0)
            case(f"linear.{tag}_{i}", {"x": x}, {"weight": w, **({"bias": b} if bias else {})}, [(dtype, z)])
        conv(dtype, tag)
        conv_transpose(dtype, tag)
        attention(dtype, tag)
        for i, (eq, sx, sy) in enumerate([("nchw,nwhu->nchu", (1, 2, 3, 4), (1, 4, 3, 5)), ("chw,whr->chr", (2, 3, 4), (4, 3, 5)),
                                          ("abcd,adce->abce", (2, 2, 3, 4), (2, 4, 3, 2)), ("ab,bc->ac", (3, 4), (4, 5))]):
            x, y = rand(sx, dtype), rand(sy, dtype)
            case(f"einsum.{tag}_{i}", {"a": x, "b": y}, {"equation": eq},
                 [(dtype, np.einsum(eq, x.astype(np.float64), y.astype(np.float64)))], tuples={"values": ["a", "b"]})


CONVS = [  # input, weight, groups, strides, dilations, pads (low, high), bias
    ((1, 8, 1, 5), (6, 8, 1, 1), 1, (1, 1), (1, 1), None, True),
    ((1, 8, 1, 5), (6, 8, 1, 1), 1, (1, 1), (1, 1), None, False),
    ((2, 4, 7, 6), (6, 2, 3, 2), 2, (2, 1), (1, 1), ((1, 2), (0, 1)), True),
    ((1, 3, 9, 9), (2, 3, 3, 3), 1, (1, 2), (2, 1), ((2, 2), (1, 1)), False),
    ((1, 4, 11), (4, 1, 3), 4, (2,), (1,), ((1, 1),), True),
    ((1, 2, 4, 5, 3), (3, 2, 2, 3, 2), 1, (1, 1, 1), (1, 1, 1), ((0, 1), (1, 1), (0, 0)), True),
    ((1, 5, 20, 15), (1, 5, 2, 2), 1, (1, 1), (1, 1), None, False),
]


def conv(dtype, tag):
    for i, (sx, sw, g, s, d, pads, bias) in enumerate(CONVS):
        x, w, b = rand(sx, dtype), rand(sw, dtype, -1, 1), rand((sw[0],), dtype)
        v = wide(x)
        if pads:
            v = F.pad(v, [p for low_high in reversed(pads) for p in low_high])
        fn = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(s)]
        z = fn(v, wide(w), wide(b) if bias else None, stride=s, dilation=d, groups=g).numpy()
        flat_pads = [p for low_high in (pads or ((0, 0),) * len(s)) for p in low_high]
        consts = {"weight": w, "strides": list(s), "dilations": list(d), "groups": g, "pad": flat_pads,
                  "pad_type": "custom" if pads else "valid"}
        if bias:
            consts["bias"] = b
        case(f"conv.{tag}_{i}", {"x": x}, consts, [(dtype, z)])
    x, w = rand((1, 3, 6, 7), dtype), rand((4, 3, 3, 4), dtype, -1, 1)
    for kind in ("same", "same_lower"):
        # rows: stride 2 over 6 with kernel 3 needs 1; columns: stride 1 over 7 with kernel 4 needs 3
        rows = (0, 1) if kind == "same" else (1, 0)
        columns = (1, 2) if kind == "same" else (2, 1)
        v = F.pad(wide(x), columns + rows)
        z = F.conv2d(v, wide(w), stride=(2, 1)).numpy()
        case(f"conv.{tag}_{kind}", {"x": x}, {"weight": w, "strides": [2, 1], "dilations": [1, 1], "groups": 1,
                                              "pad": [0, 0, 0, 0], "pad_type": kind}, [(dtype, z)])


def conv_transpose(dtype, tag):
    for i, (sx, sw, g, s, d, p, bias) in enumerate([((1, 3, 4, 5), (3, 2, 3, 2), 1, (2, 1), (1, 1), (1, 0), True),
                                                    ((2, 4, 6), (4, 3, 3), 2, (2,), (1,), (0,), False),
                                                    ((1, 2, 5, 5), (2, 3, 2, 3), 1, (1, 2), (2, 1), (0, 1), True)]):
        x, w, b = rand(sx, dtype), rand(sw, dtype, -1, 1), rand((sw[1] * g,), dtype)
        fn = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[len(s)]
        z = fn(wide(x), wide(w), wide(b) if bias else None, stride=s, padding=p, dilation=d, groups=g).numpy()
        consts = {"weight": w, "strides": list(s), "dilations": list(d), "groups": g,
                  "pad": [v for q in p for v in (q, q)], "pad_type": "custom"}
        if bias:
            consts["bias"] = b
        case(f"conv_transpose.{tag}_{i}", {"x": x}, consts, [(dtype, z)])


def attention(dtype, tag):
    def reference(q, k, v, mask):
        s = wide(q) @ wide(k).transpose(-1, -2) / np.sqrt(q.shape[-1])
        if mask is not None:
            s = s.masked_fill(~torch.tensor(mask), float("-inf")) if mask.dtype == bool else s + wide(mask)
        return (torch.softmax(s, -1) @ wide(v)).numpy()

    q, k, v = rand((1, 2, 3, 8), dtype), rand((1, 2, 5, 8), dtype), rand((1, 2, 5, 6), dtype)
    case(f"scaled_dot_product_attention.{tag}_plain", {"query": q, "key": k, "value": v}, {},
         [(dtype, reference(q, k, v, None))])
    mask = np.tril(np.ones((3, 5), bool), 2)[None, None]
    case(f"scaled_dot_product_attention.{tag}_bool", {"query": q, "key": k, "value": v, "attn_mask": mask}, {},
         [(dtype, reference(q, k, v, mask))])
    add = rand((1, 2, 3, 5), dtype)
    case(f"scaled_dot_product_attention.{tag}_add", {"query": q, "key": k, "value": v, "attn_mask": add}, {},
         [(dtype, reference(q, k, v, add))])


# ---- reductions and normalisations ----
def reductions():
    group("reductions")
    fns = {"reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min, "reduce_prod": np.prod,
           "reduce_l1_norm": lambda v, axis, keepdims: np.sum(np.abs(v), axis=axis, keepdims=keepdims),
           "reduce_l2_norm": lambda v, axis, keepdims: np.sqrt(np.sum(v * v, axis=axis, keepdims=keepdims)),
           "reduce_sum_square": lambda v, axis, keepdims: np.sum(v * v, axis=axis, keepdims=keepdims),
           "reduce_log_sum": lambda v, axis, keepdims: np.log(np.sum(v, axis=axis, keepdims=keepdims)),
           "reduce_log_sum_exp": lambda v, axis, keepdims: np.log(np.sum(np.exp(v), axis=axis, keepdims=keepdims))}
    for dtype, tag in FLOATS:
        for op, fn in fns.items():
            for i, (shape, axes, keep) in enumerate([((2, 3, 4), [1], True), ((2, 3, 4), [-1, 0], False), ((1, 6, 1, 5), [1], True)]):
                x = rand(shape, dtype, 0.2 if op == "reduce_log_sum" else -2, 2)
                z = fn(x.astype(np.float64), axis=tuple(axes), keepdims=keep)
                case(f"{op}.{tag}_{i}", {"x": x}, {"axes": axes, "keep_dims": keep}, [(dtype, z)])
        x = rand((2, 3), dtype)
        case(f"reduce_sum.{tag}_all", {"x": x}, {"keep_dims": True}, [(dtype, x.astype(np.float64).sum(keepdims=True))])
        x = rand((3, 7, 2), dtype)
        for op, fn in {"reduce_argmax": np.argmax, "reduce_argmin": np.argmin}.items():
            case(f"{op}.{tag}", {"x": x}, {"axis": 1, "keep_dims": False}, [fn(x, 1).astype(np.int32)])
            case(f"{op}.{tag}_keep", {"x": x}, {"axis": -1, "keep_dims": True}, [fn(x, -1)[..., None].astype(np.int32)])
        for axis in (-1, 1, 0):
            x = rand((2, 9, 4), dtype, -6, 6)
            case(f"softmax.{tag}_{axis}", {"x": x}, {"axis": axis}, [(dtype, torch.softmax(wide(x), axis).numpy())])
        x = np.array([[1000, 1001, 999], [-1000, -60000, -1000]], dtype)
        case(f"softmax.{tag}_large", {"x": x}, {"axis": -1}, [(dtype, torch.softmax(wide(x), -1).numpy())])
        norms(dtype, tag)
    x = ints((3, 4), -9, 9)
    case("reduce_sum.int32", {"x": x}, {"axes": [1], "keep_dims": False}, [x.sum(1).astype(np.int32)])
    case("reduce_max.int32", {"x": x}, {"axes": [0], "keep_dims": True}, [x.max(0, keepdims=True)])
    x = np.array([[1, np.nan, 3], [4, 5, 6]], np.float32)
    case("reduce_max.nan", {"x": x}, {"axes": [1], "keep_dims": False}, [(np.float32, np.array([np.nan, 6.0]))])


def norms(dtype, tag):
    eps = dtype(1e-3)
    e = float(eps)
    x, g, b = rand((2, 3, 8), dtype, -3, 3), rand((8,), dtype), rand((8,), dtype)
    case(f"layer_norm.{tag}", {"x": x}, {"axes": [-1], "gamma": g, "beta": b, "epsilon": sc(e, dtype)},
         [(dtype, F.layer_norm(wide(x), (8,), wide(g), wide(b), e).numpy())])
    case(f"layer_norm.{tag}_two", {"x": x}, {"axes": [1, 2], "epsilon": sc(e, dtype)},
         [(dtype, F.layer_norm(wide(x), (3, 8), None, None, e).numpy())])
    x = rand((1, 6, 1, 5), dtype, -3, 3)
    v = wide(x)
    z = (v - v.mean(1, keepdim=True)) / torch.sqrt(v.var(1, unbiased=False, keepdim=True) + e)
    case(f"layer_norm.{tag}_channel", {"x": x}, {"axes": [1], "epsilon": sc(e, dtype)}, [(dtype, z.numpy())])
    x, g, b = rand((2, 3, 4, 5), dtype, -3, 3), rand((3,), dtype), rand((3,), dtype)
    m, s = rand((3,), dtype), rand((3,), dtype, 0.2, 2)
    case(f"instance_norm.{tag}", {"x": x}, {"gamma": g, "beta": b, "epsilon": sc(e, dtype)},
         [(dtype, F.instance_norm(wide(x), weight=wide(g), bias=wide(b), eps=e).numpy())])
    case(f"batch_norm.{tag}", {"x": x}, {"mean": m, "variance": s, "gamma": g, "beta": b, "epsilon": sc(e, dtype)},
         [(dtype, F.batch_norm(wide(x), wide(m), wide(s), wide(g), wide(b), False, 0, e).numpy())])
    v = x.astype(np.float64)
    z = v / np.sqrt((v * v).sum((1, 2, 3), keepdims=True) + e)
    case(f"l2_norm.{tag}", {"x": x}, {"epsilon": sc(e, dtype)}, [(dtype, z)])
    for size in (3, 4):
        z = F.local_response_norm(wide(x), size, 0.5, 0.75, 1.25).numpy()
        case(f"local_response_norm.{tag}_{size}", {"x": x}, {"size": size, "alpha": sc(0.5, dtype),
                                                             "beta": sc(0.75, dtype), "k": sc(1.25, dtype)}, [(dtype, z)])


def pools():
    group("pools")
    for dtype, tag in FLOATS:
        x = rand((1, 3, 7, 6), dtype)
        base = {"kernel_sizes": [3, 2], "strides": [2, 1]}
        pad = {"pad": [1, 1, 1, 1], "pad_type": "custom"}
        valid = {"pad": [0, 0, 0, 0], "pad_type": "valid"}
        case(f"max_pool.{tag}_valid", {"x": x}, {**base, **valid, "ceil_mode": False},
             [(dtype, F.max_pool2d(wide(x), (3, 2), (2, 1)).numpy())])
        case(f"max_pool.{tag}_pad", {"x": x}, {**base, **pad, "ceil_mode": False},
             [(dtype, F.max_pool2d(wide(x), (3, 2), (2, 1), (1, 1)).numpy())])
        for ex in (False, True):
            case(f"avg_pool.{tag}_{ex}", {"x": x}, {**base, **pad, "exclude_padding_from_average": ex, "ceil_mode": False},
                 [(dtype, F.avg_pool2d(wide(x), (3, 2), (2, 1), (1, 1), count_include_pad=not ex).numpy())])
        x1 = rand((2, 2, 9), dtype)
        case(f"avg_pool.{tag}_1d", {"x": x1}, {"kernel_sizes": [4], "strides": [3], "pad": [0, 0], "pad_type": "valid",
                                               "exclude_padding_from_average": False, "ceil_mode": False},
             [(dtype, F.avg_pool1d(wide(x1), 4, 3).numpy())])
        v = wide(x)
        case(f"l2_pool.{tag}", {"x": x}, {**base, **valid, "ceil_mode": False},
             [(dtype, torch.sqrt(F.avg_pool2d(v * v, (3, 2), (2, 1)) * 6).numpy())])


# ---- movement ----
def movement():
    group("movement")
    for dtype, tag in FLOATS + [(np.int32, "int32")]:
        r = (lambda s: rand(s, dtype)) if dtype != np.int32 else (lambda s: ints(s, -99, 99))
        x = r((2, 3, 4))
        case(f"reshape.{tag}", {"x": x}, {"shape": [4, 6]}, [x.reshape(4, 6)])
        case(f"reshape.{tag}_infer", {"x": x}, {"shape": [-1, 2, 1]}, [x.reshape(-1, 2, 1)])
        case(f"expand_dims.{tag}", {"x": x}, {"axes": [0, -1]}, [x[None, ..., None]])
        y = r((1, 3, 1, 4))
        case(f"squeeze.{tag}", {"x": y}, {"axes": [0, 2]}, [y.reshape(3, 4)])
        case(f"flatten2d.{tag}", {"x": x}, {"axis": 2}, [x.reshape(6, 4)])
        case(f"transpose.{tag}", {"x": x}, {"perm": [2, 0, 1]}, [x.transpose(2, 0, 1)])
        case(f"transpose.{tag}_4", {"x": y}, {"perm": [0, 3, 2, -3]}, [y.transpose(0, 3, 2, 1)])
        x = r((3, 6, 5))
        case(f"slice_by_index.{tag}", {"x": x}, {"begin": [1, 0, 2], "end": [3, 4, 5]}, [x[1:3, 0:4, 2:5]])
        case(f"slice_by_index.{tag}_stride", {"x": x}, {"begin": [0, -1, 4], "end": [3, 0, 0], "stride": [2, -2, -1]},
             [x[0:3:2, -1:0:-2, 4:0:-1]])
        case(f"slice_by_index.{tag}_mask", {"x": x},
             {"begin": [1, 2, 3], "end": [2, 3, 4], "begin_mask": [True, False, False], "end_mask": [False, True, False],
              "squeeze_mask": [False, False, True]}, [x[:2, 2:, 3]])
        case(f"slice_by_size.{tag}", {"x": x}, {"begin": [0, 2, 1], "size": [2, 3, -1]}, [x[:2, 2:5, 1:]])
        u = r((2, 2, 5))
        z = x.copy()
        z[1:3, 1:5:2] = u
        case(f"slice_update.{tag}", {"x": x, "update": u}, {"begin": [1, 1, 0], "end": [3, 5, 5], "stride": [1, 2, 1]}, [z])
        a, b, c = r((2, 3, 2)), r((2, 1, 2)), r((2, 4, 2))
        t = {"values": ["a", "b", "c"]}
        case(f"concat.{tag}", {"a": a, "b": b, "c": c}, {"axis": -2, "interleave": False}, [np.concatenate([a, b, c], 1)], t)
        a, b = r((2, 3, 2)), r((2, 3, 2))
        case(f"concat.{tag}_interleave", {"a": a, "b": b}, {"axis": 1, "interleave": True},
             [np.stack([a, b], 2).reshape(2, 6, 2)], {"values": ["a", "b"]})
        case(f"stack.{tag}", {"a": a, "b": b}, {"axis": -1}, [np.stack([a, b], -1)], {"values": ["a", "b"]})
        case(f"split.{tag}", {"x": x}, {"num_splits": 3, "axis": 1}, list(np.split(x, 3, 1)))
        case(f"split.{tag}_uneven", {"x": x}, {"split_sizes": [1, 4], "axis": -1}, [x[..., :1], x[..., 1:]])
        case(f"tile.{tag}", {"x": a}, {"reps": [1, 2, 3]}, [np.tile(a, (1, 2, 3))])
        case(f"reverse.{tag}", {"x": x}, {"axes": [0, -1]}, [x[::-1, :, ::-1]])
        case(f"band_part.{tag}", {"x": x}, {"lower": 1, "upper": 2},
             [np.where(np.tril(np.triu(np.ones((6, 5)), -1), 2) > 0, x, 0).astype(x.dtype)])
        p = r((2, 8, 2, 3))
        z = p.reshape(2, 2, 2, 2, 2, 3).transpose(0, 3, 4, 1, 5, 2).reshape(2, 2, 4, 6)
        case(f"depth_to_space.{tag}", {"x": p}, {"block_size": 2}, [z])
        q = r((1, 2, 4, 6))
        z = q.reshape(1, 2, 2, 2, 3, 2).transpose(0, 3, 5, 1, 2, 4).reshape(1, 8, 2, 3)
        case(f"space_to_depth.{tag}", {"x": q}, {"block_size": 2}, [z])
        case(f"pixel_shuffle.{tag}", {"x": p}, {"upscale_factor": 2},
             [F.pixel_shuffle(torch.tensor(p.astype(np.float64)), 2).numpy().astype(p.dtype)])
        case(f"pixel_unshuffle.{tag}", {"x": q}, {"downscale_factor": 2},
             [F.pixel_unshuffle(torch.tensor(q.astype(np.float64)), 2).numpy().astype(q.dtype)])
        gathers(r, dtype, tag)
    for dtype, tag in FLOATS:
        x = rand((2, 3, 4), dtype)
        case(f"pad.{tag}", {"x": x}, {"pad": [0, 1, 2, 0, 1, 1], "mode": "constant", "constant_val": sc(0.5, dtype)},
             [np.pad(x, ((0, 1), (2, 0), (1, 1)), constant_values=0.5)])
        case(f"pad.{tag}_reflect", {"x": x}, {"pad": [0, 0, 2, 1, 1, 2], "mode": "reflect", "constant_val": sc(0, dtype)},
             [np.pad(x, ((0, 0), (2, 1), (1, 2)), mode="reflect")])
        case(f"pad.{tag}_replicate", {"x": x}, {"pad": [0, 0, 0, 3, 1, 2], "mode": "replicate", "constant_val": sc(0, dtype)},
             [np.pad(x, ((0, 0), (0, 3), (1, 2)), mode="edge")])
    x = rand((2, 3, 4))
    case("shape.fp32", {"x": x}, {}, [np.array([2, 3, 4], np.int32)])


def gathers(r, dtype, tag):
    x = r((3, 4, 5))
    i = np.array([2, 0, -1, 1], np.int32)
    for axis in (0, 1, -1):
        case(f"gather.{tag}_{axis}", {"x": x, "indices": i}, {"axis": axis, "batch_dims": 0, "validate_indices": False},
             [np.take(x, i, axis)])
    j = ints((3, 2), 0, 4)
    case(f"gather.{tag}_batch", {"x": x, "indices": j}, {"axis": 1, "batch_dims": 1, "validate_indices": False},
         [np.stack([x[b][j[b]] for b in range(3)])])
    k = ints((3, 2, 5), 0, 4)
    case(f"gather_along_axis.{tag}", {"x": x, "indices": k}, {"axis": 1, "validate_indices": False}, [np.take_along_axis(x, k, 1)])
    n = np.array([[0, 1], [2, 3], [1, -1]], np.int32)
    case(f"gather_nd.{tag}", {"x": x, "indices": n}, {"batch_dims": 0, "validate_indices": False}, [x[n[:, 0], n[:, 1]]])
    fns = {"add": np.add.at, "sub": np.subtract.at, "mul": np.multiply.at, "max": np.maximum.at, "min": np.minimum.at}
    i = np.array([1, 0, 2], np.int32)
    for mode in ("add", "sub", "mul", "max", "min", "update"):
        u = r((3, 4, 5))
        z, zn = x.copy(), x.copy()
        un = r((3, 5))
        if mode == "update":
            z[i] = u
            zn[n[:, 0], n[:, 1]] = un
        else:
            fns[mode](z, i, u)
            fns[mode](zn, (n[:, 0], n[:, 1]), un)
        case(f"scatter.{tag}_{mode}", {"data": x, "indices": i, "updates": u}, {"axis": 0, "mode": mode, "validate_indices": False}, [z])
        case(f"scatter_nd.{tag}_{mode}", {"data": x, "indices": n, "updates": un}, {"mode": mode, "validate_indices": False}, [zn])
    k = np.stack([np.stack([rng.permutation(4)[:2] for _ in range(5)], 1) for _ in range(3)]).astype(np.int32)
    u = r((3, 2, 5))
    z = x.copy()
    np.put_along_axis(z, k, u, 1)
    case(f"scatter_along_axis.{tag}", {"data": x, "indices": k, "updates": u}, {"axis": 1, "mode": "update", "validate_indices": False}, [z])


# ---- what is made of constants alone ---- an input of zeros is added, since a program returns what a run computes
def folded(name, op, args, values, dtype=np.float16, attrs=None, more=None):
    """Adds what `op` makes of constants to an input of zeros. `more`: (results of op, a line that makes w of them)."""
    values = np.asarray(values, np.float64)
    lines, names = [], []
    for k, v in args.items():
        t, text = literal(v)
        lines.append('    %s c_%s = const()[name = string("c_%s"), val = %s];' % (t, k, k, text))
        names.append("%s = c_%s" % (k, k))
    extra = "".join(", %s = %s" % (k, literal(v)[1]) for k, v in (attrs or {}).items())
    t = "tensor<%s, [%s]>" % (NAMES[np.dtype(dtype)], ", ".join(map(str, values.shape)))
    results, after = more or ("%s w" % t, None)
    lines.append('    %s = %s(%s)[name = string("w")%s];' % (results, op, ", ".join(sorted(names)), extra))
    if after:
        lines.append("    %s w = %s" % (t, after))
    lines.append('    %s y0 = add(x = x, y = w)[name = string("y0")];' % t)
    mil = "program(1.3)\n{\n  func main<ios18>(%s x) {\n%s\n  } -> (y0);\n}" % (t, "\n".join(lines))
    current.append("\n".join(["== " + name, "-- mil", mil, "-- in x", flat(np.zeros(values.shape)), "-- out y0", flat(values)]))


# ---- the rest ----
def misc():
    group("misc")
    for dtype, tag in FLOATS + [(np.int32, "int32")]:
        r = (lambda s: rand(s, dtype)) if dtype != np.int32 else (lambda s: ints(s, -9, 9))
        x = r((2, 5, 3))
        v = x.astype(np.float64)
        out = (lambda a: (dtype, a)) if dtype != np.int32 else (lambda a: a.astype(np.int32))
        case(f"cumsum.{tag}", {"x": x}, {"axis": 1, "exclusive": False, "reverse": False}, [out(v.cumsum(1))])
        e = v.cumsum(1) - v
        case(f"cumsum.{tag}_exclusive", {"x": x}, {"axis": -2, "exclusive": True, "reverse": False}, [out(e)])
        case(f"cumsum.{tag}_reverse", {"x": x}, {"axis": 1, "exclusive": False, "reverse": True}, [out(v[:, ::-1].cumsum(1)[:, ::-1])])
        one = np.array(1, dtype)
        case(f"fill_like.{tag}", {"ref_tensor": x}, {"value": np.array(3, dtype)}, [np.full(x.shape, 3, dtype)])
        idx = np.array([[0, 2], [3, 1]], np.int32)
        hot = np.where(idx[..., None] == np.arange(4), 1, 0).astype(dtype)
        case(f"one_hot.{tag}", {"indices": idx}, {"one_hot_vector_size": 4, "axis": -1, "on_value": one, "off_value": np.array(0, dtype)}, [hot])
        case(f"one_hot.{tag}_axis", {"indices": idx}, {"one_hot_vector_size": 4, "axis": 1, "on_value": one, "off_value": np.array(0, dtype)},
             [hot.transpose(0, 2, 1)])
        x = r((2, 7))
        if dtype == np.int32:
            x = np.stack([rng.permutation(7), rng.permutation(7)]).astype(np.int32)
        case(f"argsort.{tag}", {"x": x}, {"axis": -1, "ascending": True}, [np.argsort(x, -1, kind="stable").astype(np.int32)])
        case(f"argsort.{tag}_down", {"x": x}, {"axis": 1, "ascending": False}, [np.argsort(-x, 1, kind="stable").astype(np.int32)])
        top = np.argsort(-x, 1, kind="stable")[:, :3]
        case(f"topk.{tag}", {"x": x}, {"k": 3, "axis": -1, "ascending": False}, [np.take_along_axis(x, top, 1), top.astype(np.int32)])
        low = np.argsort(x, 1, kind="stable")[:, :2]
        case(f"topk.{tag}_smallest", {"x": x}, {"k": 2, "axis": 1, "ascending": True}, [np.take_along_axis(x, low, 1), low.astype(np.int32)])
    for dtype, tag in FLOATS:
        folded(f"fill.{tag}", "fill", {"shape": [2, 3], "value": sc(1.5, dtype)}, np.full((2, 3), 1.5), dtype)
        folded(f"range_1d.{tag}", "range_1d", {"start": sc(1, dtype), "end": sc(3.25, dtype), "step": sc(0.5, dtype)},
               np.arange(1, 3.25, 0.5), dtype)
    folded("range_1d.down", "range_1d", {"start": 7, "end": -2, "step": -3}, np.array([7, 4, 1]), np.int32)
    x = np.array([3, 1, 3, 1], np.float32)
    case("argsort.ties", {"x": x}, {"axis": 0, "ascending": False}, [np.array([0, 2, 1, 3], np.int32)])
    for dtype, tag in FLOATS:
        lstm(dtype, tag)
        for qdtype in (np.int8, np.uint8):
            q = NAMES[np.dtype(qdtype)]
            x = rand((3, 4), dtype, -3, 3)
            s, z = sc(0.0625, dtype), np.array(3, qdtype)
            lo, hi = np.iinfo(qdtype).min, np.iinfo(qdtype).max
            y = np.clip(np.round(x.astype(np.float64) / 0.0625) + 3, lo, hi).astype(qdtype)
            case(f"quantize.{tag}_{q}", {"input": x}, {"scale": s, "zero_point": z, "output_dtype": q}, [y])
            case(f"dequantize.{tag}_{q}", {"input": y}, {"scale": s, "zero_point": z}, [(dtype, (y.astype(np.float64) - 3) * 0.0625)])
        x, s = rand((2, 3, 2), dtype, -3, 3), np.array([0.0625, 0.125, 0.5], dtype)
        sv = s.astype(np.float64)[None, :, None]
        y = np.clip(np.round(x.astype(np.float64) / sv), -128, 127).astype(np.int8)
        case(f"quantize.{tag}_axis", {"input": x}, {"scale": s, "axis": 1, "output_dtype": "int8"}, [y])
        case(f"dequantize.{tag}_axis", {"input": y}, {"scale": s, "axis": 1}, [(dtype, y.astype(np.float64) * sv)])


def lstm(dtype, tag):
    s, b, i, n = 4, 2, 3, 5
    for direction in ("forward", "reverse", "bidirectional"):
        d = 2 if direction == "bidirectional" else 1
        x, h, c = rand((s, b, i), dtype), rand((b, d * n), dtype), rand((b, d * n), dtype)
        ws = [(rand((4 * n, i), dtype), rand((4 * n, n), dtype), rand((4 * n,), dtype)) for _ in range(d)]
        outs, hs, cs = [], [], []
        for k, (wi, wh, bias) in enumerate(ws):
            back = direction == "reverse" or k == 1
            order = list(range(n)) + list(range(n, 2 * n)) + list(range(3 * n, 4 * n)) + list(range(2 * n, 3 * n))
            m = torch.nn.LSTM(i, n).double()  # its gates: i, f, g, o; MIL's: i, f, o, g
            with torch.no_grad():
                m.weight_ih_l0.copy_(wide(wi)[order])
                m.weight_hh_l0.copy_(wide(wh)[order])
                m.bias_ih_l0.copy_(wide(bias)[order])
                m.bias_hh_l0.zero_()
                v = wide(x).flip(0) if back else wide(x)
                y, (hn, cn) = m(v, (wide(h)[None, :, k * n:(k + 1) * n].contiguous(), wide(c)[None, :, k * n:(k + 1) * n].contiguous()))
            outs.append((y.flip(0) if back else y).numpy())
            hs.append(hn[0].numpy())
            cs.append(cn[0].numpy())
        consts = {"weight_ih": ws[0][0], "weight_hh": ws[0][1], "bias": ws[0][2], "direction": direction, "output_sequence": True}
        if d == 2:
            consts.update({"weight_ih_back": ws[1][0], "weight_hh_back": ws[1][1], "bias_back": ws[1][2]})
        case(f"lstm.{tag}_{direction}", {"x": x, "initial_h": h, "initial_c": c}, consts,
             [(dtype, np.concatenate(outs, -1)), (dtype, np.concatenate(hs, -1)), (dtype, np.concatenate(cs, -1))])


# ---- constants in compressed form ----
def compressed():
    group("compressed")

    for dtype, tag in FLOATS:
        q = ints((4, 6), -128, 128, np.int8)
        s, z = rand((4,), dtype, 0.01, 0.1), ints((4,), -5, 5, np.int8)
        v = (q.astype(np.float64) - z[:, None]) * s.astype(np.float64)[:, None]
        attrs = {"axis": 0, "quantized_data": q, "scale": s, "zero_point": z}
        folded(f"constexpr_affine_dequantize.{tag}_brackets", "constexpr_affine_dequantize", {}, v, dtype, attrs)
        u, zs = ints((4, 6), 0, 256, np.uint8), np.array(128, np.uint8)
        ss = sc(0.03125, dtype)
        folded(f"constexpr_affine_dequantize.{tag}_scalar", "constexpr_affine_dequantize", {},
               (u.astype(np.float64) - 128) * 0.03125, dtype, {"axis": 0, "quantized_data": u, "scale": ss, "zero_point": zs})
        for name, lo, hi in (("int4", -8, 8), ("uint4", 0, 16), ("int8", -128, 128), ("uint8", 0, 256)):
            d = ints((4, 8), lo, hi)
            sb = rand((4, 2), dtype, 0.01, 0.1)
            off = ints((4, 2), max(lo, -8), min(hi, 8))
            wide_s = np.repeat(sb.astype(np.float64), 4, 1)
            data = Sub(name, d)
            folded(f"constexpr_blockwise_shift_scale.{tag}_{name}", "constexpr_blockwise_shift_scale",
                   {"data": data, "scale": sb, "offset": Sub(name, off)}, (d - np.repeat(off, 4, 1)) * wide_s, dtype)
            folded(f"constexpr_blockwise_shift_scale.{tag}_{name}_plain", "constexpr_blockwise_shift_scale",
                   {"data": data, "scale": sb}, d * wide_s, dtype)
        for bits in (1, 2, 3, 4, 6, 8):
            idx = ints((4, 6), 0, 2 ** bits)
            lut = rand((2, 1, 2 ** bits, 1), dtype)
            v = np.stack([lut[r // 2, 0, idx[r], 0] for r in range(4)]).astype(np.float64)
            if bits < 8:
                folded(f"constexpr_lut_to_dense.{tag}_{bits}", "constexpr_lut_to_dense", {"indices": Sub("uint%d" % bits, idx), "lut": lut}, v, dtype)
            flat_lut = rand((2 ** bits,), dtype)
            packed = np.packbits(((idx.reshape(-1)[:, None] >> np.arange(bits)) & 1).astype(np.uint8).reshape(-1), bitorder="little")
            folded(f"constexpr_lut_to_dense.{tag}_{bits}_packed", "constexpr_lut_to_dense", {}, flat_lut[idx].astype(np.float64), dtype,
                   {"indices": packed, "lut": flat_lut, "shape": np.array([4, 6], np.uint32)})
        idx = ints((3, 4), 0, 4)
        lut = rand((1, 1, 4, 2), dtype)
        v = lut[0, 0, idx].astype(np.float64)  # [3, 4, 2]
        folded(f"constexpr_lut_to_dense.{tag}_vector", "constexpr_lut_to_dense",
               {"indices": Sub("uint2", idx), "lut": lut, "vector_axis": 0}, v.transpose(0, 2, 1).reshape(6, 4), dtype)
        mask = ints((4, 6), 0, 2)
        data = rand((int(mask.sum()),), dtype)
        v = np.zeros((4, 6))
        v[mask > 0] = data
        folded(f"constexpr_sparse_to_dense.{tag}", "constexpr_sparse_to_dense", {"mask": Sub("uint1", mask), "nonzero_data": data}, v, dtype)
        bits_ = np.packbits(mask.reshape(-1).astype(np.uint8), bitorder="little")
        folded(f"constexpr_sparse_to_dense.{tag}_packed", "constexpr_sparse_to_dense", {}, v, dtype,
               {"nonzero_data": data, "mask": bits_, "shape": np.array([4, 6], np.uint32)})
    for dtype, tag in FLOATS:
        mask = ints((4, 6), 0, 2)
        n = int(mask.sum())
        after = 'constexpr_sparse_to_dense(mask = m, nonzero_data = d)[name = string("dense")];'
        results = "tensor<uint1, [4, 6]> m, tensor<%s, [%d]> d" % (tag, n)
        idx, lut, v = ints((n,), 0, 4), rand((2, 1, 4, 1), dtype), np.zeros((4, 6))
        rows = np.nonzero(mask)[0]
        v[mask > 0] = lut[rows // 2, 0, idx, 0]
        folded(f"constexpr_lut_to_sparse.{tag}", "constexpr_lut_to_sparse",
               {"indices_mask": Sub("uint1", mask), "indices_nonzero_data": Sub("uint2", idx), "lut": lut}, v, dtype,
               more=(results, after))
        data, scale, off = ints((n,), -128, 128, np.int8), rand((4, 2), dtype, 0.01, 0.1), ints((4, 2), -8, 8, np.int8)
        v, blocks = np.zeros((4, 6)), (rows, np.nonzero(mask)[1] // 3)
        v[mask > 0] = (data.astype(np.float64) - off[blocks]) * scale.astype(np.float64)[blocks]
        folded(f"constexpr_sparse_blockwise_shift_scale.{tag}", "constexpr_sparse_blockwise_shift_scale",
               {"data_mask": Sub("uint1", mask), "nonzero_data": data, "scale": scale, "offset": off}, v, dtype,
               more=(results, after))
    x = rand((3, 4), np.float16)
    folded("constexpr_cast.fp32", "constexpr_cast", {}, x.astype(np.float64), np.float32, {"source_val": x, "output_dtype": "fp32"})


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens")
    os.makedirs(folder, exist_ok=True)
    for fn in (elementwise, binary, products, reductions, pools, movement, misc, compressed):
        fn()
    for name, cases in groups.items():
        with open(os.path.join(folder, name + ".txt"), "w") as f:
            f.write("\n".join(cases) + "\n")
        print(name, len(cases))


if __name__ == "__main__":
    main()
