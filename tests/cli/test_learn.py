"""`orion tokenize --learn`: the vocabulary is the one that the plain definition gives, on real text and on odd text."""
import json
import os
import random
import re
import sys
from collections import Counter

from orion_case import Suite, expect

suite = Suite()
END = "<|endoftext|>"
# GPT-2's pattern; on ASCII these classes are its \p{L} and \p{N}.
PATTERN = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def alphabet():
    """GPT-2's visible spelling of each byte."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in visible]
    return {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}


SPELLING = alphabet()


def learn(text, size):
    """Spellings by id and merges, by counting all pairs anew for each merge."""
    pieces = Counter()
    for document in text.split(END):
        pieces.update(PATTERN.findall(document))
    words = [([1 + b for b in piece.encode()], n) for piece, n in pieces.items()]
    tokens, merges = [END] + [SPELLING[b] for b in range(256)], []
    while len(tokens) < size:
        pairs = Counter()
        for ids, n in words:
            for pair in zip(ids, ids[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        for ids, _ in words:
            i = 0
            while i + 1 < len(ids):
                if (ids[i], ids[i + 1]) == best:
                    ids[i:i + 2] = [len(tokens)]
                i += 1
        merges.append(tokens[best[0]] + " " + tokens[best[1]])
        tokens.append(tokens[best[0]] + tokens[best[1]])
    return tokens, merges


def compare(name, text, size):
    source, out = suite.write(name + ".txt", text), suite.path(name)
    result = suite.orion_run(["tokenize", "--learn", size, "-f", source, "--to", out, "--json"])
    expect(result.code == 0, result.errors())
    tokens, merges = learn(text, size)
    expect(json.loads(result.stdout)["vocab"] == len(tokens), f"{result.text()}, expected {len(tokens)} tokens")
    with open(out + "/vocab.json", encoding="utf-8") as file:
        vocab = json.load(file)
    expect(vocab == {token: i for i, token in enumerate(tokens)}, "vocab.json is another vocabulary")
    with open(out + "/merges.txt", encoding="utf-8") as file:
        expect(file.read().splitlines()[1:] == merges, "merges.txt has other merges")
    ids = suite.orion_run(["tokenize", "-m", out, "-f", source])
    expect(ids.code == 0, ids.errors())
    listed = suite.write(name + ".ids", ids.stdout)
    back = suite.orion_run(["tokenize", "-m", out, "--decode", open(listed, encoding="ascii").read().strip(" []\n")])
    expect(back.text() == text + "\n", "the text does not survive encoding and decoding")


def stories():
    with open(suite.shared("data/tinystories/val.txt"), encoding="utf-8") as file:
        text = file.read(60000).encode("ascii", errors="ignore").decode()
    compare("stories", text, 500)


def odd_texts():
    draw = random.Random(5)
    compare("letters", "".join(draw.choice("aab ") for _ in range(3000)), 300)
    compare("runs", "a" * 50 + " " + "a" * 51 + "  " + "ab" * 30 + END + "\n\n\n x \"\\\" \\\\ 12 12 12's 'll", 320)
    compare("short", "hi", 1000)
    compare("empty", "", 257)


suite.case("a vocabulary learnt from stories is that of the definition", stories)
suite.case("so are those of runs, quotes, short and empty texts", odd_texts)
suite.fails("a text that is no UTF-8", lambda: ["tokenize", "--learn", 300, "-f", suite.write("bad", b"\xff\xfe"), "--to",
                                                suite.path("bad-out")], code=3, stderr="UTF-8")
suite.fails("too small a vocabulary", lambda: ["tokenize", "--learn", 256, "-f", suite.write("a", "a"), "--to",
                                               suite.path("small")], code=2, stderr="257")
suite.fails("a model's own vocabulary stays", lambda: ["tokenize", "--learn", 300, "-f", suite.write("b", "b"), "--to", os.path.dirname(
    suite.write("model/config.json", "{}"))], code=2, stderr=r"config\.json: belongs")
suite.fails("no place for the vocabulary", ["tokenize", "--learn", 300], code=2, stderr="--to", stdin=b"text")
sys.exit(suite.run())
