# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folders are the layers, and an import never points back up (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
PREFIX = "ansible_collections.keyops.lifecycle.plugins."

#: Rank of the layers in module_utils, by the first part of the name behind it; a file imports its own rank and lower
#: ones.
HOST_LAYERS = [
    ["_errors", "_options", "_importing"],
    ["_model"],
    ["_formats"],
    ["_folders", "_drafts"],
    ["_files"],
    ["_tokens"],
    ["_receipts"],
    ["_keys"],
    ["_usage", "_sealing"],
    ["_discovery"],
    ["_data"],
    ["_recovery", "_delivery"],
    ["_module"],
    ["_flow"],
]
RANK = {name: rank for rank, names in enumerate(HOST_LAYERS) for name in names}

#: What each side may import of the collection.
MAY_IMPORT = {
    "module_utils": {"module_utils"},
    "modules": {"module_utils"},
    "plugin_utils": {"module_utils", "plugin_utils"},
    "action": {"module_utils", "modules", "plugin_utils"},
    "callback": {"plugin_utils"},
    "filter": {"module_utils", "modules", "plugin_utils"},
    "test": {"module_utils"},
    "doc_fragments": set(),
}
MODULES_MAY = ("module_utils._flow", "module_utils._module", "module_utils._options")
ANSIBLE_MAY = {
    PLUGINS / "module_utils" / "_module.py",
    PLUGINS / "plugin_utils" / "lifecycle_action.py",
    PLUGINS / "callback" / "job_statistics.py",
    PLUGINS / "filter" / "agent_ids.py",
    PLUGINS / "filter" / "audit_report.py",
    PLUGINS / "filter" / "key_id.py",
    PLUGINS / "filter" / "key_options.py",
    PLUGINS / "filter" / "must_archive.py",
    PLUGINS / "filter" / "pkcs11_uri.py",
    PLUGINS / "test" / "archivable.py",
}


def files() -> list[Path]:
    return sorted(PLUGINS.rglob("*.py"))


def imported(path: Path) -> list[str]:
    """Full names of what a file imports, in functions and under conditions too."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def own(path: Path) -> list[str]:
    return [name[len(PREFIX) :] for name in imported(path) if name.startswith(PREFIX)]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_imports_point_one_way(path: Path) -> None:
    side = path.relative_to(PLUGINS).parts[0]
    for name in own(path):
        assert name.split(".")[0] in MAY_IMPORT[side], f"{side} may not import {name}"
        if side == "modules":
            assert name.startswith(MODULES_MAY), f"a module imports its flow only, not {name}"
        if side == "module_utils":
            here = path.relative_to(PLUGINS / "module_utils").parts[0].removesuffix(".py")
            there = name.split(".")[1]
            assert RANK[there] <= RANK[here], f"{here} may not import {there}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_only_the_thin_layers_see_ansible(path: Path) -> None:
    seen = [name for name in imported(path) if name.split(".")[0] == "ansible"]
    assert not seen or path in ANSIBLE_MAY, f"{path.name} imports {seen}"


def test_every_layer_is_named_here() -> None:
    there = {
        path.name.removesuffix(".py")
        for path in (PLUGINS / "module_utils").iterdir()
        if path.name[0] == "_" and path.name != "__pycache__"
    }
    assert there == set(RANK)


@pytest.mark.parametrize("flow", ["archive", "archive_anywhere"])
def test_ordinary_hosts_get_no_opening_code(flow: str) -> None:
    """What key_archive ships to a host (everything that its imports reach) does not open sealed keys."""
    reached: set[str] = set()
    waiting = [f"module_utils._flow.{flow}"]
    while waiting:
        name = waiting.pop()
        path = PLUGINS / (name.replace(".", "/") + ".py")
        if name not in reached and path.exists():
            reached.add(name)
            waiting += [candidate for found in own(path) for candidate in (found, found.rpartition(".")[0])]
    assert "module_utils._sealing.seal_key" in reached
    opening = {"cms_open", "open_key", "shares_combine", "wrapped_key_open", "unwrapping"}
    assert not {name for name in reached if name.rsplit(".", 1)[1] in opening}
    if flow == "archive":  # hosts whose keys are in files get nothing of tokens, but for what reads a reference
        tokens = {name for name in reached if name.startswith("module_utils._tokens.")}
        assert tokens <= {"module_utils._tokens.uri"}
