# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The importer for Ansible's zip file, in a process of its own: it counts how often a file is compiled."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.keyops.lifecycle.plugins.module_utils import _zip_import

COUNT = """
import json, sys, zipimport
sys.path.insert(0, {archive!r})
compiled, compile_source = [], zipimport._compile_source
zipimport._compile_source = lambda path, source: compiled.append(path) or compile_source(path, source)
import first
{use}
import inner.second
print(json.dumps([compiled.count(inner.second.__file__), inner.second.__file__, inner.__path__, inner.second.NAME]))
"""
USE = "sys.path.append({folder!r}); import _zip_import; _zip_import.use_in_place_of({loader})"


def played(tmp_path: Path, use: str) -> list:
    archive = tmp_path / "modules.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("first.py", "")
        file.writestr("inner/__init__.py", "")
        file.writestr("inner/second.py", "NAME = __name__")
    program = COUNT.format(archive=str(archive), use=use)
    found = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


def test_every_file_is_compiled_once(tmp_path: Path) -> None:
    use = USE.format(folder=str(Path(_zip_import.__file__).parent), loader="first.__loader__")
    plain, ours = played(tmp_path, ""), played(tmp_path, use)
    assert ours[0] == 1
    assert ours[0] < plain[0], "Python has learned it: _zip_import.py can go"
    assert (
        ours[1:]
        == plain[1:]
        == [f"{tmp_path}/modules.zip/inner/second.py", [f"{tmp_path}/modules.zip/inner"], "inner.second"]
    )


def test_it_is_not_used_outside_a_zip_file() -> None:
    hooks = list(sys.path_hooks)
    _zip_import.use_in_place_of(_zip_import.__spec__.loader)
    assert sys.path_hooks == hooks
