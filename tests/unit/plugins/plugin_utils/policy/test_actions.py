# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Actions with a policy: no host gets it, and what is predicted is predicted in check mode."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.keyops.lifecycle.plugins.action import csr, private_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import certificate_request, provision
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import HostTask, digest_of

SENTINEL = "no host reads this"


class Task:
    """As much of Ansible's task as the action uses."""

    def __init__(self, action: str, args: dict, check_mode: bool) -> None:
        self.args, self.check_mode, self.async_val, self.delegate_to, self.action = args, check_mode, 0, None, action


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run an action whose module runs in this process; returns its result and the calls as (check mode, arguments)."""
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(private_key.ActionModule, "_require_pipelining", lambda self: None)
    monkeypatch.setattr(csr.ActionModule, "_require_pipelining", lambda self: None)

    def start(action: type, flow: object, policy: dict | None, keys: list[dict], check_mode: bool = False) -> tuple:
        calls = []

        def execute(self: object, module_args: dict, **_more: object) -> dict:
            calls.append((self._task.check_mode, json.dumps(module_args)))
            params = ArgumentSpecValidator(self.argument_spec).validate(module_args).validated_parameters
            done = flow(HostTask(params, self._task.check_mode, None, None))
            results, relay = json.loads(json.dumps([done.results, done.relay]))
            digest = digest_of(results, relay)
            told = {"changed": done.changed, "results": results, "warnings": done.warnings, "digest": digest}
            return {**told, **({"relay": relay} if relay is not None else {})}

        monkeypatch.setattr(action, "_execute_module", execute)
        made = object.__new__(action)
        options = {"keys": keys, "state_dir": str(tmp_path / "state"), **({"policy": policy} if policy else {})}
        made._task, made._connection = Task(f"keyops.lifecycle.{action.__module__}", options, check_mode), None
        made._discovered_interpreter_key, made._discovered_interpreter = None, False
        return made.run(task_vars={}), calls

    return start


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", path], check=True, capture_output=True)
    path.chmod(0o600)
    return str(path)


def request(key: str, **options: object) -> list[dict]:
    return [{"key": key, "path": f"{key}.csr", "subject": "CN=test", "usage": "signature", **options}]


def ask(run, policy: dict | None, keys: list[dict], check_mode: bool = False) -> tuple:
    return run(csr.ActionModule, certificate_request.run, policy, keys, check_mode)


def test_a_request_for_a_key_that_breaks_a_rule(run, key: str) -> None:
    policy = {"description": SENTINEL, "usages": {"signature": {"algorithms": ["rsa-3072+"]}}}
    result, calls = ask(run, policy, request(key))
    assert result["error_class"] == "PolicyRefused" and "rsa-2048" in result["msg"]
    assert [check_mode for check_mode, dummy in calls] == [True] and not Path(f"{key}.csr").exists()
    assert all("policy" not in sent and SENTINEL not in sent for dummy, sent in calls)


def test_a_request_without_the_purpose_is_refused_before_the_host(run, key: str) -> None:
    result, calls = ask(run, {"extends": "cabf-smime"}, request(key))
    assert result["error_class"] == "PolicyRefused" and "emailProtection" in result["msg"] and calls == []
    # The key's own usage is the host's to know.
    keys = [{name: value for name, value in request(key)[0].items() if name != "usage"}]
    result, calls = ask(run, {"extends": "cabf-smime"}, keys)
    assert result["error_class"] != "PolicyRefused" and len(calls) == 1, "nothing shows its usage, which the host tells"


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_request_that_the_policy_allows(run, key: str, check_mode: bool) -> None:
    keys = request(key, extended_key_usage=["emailProtection"])
    result, calls = ask(run, {"extends": "cabf-smime"}, keys, check_mode)
    assert result["changed"] and result["results"][0]["algorithm"] == "rsa-2048"
    assert [mode for mode, dummy in calls] == ([True] if check_mode else [True, False])
    assert len(result["warnings"]) == 1 and "deprecated" in result["warnings"][0]
    assert ask(run, None, keys)[1][0][0] is False, "without a policy there is one call"


def test_a_receipt_is_asked_for_where_archives_are_required(run, key: str) -> None:
    keys = request(key, usage="key_transport", require_receipt=False)
    result, calls = ask(run, {"extends": "default"}, keys)
    assert result["error_class"] == "PolicyRefused" and "require_receipt" in result["msg"] and calls == []
    assert ask(run, {"extends": "nist-sp800-57"}, keys)[0]["changed"]


@pytest.mark.parametrize("wrong", [True, False])
def test_the_task_is_in_its_own_mode_again_after_a_prediction(run, tmp_path: Path, wrong: bool) -> None:
    keys = [{"key": str(tmp_path / "new"), "usage": "signature", "algorithm": "ec-p256"}]
    policy = {"description": SENTINEL, "all_usages": {"groups": ["nobody-has-it"], "maximum_mode": "0640"}}
    keys[0]["mode"] = "0640" if wrong else "0600"
    result, calls = run(private_key.ActionModule, provision.run, policy, keys)
    assert result.get("error_class") == ("PolicyRefused" if wrong else None)
    assert [mode for mode, dummy in calls] == ([True] if wrong else [True, False])
    assert all("policy" not in sent and SENTINEL not in sent for dummy, sent in calls)
    assert (tmp_path / "new").exists() is not wrong
