# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Object files of SoftHSM 2, as they are when it is killed in C_UnwrapKey or C_CreateObject.

It writes a private key's label, ID and uses in one transaction and its numbers in the next one: between the two, the
numbers are empty. A file is a generation and then, per attribute, type, kind and value (SoftHSM's ObjectFile.cpp);
every number has 8 bytes.
"""

from __future__ import annotations

from pathlib import Path

_BOOL, _NUMBER, _BYTES, _TEMPLATE, _MECHANISMS = 1, 2, 3, 4, 5
#: Bytes of one of what the length before such a value counts.
_COUNTED = {_BYTES: 1, _TEMPLATE: 1, _MECHANISMS: 8}
_CLASS, _KEY_TYPE, _PRIVATE_KEY = 0x0, 0x100, 3
#: EC_PARAMS and VALUE; MODULUS to COEFFICIENT.
_NUMBERS = (0x180, 0x11, *range(0x120, 0x129))


def _read(content: bytes) -> list[tuple[int, int, bytes]]:
    place, found = 8, []
    while place < len(content):
        name, kind = (int.from_bytes(content[place + start : place + start + 8], "big") for start in (0, 8))
        place += 16
        size = {_BOOL: 1, _NUMBER: 8}.get(kind)
        if size is None:
            size = _COUNTED[kind] * int.from_bytes(content[place : place + 8], "big")
            place += 8
        found.append((name, kind, content[place : place + size]))
        place += size
    return found


def _written(head: bytes, attributes: list[tuple[int, int, bytes]]) -> bytes:
    parts = [head]
    for name, kind, value in attributes:
        size = (len(value) // _COUNTED[kind]).to_bytes(8, "big") if kind in _COUNTED else b""
        parts += [name.to_bytes(8, "big"), kind.to_bytes(8, "big"), size, value]
    return b"".join(parts)


def take_numbers(path: Path) -> bool:
    """Make the object in this file a private key without its numbers; returns whether it is a private key."""
    content = path.read_bytes()
    attributes = _read(content)
    assert _written(content[:8], attributes) == content
    if (_CLASS, _NUMBER, _PRIVATE_KEY.to_bytes(8, "big")) not in attributes:
        return False
    emptied = [(name, kind, b"" if name in _NUMBERS else value) for name, kind, value in attributes]
    path.write_bytes(_written(content[:8], emptied))
    return True
