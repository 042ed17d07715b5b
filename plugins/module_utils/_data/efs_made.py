# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which outputs of a volume are ours, and of which state of its image each was made: a file in the state folder.

- A line is there before the output has its name, so whatever is as a line says was made here, even after ``kill -9``.
  After a loss of power lines may be missing, or the last be cut off: then the output is decrypted again and compared.
- Only an output that was made from the image as it is now is taken without a look at its content. A device has no state
  by which a change would be noticed, so nothing of it is.
- Only what is as a line says is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import output
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FileError, FileMissing, FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical

_FORMAT = "keyops-efs-made/1"
_FIELDS = {"path": str, "output": dict, "image": dict}


class Made:
    """What earlier runs made of a volume, and what this one does; the processes of a run write to one file."""

    def __init__(self, path: str | None = None, image: dict | None = None, check_mode: bool = False) -> None:
        """
        Args:
            path: of the file; None when nothing is known and nothing is kept.
            image: the image's state now (``efs.state_of``).
            check_mode: nothing is written.

        Raises:
            FileError: the state folder cannot be used.
        """
        self._image, self._descriptor = image or {}, -1
        self._known: dict[str, tuple[dict, dict]] = {}
        if path is None:
            return
        self._known.update(_read(path))
        if not check_mode:
            self._descriptor = _to_append(path)

    def close(self) -> None:
        """Nothing is noted any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def is_ours(self, path: str, state: dict) -> bool:
        """Whether the output that is there was made by us, and is as it was left."""
        known = self._known.get(path)
        return known is not None and known[0] == state

    def is_right(self, path: str, state: dict) -> bool:
        """Whether it was, and from the image as it is now."""
        return bool(self._image) and self._known.get(path) == (state, self._image)

    def is_of_another(self, path: str) -> bool:
        """Whether an output is there that was made from another state of the image."""
        known = self._known.get(path)
        if known is None or known[1] == self._image:
            return False
        try:
            return output.state_at(path) == known[0]
        except FileError:
            return False

    def of_another(self) -> Iterator[str]:
        """The outputs that are there and were made from another state of the image."""
        return filter(self.is_of_another, sorted(self._known))

    def note(self, path: str, state: dict) -> None:
        """An output gets its name now, or was found to be what comes of the image.

        Raises:
            FileError: the disk is full, or fails.
        """
        if self._descriptor < 0 or self._known.get(path) == (state, self._image):
            return
        # It begins with the line end: one that was cut off is not the beginning of the next.
        line = b"\n" + canonical.dumps({"format": _FORMAT, "path": path, "output": state, "image": self._image})
        try:
            if os.write(self._descriptor, line) != len(line):
                raise FileError("the disk is full; free some space and run again")
        except OSError as error:
            raise _folders.file_error(error, "what is known of the outputs") from error


def _to_append(path: str) -> int:
    parent, name = os.path.split(path)
    _files.make_private_folder(parent)
    with _folders.opened(parent, to_write=True) as folder:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(name, flags, 0o600, dir_fd=folder)
        except OSError as error:
            raise _folders.file_error(error, path) from error


def _read(path: str) -> Iterator[tuple[str, tuple[dict, dict]]]:
    """Outputs with their state and the image's; of several lines the last counts."""
    try:
        with output.opened(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
            for line in file:
                try:
                    value = canonical.load_object(line.rstrip(b"\n"), _FORMAT, _FIELDS)
                except FormatError:
                    continue
                yield value["path"], (value["output"], value["image"])
    except FileMissing:
        return
