"""Q4_0 as llama.cpp defines it, to compare with: the element of largest magnitude in a block becomes -8 steps, the scale
is kept in fp16, and the others are rounded to -8..7 steps. Done to a directory of fp32 tensors: the layers' matrices and
the classifier become the numbers that Q4_0 leaves of them.
"""
import json
import os
import shutil
import struct


def round_block(x):
    top = max(x, key=abs)
    d = top / -8
    inverse = 1 / d if d else 0
    step, = struct.unpack("<e", struct.pack("<e", d))
    return [(min(15, int(v * inverse + 8.5)) - 8) * step for v in x]


def group_of(cols):
    """What Orion takes for about 32: the divisor nearest to it."""
    near = [g for g in range(16, 65) if cols % g == 0]
    return min(near, key=lambda g: (abs(g - 32), g)) if near else cols


def requantise(source, target):
    """A copy of the directory `source` whose matrices went through Q4_0."""
    shutil.copytree(source, target)
    path = os.path.join(target, "model.safetensors")
    with open(path, "rb") as file:
        data = file.read()
    size, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    with open(os.path.join(target, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    if config["tie_word_embeddings"]:  # the embedding stays; the classifier is a matrix like the others
        header["lm_head.weight"] = header["model.embed_tokens.weight"]
        config["tie_word_embeddings"] = False
        with open(os.path.join(target, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
    body, entries = b"", {}
    for name, entry in header.items():
        begin, end = (8 + size + at for at in entry["data_offsets"])
        values = list(struct.unpack_from(f"<{(end - begin) // 4}f", data, begin))
        if len(entry["shape"]) == 2 and "embed" not in name:
            group = group_of(entry["shape"][1])
            values = [v for i in range(0, len(values), group) for v in round_block(values[i:i + group])]
        entries[name] = dict(entry, data_offsets=[len(body), len(body) + end - begin])
        body += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)
