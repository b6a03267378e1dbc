"""Damage of files, drawn at random: in their bytes, their numbers and words, their structure, or of the whole file."""

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Random = np.random.Generator

_NUMBERS = ["0", "-1", "1", "2", "255", "256", "32768", str(2**31 - 1), str(2**31), str(2**32 - 1), str(2**63)]
_NUMBERS += ["1e30", "1e400", "-1e30", "1e-30", "nan", "inf", "-inf", "0x10", "1_0", "٣", "1,5", "9" * 5000, ""]
_VALUES: list[Any] = [
    None,
    True,
    "",
    "x",
    "../../x",
    0,
    -1,
    1.5,
    1e30,
    float("nan"),
    2**31,
    2**63,
    10**400,
    [],
    {},
    [[]],
    {"a": [1]},
]


def damage(path: Path, rng: Random, others: Sequence[Path] = ()) -> str:
    """Damage a file in a way that is drawn, and say in which.

    Args:
        path: of a file, which may be none any more.
        rng: random numbers.
        others: files that may come to its place.
    """
    if rng.random() < 0.12:
        return f"{path.name}: {_damage_whole(path, rng, others)}"
    kinds = [_damage_bytes, _damage_bytes, _damage_text]
    if path.suffix == ".json":
        kinds += [_damage_json] * 3
    if path.suffix == ".npy":
        kinds += [_damage_npy] * 3
    content = path.read_bytes()
    new, name = kinds[rng.integers(len(kinds))](content, rng)
    path.unlink()
    path.write_bytes(new)
    return f"{path.name}: {name}"


def _damage_whole(path: Path, rng: Random, others: Sequence[Path]) -> str:
    kind = rng.choice(["gone", "folder", "fifo", "loop", "dangling", "empty", "another", "device"])
    other = others[rng.integers(len(others))] if others else None
    content = b"" if kind == "empty" or other is None else other.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind in ("empty", "another"):
        path.write_bytes(content)
    return f"{kind} {other.name if kind == 'another' and other else ''}".strip()


def _damage_bytes(content: bytes, rng: Random) -> tuple[bytes, str]:
    start, length = int(rng.integers(len(content) + 1)), int(rng.integers(1, 65))
    kind = rng.choice(["cut", "flip", "zero", "ones", "drop", "repeat", "insert", "append"])
    before, after = content[:start], content[start + length :]
    piece = content[start : start + length]
    if kind == "flip":
        changed = bytearray(content or b"\0")
        for place in rng.integers(len(changed), size=rng.integers(1, 9)):
            changed[place] ^= 1 << int(rng.integers(8))
        return bytes(changed), "flip bits"
    new = {
        "cut": before,
        "zero": before + bytes(len(piece)) + after,
        "ones": before + b"\xff" * len(piece) + after,
        "drop": before + after,
        "repeat": before + piece * 2 + after,
        "insert": before + rng.bytes(length) + content[start:],
        "append": content + rng.bytes(length),
    }[str(kind)]
    return new, f"{kind} at {start}"


