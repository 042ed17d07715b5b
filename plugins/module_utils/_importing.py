# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Importing the collection's many small files without compiling them again and again.

- On a host they come in a zip file of sources. Python's ``zipimport`` compiles each of them once to learn its file name
  and once more to run it, which is a third of what a host's process spends on our code. The importer here knows the
  name from the zip file's directory.
- On the controller, where Ansible runs plays, its own importer compiles every file at every start. The finder here
  leaves them to Python's importer, which keeps what it has compiled where it always does (``__pycache__``).

Neither changes what is imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import zipimport
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

_OURS = __name__.rsplit(".", 2)[0] + "."
#: What is loaded where Ansible runs plays, and nowhere else.
_PLAYS = "ansible.executor.task_queue_manager"


class ZipImporter(zipimport.zipimporter):
    """``zipimporter`` that names a module's file without compiling it."""

    def get_filename(self, fullname: str) -> str:
        """The path of a module's source.

        Raises:
            ZipImportError: there is no such module.
        """
        name = fullname.rpartition(".")[2]
        end = f"{name}/__init__.py" if self.is_package(fullname) else f"{name}.py"
        return f"{self.archive}/{self.prefix}{end}"


class CompiledFinder:
    """Finds the collection's files for Python's own importer; folders are left to Ansible's."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        """Where a module is, or None when it is none of ours."""
        if not fullname.startswith(_OURS) or not path:
            return None
        file = os.path.join(path[0], fullname.rpartition(".")[2] + ".py")
        return importlib.util.spec_from_file_location(fullname, file) if os.path.isfile(file) else None


def compile_less(loader: object) -> None:
    """Do so for everything that is imported from here on; ``loader`` is the caller's own, and tells where this runs."""
    if isinstance(loader, zipimport.zipimporter):
        _use_zip_importer()
    elif _PLAYS in sys.modules and CompiledFinder not in map(type, sys.meta_path):
        sys.meta_path.insert(0, CompiledFinder())


def _use_zip_importer() -> None:
    if ZipImporter in sys.path_hooks:
        return
    sys.path_hooks.insert(0, ZipImporter)
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimport.zipimporter):
            del sys.path_importer_cache[path]
