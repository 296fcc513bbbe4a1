"""The rules of the house, read off the source text. Usage: test_house.py SOURCE-ROOT COMPILER...; reports in TAP.

- The arrows between rooms point down: an #include of another room must be allowed by ROOMS, directly or through rooms
  that are allowed themselves. Public headers include nothing but each other and the C library.
- Every public header compiles alone, as C11 and as C++ (where there is a C++ compiler).
- Library code allocates through base/alloc.h, prints nothing, ends no process; see FORBIDDEN.
- Files stay readable: at most MAX_LINES lines, no tabs, no trailing blanks, no notes to self, no path of the machine they
  were written on, an opening comment; .inc files are tables and may be wide.
"""
import os
import re
import shutil
import subprocess
import sys

# A room and what it may include; what those may include is allowed too.
ROOMS = {
    "base": [],
    "ir": ["base"],
    "mil": ["ir"],
    "grad": ["ir"],
    "opt": ["ir"],
    "target": ["ir"],
    "lower": ["ir", "opt", "target", "mil"],
    "device": ["ir", "mil", "target"],
    "runtime": ["device", "lower"],
    "model": ["ir"],
    "text": ["base"],
    "infer": ["runtime", "model", "text"],
    "train": ["runtime", "model", "grad"],
    "bench": ["infer", "train"],
    "probe": ["device"],
    "cli": "all",
}

MAX_LINES = 1000
MAX_COLUMNS = 140  # the formatter aims at 120; a line that reads worse when broken may run over a little

# Calls that library code must not make, and the files that may. (What jansson allocated, json_decref frees; its texts are
# taken by json_dump_callback.)
HEAP = {"malloc", "calloc", "realloc", "reallocarray", "free", "strdup", "strndup", "asprintf", "vasprintf",
        "posix_memalign", "aligned_alloc", "alloca", "getline", "realpath"}
PRINT = {"printf", "vprintf", "puts", "putchar", "perror", "stdout", "stderr"}
END = {"exit", "_exit", "_Exit", "quick_exit", "abort", "atexit"}
FORBIDDEN = [
    (HEAP, "allocates past base/alloc.h", ("src/base/alloc.c", "src/cli/")),
    (PRINT, "prints", ("src/cli/",)),
    (END, "ends the process", ("src/cli/",)),
    ({"setenv", "putenv", "srand", "rand", "strtok", "gets", "sprintf", "vsprintf", "strcpy", "strcat", "gmtime",
      "localtime", "setlocale"}, "is not safe in a library", ()),
]

# Spelled in pieces so that this file passes its own test.
NOTES = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|home|root|tm" + r"p|Users)/")

TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[A-Za-z_]\w*|\n|.""", re.S)


def allowed(room):
    """The rooms that `room` may include, itself and what follows from the table among them."""
    if ROOMS[room] == "all":
        return set(ROOMS)
    seen, todo = {room}, list(ROOMS[room])
    while todo:
        other = todo.pop()
        if other not in seen:
            seen.add(other)
            todo.extend(ROOMS[other])
    return seen


def code_tokens(text):
    """Yields (line, identifier, previous token, next non-blank character) of the code, comments and strings left out."""
    line, previous = 1, ""
    for match in TOKEN.finditer(text):
        token = match.group(0)
        if re.match(r"[A-Za-z_]", token):
            rest = text[match.end():match.end() + 80].lstrip()
            yield line, token, previous, rest[:1]
        if not token.isspace() and not token.startswith(("//", "/*")):
            previous = token
        line += token.count("\n")


class House:
    def __init__(self, root, compiler):
        self.root, self.compiler, self.case, self.failed = root, compiler, 0, False

    def files(self, *folders, ext):
        for folder in folders:
            for where, dirs, names in os.walk(os.path.join(self.root, folder)):
                dirs.sort()
                for name in sorted(names):
                    if name.endswith(ext):
                        yield os.path.relpath(os.path.join(where, name), self.root)

    def text(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8") as file:
            return file.read()

    def report(self, name, problems, skip=None):
        self.case += 1
        if skip:
            print(f"skipped: {skip}\nok {self.case} # SKIP {name}")
            return
        print(f"{'not ok' if problems else 'ok'} {self.case} - {name}")
        for problem in problems:
            print(f"# {problem}")
        self.failed |= bool(problems)

    def includes(self, path):
        for number, line in enumerate(self.text(path).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
            if match:
                yield number, match.group(1) == '"', match.group(2)

    def check_table(self):
        """The table itself has no cycle and knows every folder of src/."""
        problems = []
        for room, others in ROOMS.items():
            for other in [] if others == "all" else others:
                if room in allowed(other):
                    problems.append(f"{room} and {other} include each other")
        for name in sorted(os.listdir(os.path.join(self.root, "src"))):
            if os.path.isdir(os.path.join(self.root, "src", name)) and name not in ROOMS:
                problems.append(f"src/{name} is not in the table of rooms")
        said = {}
        for line in self.text("docs/architecture.md").splitlines():
            match = re.fullmatch(r"\| (\w+) \| .* \| ([\w, ]+) \|", line)
            if match and match.group(1) != "room":
                said[match.group(1)] = [name for name in match.group(2).split(", ") if name != "C library"]
        for room in sorted(set(said) | set(ROOMS)):
            want = ["all"] if ROOMS.get(room) == "all" else ROOMS.get(room)
            if said.get(room) != want:
                problems.append(f"docs/architecture.md: {room} may include {said.get(room)}; here it may include {want}")
        self.report("the table of rooms is a table of arrows down, and the documents have the same", problems)

    def check_arrows(self):
        problems = []
        for path in self.files("src", ext=(".c", ".h", ".inc")):
            room = path.split("/")[1]
            for number, quoted, name in self.includes(path):
                where = f"{path}:{number}"
                other = name.split("/")[0]
                if name.startswith("orion/"):
                    if not os.path.isfile(os.path.join(self.root, "include", name)):
                        problems.append(f"{where}: {name} does not exist")
                elif quoted and other not in ROOMS:
                    problems.append(f'{where}: "{name}" is not spelled room/file')
                elif other in ROOMS and "/" in name:
                    if not os.path.isfile(os.path.join(self.root, "src", name)):
                        problems.append(f"{where}: src/{name} does not exist")
                    elif room in ROOMS and other not in allowed(room):
                        problems.append(f"{where}: {room} may not include {other} ({name})")
        self.report("a room includes only rooms below it", problems)

    def check_public(self):
        problems = []
        for path in self.files("include", ext=".h"):
            for number, quoted, name in self.includes(path):
                if name.startswith("orion/"):
                    continue
                if quoted or "/" in name or not re.fullmatch(r"std\w+\.h", name):
                    problems.append(f"{path}:{number}: {name} is neither a public header nor one of C's std headers")
            if "ORION_API" in self.text(path) and 'extern "C"' not in self.text(path):
                problems.append(f'{path}: lacks extern "C"')
        self.report("public headers include only each other and std headers", problems)

    def check_compiles_alone(self, name, command):
        problems = []
        for path in self.files("include", ext=".h"):
            result = subprocess.run(
                command + ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only",
                           "-I", os.path.join(self.root, "include"), "-"],
                input=f'#include "{path[len("include/"):]}"\n#include "{path[len("include/"):]}"\nint orion_used;\n',
                text=True, capture_output=True, check=False)
            if result.returncode:
                problems += [f"{path}: {line}" for line in result.stderr.splitlines()[:5]]
        self.report(name, problems)

    def check_calls(self):
        problems = []
        for path in self.files("src", ext=(".c", ".h", ".inc")):
            for line, word, previous, following in code_tokens(self.text(path)):
                for names, what, excepted in FORBIDDEN:
                    if word not in names or path.startswith(excepted):
                        continue
                    # A member or a field of that name is no call of the C library's.
                    is_call = following == "(" and previous not in (".", ">", "*")
                    if is_call or word in ("stdout", "stderr"):
                        problems.append(f"{path}:{line}: {word} {what}")
        self.report("library code neither allocates by itself, prints, nor exits", problems)

    def check_form(self):
        size, notes, paths, form = [], [], [], []
        kinds = (".c", ".h", ".inc", ".py", ".sh", ".build", ".md")
        top = [name for name in sorted(os.listdir(self.root)) if name == "Makefile" or name.endswith((".md", ".build", ".txt"))]
        for path in [*self.files("src", "include", "tests", "scripts", "docs", "bench", "examples", "models", ext=kinds), *top]:
            if "/corpus/" in path or "/golden/" in path:
                continue
            lines = self.text(path).splitlines()
            if len(lines) > MAX_LINES:
                size.append(f"{path}: {len(lines)} lines, more than {MAX_LINES}")
            for number, line in enumerate(lines, 1):
                if NOTES.search(line):
                    notes.append(f"{path}:{number}: {line.strip()}")
                if MACHINE_PATHS.search(line):
                    paths.append(f"{path}:{number}: {line.strip()}")
                if path.endswith(".md") and path != "docs/rules.md" and len(line) > MAX_COLUMNS and not line.startswith("|"):
                    form.append(f"{path}:{number}: {len(line)} columns")  # rules.md is printed from a table
                if path.endswith((".c", ".h", ".inc")):
                    if len(line) > MAX_COLUMNS and not path.endswith(".inc"):
                        form.append(f"{path}:{number}: {len(line)} columns")
                    if "\t" in line or line != line.rstrip():
                        form.append(f"{path}:{number}: a tab or a trailing blank")
        self.report(f"no file is longer than {MAX_LINES} lines", size)
        self.report("no notes to self are left", notes)
        self.report("no path of somebody's machine", paths)
        self.report(f"at most {MAX_COLUMNS} columns, no tabs, no trailing blanks", form)

    def check_openings(self):
        problems = []
        for path in self.files("src", "include", ext=(".c", ".h")):
            text = self.text(path).lstrip()
            # A .c file may leave that to its header, which it then includes first.
            own = path.endswith(".c") and text.startswith(f'#include "{path[len("src/"):-2]}.h"')
            if not text.startswith(("//", "/*")) and not own:
                problems.append(f"{path}: does not open with a comment that says what it is")
        self.report("every source file opens with what it is", problems)

    def run(self):
        print("1..11")
        self.check_table()
        self.check_arrows()
        self.check_public()
        self.check_compiles_alone("public headers compile alone as C11", self.compiler + ["-std=c11", "-x", "c"])
        cxx = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        if cxx:
            self.check_compiles_alone("public headers compile alone as C++", [cxx, "-std=c++14", "-x", "c++"])
        else:
            self.report("public headers compile alone as C++", [], skip="no C++ compiler")
        self.check_calls()
        self.check_form()
        self.check_openings()
        return 1 if self.failed else 0


sys.exit(House(sys.argv[1], sys.argv[2:]).run())
