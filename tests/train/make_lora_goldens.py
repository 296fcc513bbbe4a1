#!/usr/bin/env python3
"""Writes goldens/lora.json: what PyTorch's autograd says of training an adapter, in float64.

Usage: make_lora_goldens.py SHARED [OUT]   (SHARED: the shared test data, whose training/*-train models and batches are used;
needs Debian's python3-torch). Deterministic.

Each case: a model, the projections that have an adapter, its rank and alpha. A and B start from a formula (begin below), so
that no file is needed. Ten AdamW steps over the model's batches, on A and B alone; decay on both; clipped to a norm of 1.
The golden holds loss and gradient norm of each step and, for each tensor (named as PEFT does), every STRIDE-th element of
its gradient in the first step (before clipping) and of itself after ten.
"""
import json
import math
import os
import struct
import sys

import torch

STRIDE = 7
HP = dict(lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip=1.0)
CASES = [
    ("gpt2-train", 4, 8, ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]),
    ("llama-train", 4, 8, ["self_attn.q_proj", "self_attn.v_proj"]),
    ("llama-gqa-untied-train", 3, 12, ["self_attn.k_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
                                       "mlp.down_proj"]),
]


def load_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    out = {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            out[name] = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).view(t["shape"]).double()
    return out


def begin(rows, cols, layer, half):
    """Element i of A (half 0, [rank, in]) or B (half 1, [out, rank]) of a layer."""
    i = torch.arange(rows * cols, dtype=torch.float64)
    return (0.2 * torch.sin(0.37 * i + layer + 2 * half)).float().double().view(rows, cols)


def gpt2(c, w, project, ids):
    D, H, T = c["n_embd"], c["n_head"], len(ids)
    norm = lambda x, p: torch.nn.functional.layer_norm(x, (D,), w[p + ".weight"], w[p + ".bias"], c["layer_norm_epsilon"])
    mask = torch.full((T, T), -math.inf, dtype=torch.float64).triu(1)
    x = w["wte.weight"][ids] + w["wpe.weight"][:T]
    for i in range(c["n_layer"]):
        p = f"h.{i}."
        lin = lambda x, n: x @ w[p + n + ".weight"] + w[p + n + ".bias"] + project("transformer." + p + n, x)
        q, k, v = (t.view(T, H, D // H).transpose(0, 1) for t in lin(norm(x, p + "ln_1"), "attn.c_attn").split(D, -1))
        a = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(D // H) + mask, -1) @ v
        x = x + lin(a.transpose(0, 1).reshape(T, D), "attn.c_proj")
        h = lin(norm(x, p + "ln_2"), "mlp.c_fc")
        x = x + lin(0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h ** 3))), "mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


def llama(c, w, project, ids):
    D, H, KV, T = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"], len(ids)
    hd = c["head_dim"]
    rms = lambda x, g: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + c["rms_norm_eps"]) * w[g]
    f = 1 / c["rope_theta"] ** (torch.arange(0, hd, 2, dtype=torch.float64) / hd)
    angle = torch.outer(torch.arange(T, dtype=torch.float64), f)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    turn = lambda x: x * cos + torch.cat([-x[..., hd // 2:], x[..., :hd // 2]], -1) * sin
    mask = torch.full((T, T), -math.inf, dtype=torch.float64).triu(1)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        lin = lambda x, n: x @ w[p + n + ".weight"].T + project(p + n, x)
        heads = lambda y, n: y.view(T, n, hd).transpose(0, 1)
        h = rms(x, p + "input_layernorm.weight")
        q, k = turn(heads(lin(h, "self_attn.q_proj"), H)), turn(heads(lin(h, "self_attn.k_proj"), KV))
        v = heads(lin(h, "self_attn.v_proj"), KV)
        k, v = k.repeat_interleave(H // KV, 0), v.repeat_interleave(H // KV, 0)
        a = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(hd) + mask, -1) @ v
        x = x + lin(a.transpose(0, 1).reshape(T, H * hd), "self_attn.o_proj")
        h = rms(x, p + "post_attention_layernorm.weight")
        x = x + lin(torch.nn.functional.silu(lin(h, "mlp.gate_proj")) * lin(h, "mlp.up_proj"), "mlp.down_proj")
    return rms(x, "model.norm.weight") @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def run(folder, rank, alpha, targets):
    c = json.load(open(os.path.join(folder, "config.json")))
    w = load_safetensors(os.path.join(folder, "model.safetensors"))
    batches = torch.tensor(json.load(open(os.path.join(folder, "batches.json"))))
    is_gpt2 = c["model_type"] == "gpt2"
    p = {}
    for layer in range(c["n_layer"] if is_gpt2 else c["num_hidden_layers"]):
        for target in targets:
            module = f"transformer.h.{layer}.{target}" if is_gpt2 else f"model.layers.{layer}.{target}"
            shape = w[module.removeprefix("transformer.") + ".weight"].shape
            n_in, n_out = shape if is_gpt2 else reversed(shape)
            p[module + ".lora_A"] = begin(rank, n_in, layer, 0).requires_grad_()
            p[module + ".lora_B"] = begin(n_out, rank, layer, 1).requires_grad_()

    def project(module, x):
        if module + ".lora_A" not in p:
            return 0
        return alpha / rank * (x @ p[module + ".lora_A"].T) @ p[module + ".lora_B"].T

    forward = gpt2 if is_gpt2 else llama
    m = {k: torch.zeros_like(x) for k, x in p.items()}
    v = {k: torch.zeros_like(x) for k, x in p.items()}
    out = dict(rank=rank, alpha=alpha, losses=[], grad_norms=[])
    sample = lambda tensors: {k: [float(f"{e:.9g}") for e in x.flatten()[::STRIDE].tolist()] for k, x in tensors.items()}
    for t, batch in enumerate(batches, 1):
        loss = sum(torch.nn.functional.cross_entropy(forward(c, w, project, row[:-1].tolist()), row[1:]) for row in batch)
        loss = loss / len(batch)
        grads = dict(zip(p, torch.autograd.grad(loss, list(p.values()))))
        norm = math.sqrt(sum((g * g).sum().item() for g in grads.values()))
        out["losses"].append(loss.item())
        out["grad_norms"].append(norm)
        if t == 1:
            out["gradients"] = sample(grads)
        with torch.no_grad():
            for k in p:
                g = grads[k] * min(1.0, HP["clip"] / (norm + 1e-6))
                m[k] = HP["beta1"] * m[k] + (1 - HP["beta1"]) * g
                v[k] = HP["beta2"] * v[k] + (1 - HP["beta2"]) * g * g
                step = m[k] / (1 - HP["beta1"] ** t) / ((v[k] / (1 - HP["beta2"] ** t)).sqrt() + HP["eps"])
                p[k] -= HP["lr"] * (step + HP["weight_decay"] * p[k])
    out["after"] = sample(p)
    return out


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    target = sys.argv[2] if len(sys.argv) == 3 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens/lora.json")
    result = {name: run(os.path.join(sys.argv[1], "data/training", name), r, a, t) for name, r, a, t in CASES}
    json.dump(dict(stride=STRIDE, cases=result), open(target, "w"), separators=(",", ":"))
    for name, r in result.items():
        print(name, r["losses"][0], "->", r["losses"][-1])
