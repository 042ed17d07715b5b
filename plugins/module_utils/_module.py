# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one thin layer between Ansible and the flows on a host: builds AnsibleModule, calls one flow, maps the result.

Invariants:

- A flow's result holds no secret, so nothing in it is masked: Ansible's own masking replaces every substring that
  equals a secret argument and so destroys key IDs and base64. ``invocation`` is masked here, by whole values.
- What the module writes to the host's system log is masked in the same way. Ansible's masking misses passphrases with
  quotes or backslashes there, and shows short ones by the holes they leave.
- What is returned carries a digest, which the action verifies: if anything on the way rewrites it, it is refused.
- A ``KeyopsError`` becomes one sentence and its class. Anything else is a defect: its class and place are reported,
  never its message or its variables, which could hold material.
- The process leaves no core dump.
"""

from __future__ import annotations

import json
import resource
import traceback
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError, require_libraries
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical


@dataclass(frozen=True)
class HostTask:
    """What a flow gets.

    Attributes:
        params: validated options; secrets are among them.
        check_mode: change nothing, predict.
        step: the internal step that the action asks for, or None.
        relay: what the controller relays for this step (a JSON value), or None.
    """

    params: dict = field(repr=False)
    check_mode: bool = False
    step: str | None = None
    relay: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class FlowResult:
    """What a flow returns; nothing in it is secret.

    Attributes:
        changed: whether the host was changed (or would be, in check mode).
        results: one dictionary per item of ``keys``.
        diff: ``{"before_header", "after_header", "before", "after"}`` of facts, or empty.
        relay: a JSON value for the controller, or None.
        warnings: for the user.
        extra: further return values of the module.
    """

    changed: bool
    results: list
    diff: list = field(default_factory=list)
    relay: object = None
    warnings: list = field(default_factory=list)
    extra: dict = field(default_factory=dict)


class _Module(AnsibleModule):
    """An Ansible module that logs its invocation as it returns it: without secrets."""

    params: dict

    def _log_invocation(self) -> None:
        self.no_log_values.clear()
        params, self.params = self.params, _invocation(self.argument_spec, self.params)
        try:
            super()._log_invocation()
        finally:
            self.params = params


def run_module(argument_spec: dict, flow: Callable[[HostTask], FlowResult], **kwargs: object) -> None:
    """Run one flow as an Ansible module and exit.

    Args:
        argument_spec: of the module; ``step`` and ``relay`` are added here.
        flow: the process on this host.
        kwargs: further arguments of AnsibleModule (``mutually_exclusive`` and the like).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    spec = {**argument_spec, **_options.STEP}
    module = _Module(argument_spec=spec, supports_check_mode=True, **kwargs)
    # From here on only this file builds the result, without secrets: see above.
    module.no_log_values.clear()
    invocation = {"module_args": _invocation(spec, module.params)}
    outcome = _call(module, flow)
    if isinstance(outcome, dict):
        return module.fail_json(invocation=invocation, **outcome)
    for warning in outcome.warnings:
        module.warn(warning)
    return module.exit_json(invocation=invocation, **_returned(module, outcome))


def controller_only(argument_spec: dict) -> None:
    """Be a module whose action plugin does all the work: where it gets as far as a host, it fails and says why."""
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    module.fail_json(
        msg="This module works on the controller only, where its action plugin was not found. Run it from a "
        "playbook by its full name, with the whole collection keyops.lifecycle installed.",
        error_class="OptionError",
    )


def digest_of(results: object, relay: object) -> str:
    """The digest that goes with what a host returns."""
    return canonical.digest(json.dumps([results, relay], sort_keys=True).encode())


def _call(module: AnsibleModule, flow: Callable[[HostTask], FlowResult]) -> FlowResult | dict:
    try:
        require_libraries()
        relay = json.loads(module.params["relay"]) if module.params["relay"] else None
        return flow(HostTask(module.params, module.check_mode, module.params["step"], relay))
    except KeyopsError as error:
        return {"msg": str(error), "error_class": type(error).__name__}
    except Exception as error:  # noqa: BLE001 - a defect: report where; its message may hold material
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
        message = (
            f"Internal error {type(error).__name__} at {place}. This is a defect of keyops.lifecycle: please report it."
        )
        return {"msg": message, "error_class": "InternalError"}


def _returned(module: AnsibleModule, outcome: FlowResult) -> dict:
    returned = {**outcome.extra, "changed": outcome.changed, "results": outcome.results}
    if outcome.diff and module._diff:
        returned["diff"] = outcome.diff
    returned["relay"] = outcome.relay
    returned["digest"] = digest_of(outcome.results, outcome.relay)
    return returned


def _invocation(spec: dict, params: dict) -> dict:
    return {name: value for name, value in _options.masked(spec, params).items() if name not in _options.STEP}