def _damage_text(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Numbers, words, lines and encoding; of a binary file, what stands in its first two thousand bytes."""
    head, tail = (
        (content, b"") if content[:2000].isascii() and len(content) < 2000 else (content[:2000], content[2000:])
    )
    text = head.decode("latin-1")
    kind = rng.choice(["number", "number", "number", "word", "drop line", "double line", "swap lines", "recode"])
    if kind in ("number", "word"):
        spans = _spans(text, str.isdigit if kind == "number" else str.isalpha)
        if not spans:
            return content[: len(content) // 2], "cut in the middle"
        start, end = spans[rng.integers(len(spans))]
        put = (
            str(rng.choice(_NUMBERS))
            if kind == "number"
            else str(rng.choice([*text[start:end], "x", "", "é", "$HOME", "\x1b[2J", "\0"]))
        )
        return text[:start].encode("latin-1") + put.encode() + text[end:].encode(
            "latin-1"
        ) + tail, f"{text[start:end]!r} becomes {put[:20]!r}"
    if kind == "recode":
        name, recoded = [
            ("CRLF", head.replace(b"\n", b"\r\n")),
            ("CR", head.replace(b"\n", b"\r")),
            ("UTF-16", text.encode("utf-16")),
            ("BOM", b"\xef\xbb\xbf" + head),
            ("latin-1", head.replace(b"a", b"\xe4")),
        ][rng.integers(5)]
        return recoded + tail, name
    lines = head.splitlines(keepends=True) or [b""]
    first, second = rng.integers(len(lines), size=2)
    if kind == "drop line":
        del lines[first]
    elif kind == "double line":
        lines.insert(second, lines[first])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines) + tail, f"{kind} {first}"


def _spans(text: str, belongs: Callable[[str], bool]) -> list[tuple[int, int]]:
    """(start, end) of the longest runs of characters that belong."""
    spans, start = [], None
    for place, character in enumerate(text + "\n"):
        if belongs(character) and start is None:
            start = place
        elif not belongs(character) and start is not None:
            spans.append((start, place))
            start = None
    return spans


def _damage_json(content: bytes, rng: Random) -> tuple[bytes, str]:
    """One value, key or item anywhere in the structure."""
    root = {"": json.loads(content)}
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [root]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else [*range(len(holder))]
        # Of a list of thousand numbers one is like another.
        if len(keys) >= 20:
            keys = [keys[place] for place in rng.choice(len(keys), 20, replace=False)]
        for key in keys:
            places.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    holder, key = places[rng.integers(len(places))]
    kind = rng.choice(["value", "value", "delete", "double", "nest"])
    if kind == "delete" and holder is not root:
        del holder[key]
        return json.dumps(root[""]).encode(), f"no {key}"
    if kind == "double" and isinstance(holder, list):
        holder.insert(key, holder[key])
        return json.dumps(root[""]).encode(), f"{key} twice"
    if kind == "nest":
        depth = int(rng.choice([1, 100, 100_000]))
        mark = "a place in the text"
        holder[key] = mark
        return json.dumps(root[""]).replace(f'"{mark}"', "[" * depth + "]" * depth).encode(), f"{key}: nested {depth}"
    value = _VALUES[rng.integers(len(_VALUES))]
    holder[key] = value
    return json.dumps(root[""]).encode(), f"{key} becomes {str(value)[:20]}"


def _damage_npy(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Other numbers, shape or type in a whole file; or a header that promises something else."""
    array = np.load(io.BytesIO(content))
    kind = rng.choice(["value", "value", "shape", "type", "order", "header"])
    if kind == "header":
        shape = str(array.shape).encode()
        new = [b"(1,)", b"(-1,)", b"(10000000000,)", b"()", b"(4294967296, 4294967296, 3)"][rng.integers(5)]
        return content.replace(shape, new.ljust(len(shape)), 1), f"header says {new.decode()}"
    if kind == "value":
        value = [np.nan, np.inf, 1e30, -1, -100, 200, 2**31 - 1, 0][rng.integers(8)]
        with np.errstate(invalid="ignore"):
            flat = array.reshape(-1)
            flat[rng.integers(max(len(flat), 1), size=rng.integers(1, 4))] = np.array(value).astype(array.dtype)
        name = f"value {value}"
    elif kind == "shape":
        array = [array[:-1], array.reshape(-1), array[None], array[:0], np.concatenate([array, array])][rng.integers(5)]
        name = f"shape {array.shape}"
    elif kind == "type":
        with np.errstate(invalid="ignore"):
            array = array.astype(["<f8", ">f4", "<i2", "u1", "?", "<c8", "U3", "<M8[s]"][rng.integers(8)])
        name = f"type {array.dtype}"
    else:
        array = np.asfortranarray(array)
        name = "Fortran's order"
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue(), name


def copy_tree(source: Path, target: Path) -> Path:
    """A copy of a folder, to be damaged."""
    shutil.copytree(source, target, symlinks=True)
    return target
