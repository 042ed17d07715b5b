# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The importer for Ansible's zip file, in a process of its own: it counts how often a file is compiled.

And the finder for the controller, under Ansible's own importer of collections.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.keyops.lifecycle.plugins.module_utils import _importing

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
USE = "sys.path.append({folder!r}); import _importing; _importing.compile_less({loader})"


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
    use = USE.format(folder=str(Path(_importing.__file__).parent), loader="first.__loader__")
    plain, ours = played(tmp_path, ""), played(tmp_path, use)
    assert ours[0] == 1
    assert ours[0] < plain[0], "Python has learned it: _importing.py can go"
    assert (
        ours[1:]
        == plain[1:]
        == [f"{tmp_path}/modules.zip/inner/second.py", [f"{tmp_path}/modules.zip/inner"], "inner.second"]
    )


def test_neither_is_used_where_python_imports_by_itself() -> None:
    hooks, finders = list(sys.path_hooks), list(sys.meta_path)
    _importing.compile_less(_importing.__spec__.loader)
    assert (sys.path_hooks, sys.meta_path) == (hooks, finders)


def test_the_controller_keeps_what_it_has_compiled(tmp_path: Path) -> None:
    program = """
import json, sys
import ansible.executor.task_queue_manager
from ansible.plugins.loader import action_loader, init_plugin_loader
init_plugin_loader()
found = action_loader.get("keyops.lifecycle.private_key", class_only=True)
prefix = "ansible_collections.keyops.lifecycle.plugins.plugin_utils."
print(json.dumps([getattr(one, "__cached__", None) for name, one in sys.modules.items() if name.startswith(prefix)]))
"""
    collections = Path(_importing.__file__).parents[5]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "PYTHONPYCACHEPREFIX": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    files = [file for file in json.loads(done.stdout) if file]
    assert len(files) > 5
    assert all(Path(file).is_file() and str(tmp_path) in file for file in files)
