# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action base: what it does to its own process while Ansible builds a module, and to options that name vaults."""

from __future__ import annotations

import gc
import json
from typing import ClassVar

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError, VaultUnavailable
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import digest_of
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import harmless
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask, LifecycleAction


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_garbage_collection_is_off_while_a_module_is_built_and_then_as_before(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, fails: bool
) -> None:
    seen = []

    def build(*_arguments: object) -> str:
        seen.append(gc.isenabled())
        if fails:
            raise ValueError("not built")
        return "built"

    monkeypatch.setattr(ActionBase, "_configure_module", build)
    action = object.__new__(LifecycleAction)
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        if fails:
            with pytest.raises(ValueError, match="not built"):
                action._configure_module("name", {}, {})
        else:
            assert action._configure_module("name", {}, {}) == "built"
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        (gc.enable if before else gc.disable)()


class Server:
    """What an opened vault is to the action: something to close."""

    def __init__(self, name: str) -> None:
        self.name, self.closed = name, False

    def close(self) -> None:
        self.closed = True


class Task:
    """As much of Ansible's task as the action uses."""

    def __init__(self, **args: object) -> None:
        self.args, self.check_mode, self.async_val, self.delegate_to = args, False, 0, None
        self.action = "keyops.lifecycle.example"


class TwoVaults(LifecycleAction):
    """A module with three options that name vaults, of which one is left out."""

    argument_spec: ClassVar[dict] = {
        **dict.fromkeys(("old", "new", "vault"), _options.VAULT["vault"]),
        "key": {"type": "str", "no_log": False},
    }
    opened: ClassVar[list[Server]] = []
    errors: ClassVar[list[KeyopsError]] = []

    def __init__(self, **args: object) -> None:
        self._task, self._connection = Task(**args), None
        self._discovered_interpreter_key, self._discovered_interpreter = None, False
        self.sent: dict = {}

    def _require_pipelining(self) -> None:
        return

    def _open_named(self, name: str, options: dict | None) -> Server | None:
        if options is None:
            return None
        for error in self.errors:
            raise error
        self.opened.append(Server(f"{name} {options['token']}"))
        return self.opened[-1]

    def _execute_module(self, module_args: dict, **_more: object) -> dict:
        self.sent = module_args
        return {"results": [], "digest": digest_of([], None)}

    def process(self, task: ControllerTask) -> dict:
        task.call(None)
        return {name: vault and vault.name for name, vault in task.vaults.items()} | {"params": task.params}


@pytest.fixture
def _no_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(TwoVaults, "opened", [])


@pytest.mark.usefixtures("_no_ansible")
def test_every_option_that_names_a_vault_is_taken_out_masked_and_closed() -> None:
    action = TwoVaults(old={"token": "secret one"}, new={"token": "secret two"}, key="/k")
    result = action.run(task_vars={})
    assert (result["old"], result["new"], result["vault"]) == ("old secret one", "new secret two", None)
    assert result["params"] == action.sent == {"key": "/k"}
    assert all(one.closed for one in action.opened) and len(action.opened) == 2
    shown = json.dumps([result["invocation"], action._task.args])
    assert "secret" not in shown and shown.count(_options.MASK) == 4


@pytest.mark.usefixtures("_no_ansible")
def test_an_option_of_a_vault_is_validated_under_its_name() -> None:
    for wrong in ({"token": 7}, {"tokne": "hidden"}, {"connections": "x"}, "hidden"):
        result = TwoVaults(old={"token": "one"}, new=wrong).run(task_vars={})
        assert result["failed"] and result["error_class"] == "OptionError"
        assert "new" in result["msg"] and "hidden" not in json.dumps(result), result["msg"]


@pytest.mark.usefixtures("_no_ansible")
def test_an_unsupported_option_is_told_as_such_beside_whatever_else_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TwoVaults.argument_spec, "tokens", {"type": "list", "required": True, "no_log": False})
    told = TwoVaults(libraries=["a"]).run(task_vars={})["msg"]
    assert told.startswith("missing required arguments: tokens; unsupported option libraries. Supported "), told
    assert TwoVaults(key="/k").run(task_vars={})["msg"] == "missing required arguments: tokens"


@pytest.mark.usefixtures("_no_ansible")
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("vault.path: there is no vault", "old.path: there is no vault"),
        ("vault: this needs a vault", "old: this needs a vault"),
        (
            "vault.url: https://vault.example.com:8200 fails; set vault.ca_cert",
            "old.url: https://vault.example.com:8200 fails; set old.ca_cert",
        ),
    ],
)
def test_an_error_names_the_vault_by_its_option(monkeypatch: pytest.MonkeyPatch, said: str, told: str) -> None:
    monkeypatch.setattr(TwoVaults, "errors", [VaultUnavailable(said)])
    result = TwoVaults(old={"token": "one"}).run(task_vars={})
    assert (result["msg"], result["error_class"]) == (told, "VaultUnavailable")


def test_the_json_of_a_module_is_the_same_when_its_output_is_made_plain() -> None:
    sent = {"key": "/srv/\u202e\x85\u2028\x1bü\U0001f511", "number": 1}
    for text in (json.dumps(sent), json.dumps(sent, ensure_ascii=False), json.dumps(sent, indent=1)):
        first, *after = harmless.stdout(f"{text}\njunk\r\nmore\x1b[2J").rsplit("\n", 1)
        assert json.loads(first) == sent and after == [r"junk more\u001b[2J"]
