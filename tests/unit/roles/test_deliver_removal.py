# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role ``deliver`` has private_key remove: a key that signs only after it came into a token."""

from __future__ import annotations

from pathlib import Path

import pytest
import story
import yaml
from ansible.plugins.filter.core import FilterModule
from jinja2.nativetypes import NativeEnvironment

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import NotArchivedRefused

ROLE = Path(__file__).parents[3] / "roles" / "deliver"


def removed(exports: list[dict], results: list[dict]) -> list[dict]:
    """The option ``keys`` of the role's last task."""
    task = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())[-1]
    environment = NativeEnvironment()
    environment.filters.update(FilterModule().filters())
    text = task["keyops.lifecycle.private_key"]["keys"]
    return environment.from_string(text).render(keyops_exports=exports, keyops_delivered={"results": results})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> story.Scene:
    return story.make_scene(tmp_path_factory.mktemp("deliver"))


def delivered(path: Path, kind: str, usage: str | None) -> list[dict]:
    exports = [{"dest": "a", "format": kind, "keys": [{"key": str(path)}]}]
    results = [{"dest": "a", "format": kind, "keys": [{"key": str(path), "key_id": "0" * 64, "usage": usage}]}]
    return removed(exports, results)


@pytest.mark.parametrize(
    ("kind", "usage", "goes"),
    [
        ("token", "authentication", True),
        ("token", "key_agreement", False),
        ("token", None, False),
        ("pkcs12", "authentication", False),
    ],
)
def test_a_key_that_carries_no_usage_goes_by_what_it_was_judged(
    scene: story.Scene, kind: str, usage: str | None, goes: bool
) -> None:
    host = scene.machine(f"{kind}-{usage}")
    path = host.folder / "login.key"
    story.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    path.chmod(0o600)
    keys = delivered(path, kind, usage)
    if not goes:
        with pytest.raises(NotArchivedRefused):
            host.run("private_key", keys=keys)
        assert path.exists()
        return
    assert host.run("private_key", keys=keys, policy="nist-sp800-57")["changed"]
    assert not path.exists()


def test_a_passphrase_and_what_was_judged_go_together() -> None:
    exports = [{"keys": [{"key": "/a", "passphrase": "p"}, {"key": "/b"}]}, {"keys": [{"key": "/b"}]}]
    results = [
        {"format": "token", "keys": [{"key": "/a", "usage": "signature"}]},
        {"format": "pkcs12", "keys": [{"key": "/b", "usage": "key_transport"}]},
    ]
    assert removed(exports, results) == [
        {"key": "/a", "state": "absent", "passphrase": "p", "usage": "signature", "destroy_unarchived": True},
        {"key": "/b", "state": "absent"},
    ]
