# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decrypt messages, mailboxes and files with the keys of their owner.

1. The options are checked before a key is opened; a source and its output are never the same place.
2. The keys are opened (``data_keys``): they stay in memory, or on their token.
3. Every source is decrypted by what knows its kind. What cannot be decrypted is an item with its reason, and the rest
   comes out; sources are only read.
4. Outputs appear whole, with mode 0600. What is there already and was not made here from this source is never
   replaced.

In check mode everything is decrypted, too, and nothing is written: so it tells what can be opened.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import efs, single
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import FAILED, Item, Source, Tally
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, KeyopsError, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import data_keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    sources = sources_of(task.params["sources"])  # 1
    if task.params["seal"] is not None:
        # Not at the top: who decrypts with keys at hand gets none of the code that opens archived ones.
        from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recover_data_case

        return recover_data_case.run(task, sources, recover)
    with data_keys.opened(task.params["keys"]) as keys:  # 2
        return recover(task, sources, keys)


def sources_of(items: Sequence[dict]) -> list[Source]:
    """The option ``sources``.

    Raises:
        OptionError: a path is not absolute, or an output is a source or another output.
    """
    sources = []
    for number, item in enumerate(items):
        paths = [_absolute(item[name], f"sources[{number}].{name}") for name in ("src", "dest")]
        files = tuple(item.get("files") or ())
        if files and item["kind"] != "ntfs":
            raise OptionError(f"sources[{number}].files: only files of an NTFS volume are chosen so; say kind: ntfs")
        sources.append(Source(paths[0], paths[1], item["kind"], files))
    outputs = [one.dest for one in sources]
    if len(set(outputs)) != len(outputs):
        raise OptionError("sources: two of them have the same dest")
    for one in sources:
        _require_apart(one, outputs)
    return sources


def recover(task: HostTask, sources: Sequence[Source], keys: Sequence[Decryptor]) -> FlowResult:
    """Decrypt all sources with these keys."""
    results = [_row(_recovered(one, keys, task.check_mode)) for one in sources]  # 3
    warnings = [
        f"{row['src']}: {row['failed']} of {row['items']} could not be decrypted; failures lists the first of them"
        for row in results
        if row["failed"]
    ]
    return FlowResult(any(row["changed"] for row in results), results, warnings=warnings)


def _recovered(source: Source, keys: Sequence[Decryptor], check_mode: bool) -> tuple[Source, Tally, bool]:
    if source.kind == "ntfs" or (source.kind == "auto" and efs.is_volume(source.src)):
        return _volume(dataclasses.replace(source, kind="ntfs"), keys, check_mode)
    return _single(source, keys, check_mode)


def _volume(source: Source, keys: Sequence[Decryptor], check_mode: bool) -> tuple[Source, Tally, bool]:
    tally, changed = Tally(), False
    try:
        for one in efs.recover(source, keys, check_mode):
            tally.add(one.item)
            changed = changed or one.changed
    except KeyopsError as error:
        tally.add(Item("", FAILED, type(error).__name__, str(error)))
    return source, tally, changed


def _single(source: Source, keys: Sequence[Decryptor], check_mode: bool) -> tuple[Source, Tally, bool]:
    found = single.recover(source, keys)
    tally, changed = Tally(), False
    try:
        if found.item.status != FAILED:
            changed = _write(source.dest, found.content, check_mode)  # 4
        tally.add(found.item)
    except KeyopsError as error:
        tally.add(Item("", FAILED, type(error).__name__, str(error)))
    return source, tally, changed


def _write(path: str, content: bytes, check_mode: bool) -> bool:
    there = _files.read_existing(path, len(content))
    if there is not None:
        if there.content != content:
            raise FileError(f"{path}: it exists and holds something else; name another place, or move it away")
        return False
    if not check_mode:
        _files.make_private_folder(os.path.dirname(path))
        if not all(_files.write_new([_files.NewFile(path, content)])):
            raise FileError(f"{path}: another process wrote it meanwhile; run again")
    return True


def _row(done: tuple[Source, Tally, bool]) -> dict:
    source, tally, changed = done
    return {"src": source.src, "dest": source.dest, "kind": source.kind, "changed": changed, **tally.facts()}


def _absolute(path: str, option: str) -> str:
    if not os.path.isabs(path) or "\0" in path or "\n" in path or ".." in path.split("/"):
        raise OptionError(f"{option}: write an absolute path, without '..'")
    return "/" + os.path.normpath(path).lstrip("/")


def _require_apart(source: Source, outputs: Sequence[str]) -> None:
    for dest in outputs:
        if (dest + "/").startswith(source.src + "/") or (source.src + "/").startswith(dest + "/"):
            raise OptionError(
                f"sources: the output {dest} and the source {source.src} lie in each other; take them apart"
            )
