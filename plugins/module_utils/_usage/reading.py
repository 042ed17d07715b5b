# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading of what a search turns up: bounded, regular files only, and what cannot be read is reported, not fatal.

Other users own many of these files. So nothing is opened that is not a regular file by the look before (opening a
device can act on it; opening a FIFO can hang), the look is repeated on the descriptor, and no content goes anywhere
but into a parser for public keys. Files that the user names are read by _files.read_file instead, where every problem
is an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator

#: Public keys and certificates are far smaller; a bundle of all public CAs has 250 KB.
MAX_SIZE = 1 << 20
#: Bytes that tell text, DER and anything else apart.
HEAD_SIZE = 512

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def shown(path: str) -> str:
    """The path as text for messages and results: names are other people's, and may hold any bytes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def read_present(paths: Iterable[str], limit: int, problems: list[str]) -> Iterator[tuple[str, bytes]]:
    """The files that are there, with their content; links are followed, as SSH's daemon follows them.

    Args:
        paths: files that need not exist.
        limit: in bytes; a larger file is not read.
        problems: gets one sentence for each file that is there and was not read.
    """
    for path in paths:
        data = read_one(path, limit, problems)
        if data is not None:
            yield path, data


def read_one(
    path: str,
    limit: int,
    problems: list[str],
    wanted: Callable[[bytes], bool] | None = None,
    cut: bool = False,
) -> bytes | None:
    """The content of one file, or None when it is missing, unreadable (reported) or not ``wanted``.

    Args:
        wanted: ``wanted(head) -> bool`` decides by the first HEAD_SIZE bytes whether the rest is read.
        cut: of a larger file the first ``limit`` bytes, instead of nothing; it is reported all the same.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            problems.append(f"{shown(path)}: not looked at, it is not a regular file")
            return None
        descriptor = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{shown(path)}: not looked at, {getattr(error, 'strerror', None) or 'not a path'}")
        return None
    try:
        return _bounded(descriptor, path, limit, problems, wanted, cut)
    except OSError as error:
        problems.append(f"{shown(path)}: not looked at, {error.strerror}")
        return None
    finally:
        os.close(descriptor)


def _bounded(
    descriptor: int, path: str, limit: int, problems: list[str], wanted: Callable[[bytes], bool] | None, cut: bool
) -> bytes | None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        problems.append(f"{shown(path)}: not looked at, it is not a regular file")
        return None
    head = os.read(descriptor, HEAD_SIZE)
    if wanted is not None and not wanted(head):
        return None
    if status.st_size > limit:
        problems.append(f"{shown(path)}: not looked at, it is larger than {limit} bytes")
        if not cut:
            return None
    chunks, size = [head], len(head)
    # The file may grow under us: the limit holds for what is read, not for what was announced.
    while size < limit:
        chunk = os.read(descriptor, min(limit - size, 1 << 16))
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def names(folder: str, problems: list[str]) -> list[str]:
    """The names in a folder, sorted; none when it is missing, or when it cannot be read, which is reported."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(f"{shown(folder)}: not looked at, {error.strerror}")
        return []
