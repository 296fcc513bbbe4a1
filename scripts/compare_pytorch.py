#!/usr/bin/env python3
"""The first steps of a Llama's training beside PyTorch's (Debian's python3-torch): same weights, windows, AdamW.

    scripts/compare_pytorch.py build/orion MODEL-DIR TOKENS.bin [--steps 5] [--batch 1] [--accum 4] [--seq 256]

MODEL-DIR is a Hugging Face directory of the Llama kind with tied or own classifier, fp32, in one file; TOKENS.bin holds
uint16 ids. Nothing here is Orion's: the order of the windows is computed again from its definition (src/train/permutation.h), and
losses, gradients and updates are autograd's and torch.optim.AdamW's. Prints both losses and gradient norms of each step, and fails
where a loss differs by more than 1%. --time prints the seconds of each of PyTorch's steps instead, for bench/compare.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy
import torch

MASK = (1 << 64) - 1


def scatter(x):
    x = (x + 0x9e3779b97f4a7c15) & MASK
    x = ((x ^ x >> 30) * 0xbf58476d1ce4e5b9) & MASK
    x = ((x ^ x >> 27) * 0x94d049bb133111eb) & MASK
    return x ^ x >> 31


def order(n, seed, epoch):
    """A function from index to window: a Feistel network of six rounds, walked until it lands below n."""
    half = 1
    while half < 31 and n > 1 << 2 * half:
        half += 1
    key, keys = scatter(scatter(seed) ^ epoch), []
    for i in range(6):
        key = scatter((key + i) & MASK)
        keys.append(key)

    def at(x):
        while True:
            left, right = x >> half, x & (1 << half) - 1
            for key in keys:
                left, right = right, left ^ scatter(right ^ key) & (1 << half) - 1
            x = left << half | right
            if x < n:
                return x
    return at


def load(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    path = os.path.join(folder, "model.safetensors")
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r")
    size = int.from_bytes(bytes(data[:8]), "little")
    weights = {}
    for name, entry in json.loads(bytes(data[8:8 + size])).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = numpy.frombuffer(bytes(data[8 + size + begin:8 + size + end]), dtype=numpy.float32)
            weights[name] = torch.tensor(values).reshape(entry["shape"]).requires_grad_()
    return config, weights


def forward(c, w, ids):
    """Logits of ids [B, T]."""
    batch, seq = ids.shape
    heads = c["num_attention_heads"]
    kv_heads = c.get("num_key_value_heads", heads)
    width = c.get("head_dim") or c["hidden_size"] // heads
    angles = torch.arange(seq)[:, None] * c["rope_theta"] ** (-torch.arange(0, width, 2) / width)
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
    mask = torch.full((seq, seq), float("-inf")).triu(1)

    def norm(x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + c["rms_norm_eps"]) * w[name]

    def turn(x):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def split(x, n):
        return x.reshape(batch, seq, n, width).transpose(1, 2)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        h = norm(x, p + "input_layernorm.weight")
        q, k, v = (split(h @ w[f"{p}self_attn.{n}_proj.weight"].T, m) for n, m in (("q", heads), ("k", kv_heads), ("v", kv_heads)))
        k, v = (y.repeat_interleave(heads // kv_heads, 1) for y in (turn(k), v))
        a = torch.softmax(turn(q) @ k.transpose(-1, -2) / width ** 0.5 + mask, -1) @ v
        x = x + a.transpose(1, 2).reshape(batch, seq, heads * width) @ w[p + "self_attn.o_proj.weight"].T
        h = norm(x, p + "post_attention_layernorm.weight")
        gate = torch.nn.functional.silu(h @ w[p + "mlp.gate_proj.weight"].T)
        x = x + (gate * (h @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
    return norm(x, "model.norm.weight") @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def train(o):
    config, weights = load(o.model)
    ids = numpy.fromfile(o.tokens, dtype="<u2").astype(numpy.int64)
    windows = -(-(len(ids) - 1) // o.seq)
    at = order(windows, o.seed, 0)
    groups = [{"params": [x for x in weights.values() if x.dim() > 1], "weight_decay": 0.1},
              {"params": [x for x in weights.values() if x.dim() < 2], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=o.lr, betas=(0.9, 0.95), eps=1e-8)
    index = 0
    for _ in range(o.steps):
        adamw.zero_grad()
        total = 0
        for _ in range(o.accum):
            rows = []
            for _ in range(o.batch):
                begin = min(at(index) * o.seq, len(ids) - 1 - o.seq)
                rows.append(ids[begin:begin + o.seq + 1])
                index += 1
            batch = torch.tensor(numpy.stack(rows))
            logits = forward(config, weights, batch[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) / o.accum
            loss.backward()
            total += loss.item()
        # In double: torch's own clip_grad_norm_ sums 25 million squares of the embedding in fp32, and is off by 1e-4 and more.
        norm = sum(x.grad.double().square().sum() for x in weights.values()).sqrt()
        for x in weights.values():
            x.grad *= min(1.0, 1.0 / (norm.item() + 1e-6))
        adamw.step()
        yield total, norm.item()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ["orion", "model", "tokens"]:
        p.add_argument(name)
    for name, value in [("steps", 5), ("batch", 1), ("accum", 4), ("seq", 256), ("seed", 1), ("threads", 0)]:
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--lr", type=float, default=3e-4)
    p.add_argument("--time", action="store_true")
    o = p.parse_args()
    if o.threads:
        torch.set_num_threads(o.threads)
    if o.time:
        steps = train(o)
        for _ in range(o.steps):
            begin = time.monotonic()
            next(steps)
            print(f"{time.monotonic() - begin:.4f}", flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="orion-compare-") as folder:
        log = os.path.join(folder, "log.jsonl")
        subprocess.run([o.orion, "train", "-m", o.model, "--data", o.tokens, "--token-width", "2", "--out",
                        os.path.join(folder, "run"), "--log", log, "--schedule", "constant", "--warmup", "0", "--save-every", "0",
                        "--quiet"] + [word for name in ["steps", "batch", "accum", "seq", "seed", "threads", "lr"]
                                      for word in ("--" + name, str(getattr(o, name)))], check=True)
        with open(log, encoding="utf-8") as file:
            own = [json.loads(line) for line in file]
    worst = 0
    for line, (loss, norm) in zip(own, train(o)):
        worst = max(worst, abs(line["loss"] - loss) / loss)
        print(f"step {line['step']}  loss {line['loss']:.6f}, PyTorch {loss:.6f} ({(line['loss'] - loss) / loss:+.2e})  "
              f"norm {line['grad_norm']:.6f}, PyTorch {norm:.6f}", flush=True)
    print(f"losses differ by at most {worst:.2e} of their value")
    return 0 if worst < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
