# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Importing from Ansible's zip file without compiling everything twice.

On a host the collection's code comes in a zip file of sources. Python's ``zipimport`` compiles each of them once to
learn its file name and once more to run it, which is a third of what a host's process spends on our code. The importer
here knows the name from the zip file's directory. It changes nothing else, and nothing outside a zip file.
"""

from __future__ import annotations

import sys
import zipimport


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


def use_in_place_of(loader: object) -> None:
    """Import everything that follows with ``ZipImporter`` if ``loader``, the caller's own, is the plain one."""
    if not isinstance(loader, zipimport.zipimporter) or ZipImporter in sys.path_hooks:
        return
    sys.path_hooks.insert(0, ZipImporter)
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimport.zipimporter):
            del sys.path_importer_cache[path]
