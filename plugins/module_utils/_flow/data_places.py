# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The places of a task of data_recovery: what it reads and what it writes, and that they lie apart.

An output is never a source, a key, a certificate, a list of the sealed folder, part of the state folder or another
output, and none of them lies in another: the report is an output like those of the sources.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import sealed_names
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError


@dataclass(frozen=True)
class Places:
    """Absolute paths, each in its one spelling.

    Attributes:
        sources: with their outputs.
        state_dir: where the host's state is.
        report: the file that gets a line for every item, or None.
        folder: the one that is sealed, or None.
    """

    sources: Sequence[Source]
    state_dir: str
    report: str | None = None
    folder: str | None = None


def read(params: dict) -> Places:
    """The options that name places.

    Raises:
        OptionError: a path is not absolute, or an output lies in what is read or in another output.
    """
    sources = []
    for number, item in enumerate(params["sources"]):
        paths = [absolute(item[name], f"sources[{number}].{name}") for name in ("src", "dest")]
        files = tuple(item.get("files") or ())
        if files and item["kind"] != "ntfs":
            raise OptionError(f"sources[{number}].files: only files of an NTFS volume are chosen so; say kind: ntfs")
        sources.append(Source(paths[0], paths[1], item["kind"], files))
    report, seal = params.get("report"), params.get("seal")
    places = Places(
        sources,
        params["state_dir"] or _receipts.default_state_dir(),
        None if report is None else absolute(report, "report"),
        None if seal is None else absolute(seal["folder"], "seal.folder"),
    )
    _require_apart(_read_from(params, places), _written_to(places))
    return places


def absolute(path: str, option: str) -> str:
    """A path in its one spelling.

    Raises:
        OptionError: it is not absolute.
    """
    if not os.path.isabs(path) or "\0" in path or "\n" in path or ".." in path.split("/"):
        raise OptionError(f"{option}: write an absolute path, without '..'")
    return "/" + os.path.normpath(path).lstrip("/")


def _read_from(params: dict, places: Places) -> dict[str, str]:
    """Every place that nothing may be written to, with the option that names it."""
    found = {os.path.normpath(os.path.abspath(places.state_dir)): "state_dir"}
    named = [(f"keys[{number}]", item["key"]) for number, item in enumerate(params.get("keys") or ())]
    for number, item in enumerate(params.get("keys") or ()):
        named += [(f"keys[{number}].certificates", path) for path in item["certificates"]]
    if params.get("seal"):
        named += [(f"seal.{name}", params["seal"][name]) for name in ("signing_key", "signing_certificate")]
    # A key on a token, and a certificate as text, are no files.
    found.update((os.path.normpath(path), option) for option, path in named if os.path.isabs(path))
    found.update((one.src, f"sources[{number}].src") for number, one in enumerate(places.sources))
    return found


def _written_to(places: Places) -> dict[str, str]:
    named = [(f"sources[{number}].dest", one.dest) for number, one in enumerate(places.sources)]
    named += [("report", places.report)] if places.report else []
    if places.folder:
        named += [("seal: one of its lists", os.path.join(places.folder, name)) for name in sealed_names.ALL]
    found: dict[str, str] = {}
    for option, path in named:
        if path in found:
            raise OptionError(f"{option}: {path} is also the place of {found[path]}; name another one")
        found[path] = option
    return found


def _require_apart(read_from: dict[str, str], written_to: dict[str, str]) -> None:
    for inner, others in ((read_from, written_to), (written_to, read_from), (written_to, written_to)):
        for path, option in inner.items():
            for above in _up(path):
                if above in others and not (inner is others and above == path):
                    how = "is also" if above == path else f"lies in {above}, which is"
                    raise OptionError(
                        f"{option}: {path} {how} {others[above]}; nothing is written over what is read, over another "
                        "output, or into one of them: name another place"
                    )


def _up(path: str) -> Iterator[str]:
    """The path, and all folders above it."""
    while path not in ("/", ""):
        yield path
        path = os.path.dirname(path)
