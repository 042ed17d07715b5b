# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of every module: one base class.

What it sees to, for all of them:

1. Options are validated before anything happens, and on a masked copy, so that no message can quote a secret.
2. Every option that names a vault (``vault``, also when it comes from ``module_defaults``) is taken out and never
   reaches a host.
3. Modules are pipelined, or refused: without pipelining the arguments, passphrases among them, lie in a file on the
   host, where a killed run leaves them.
4. What a host returns is compared with its digest before any of it is used, and nothing in it sets variables or
   changes the inventory, or does anything to the terminal: a host must not rule over the play that looks at it.
5. The task's own copy of its options is masked before anything happens, because callbacks get it with the result; so
   are the module's options once they are in the module, because ANSIBLE_DEBUG prints them.
6. A ``KeyopsError`` becomes one failed result with ``msg`` and ``error_class``.
"""

from __future__ import annotations

import contextlib
import gc
import getpass
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, ClassVar

from ansible import constants as C
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DigestMismatch,
    FormatError,
    KeyopsError,
    OptionError,
    require_libraries,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import digest_of
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.named import told_as
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

#: What Ansible itself adds to a result.
_PARSED = ("_ansible_parsed",)
#: What Ansible shows of a result by itself.
_SHOWN = ("warnings", "deprecations", "msg", "exception", "module_stdout", "module_stderr")


class HostFailed(KeyopsError):
    """The module failed on its host; ``result`` is what it said."""

    def __init__(self, result: dict) -> None:
        super().__init__(str(result.get("msg", "the module failed")))
        self.result = result


@dataclass(frozen=True)
class HostReply:
    """What one call of the module on the host gave back, verified against its digest."""

    changed: bool
    results: list
    relay: Any
    raw: dict = field(repr=False)


@dataclass(frozen=True)
class ControllerTask:
    """What a process on the controller gets.

    Attributes:
        params: validated options with defaults, without those that name a vault; secrets are among them.
        vault: the opened vault of the option ``vault``, or None where the module has none or the task gives none.
        check_mode: change nothing, predict.
        host: the inventory name of the host that the module runs on (the delegated one with ``delegate_to``).
        actor: who runs this, for the event log.
        log_signing_key: cryptography private key object that signs events, or None; of the first vault that names one.
        call: ``call(step, relay=None)`` runs the module on the host once and returns a HostReply; raises HostFailed.
            With ``predicting=True`` it runs in check mode.
        vaults: every opened vault by the name of its option.
        policy: the option ``policy`` as it was given, or None; hosts never see it.
    """

    params: dict = field(repr=False)
    vault: Any
    check_mode: bool
    host: str
    actor: str
    call: Callable[..., HostReply] = field(repr=False)
    log_signing_key: Any = field(default=None, repr=False)
    vaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    policy: Any = field(default=None, repr=False)


class LifecycleAction(ActionBase):
    """Base of all action plugins of the collection. Subclasses set ``argument_spec`` and override ``process``."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False
    #: Options of the module as the user sees them (``vault`` among them where it has one).
    argument_spec: ClassVar[dict] = {}
    #: The options as they were given; the task has a masked copy.
    _given_options: dict
    #: Without a vault the module cannot do its job.
    vault_required = False
    #: Whether a missing vault is made. Only what starts an archive may, so that a mistyped path is noticed elsewhere.
    may_make_vault = False
    #: What runs on the host when a key on a token is named, where the task's own module has nothing of tokens: all that
    #: a module imports is shipped, and compiled on the host.
    pkcs11_module: ClassVar[str | None] = None

    def process(self, task: ControllerTask) -> dict:
        """The process; the default is the module on the host and nothing else."""
        return dict(task.call(None).raw)

    def named_keys(self, params: dict) -> list[str]:
        """The key references of a call with these options."""
        return [item["key"] for item in params["keys"]]

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict:
        """Run the task; see the module's docstring for what is seen to here."""
        self._given_options = self._taken_options()
        super().run(tmp, task_vars)
        try:
            with contextlib.ExitStack() as opened:
                require_libraries()
                self._require_pipelining()
                params = self._validated()
                options = {name: params.pop(name, None) for name in _options.vaults_in(self.argument_spec)}
                signing_key = _log_signing_key(options)
                vaults = {name: self._opened(opened, name, given) for name, given in options.items()}
                return self._finished(self.process(self._controller_task(params, vaults, signing_key, task_vars or {})))
        except HostFailed as error:
            return self._finished(error.result)
        except KeyopsError as error:
            return self._finished({"failed": True, "msg": str(error), "error_class": type(error).__name__})

    def _taken_options(self) -> dict:
        """The options, of which the task keeps only a masked copy."""
        # A task that is tried again (``until``) has a new action each time, so the task itself remembers them. Nothing
        # but its fields leaves this process.
        masked, given = getattr(self._task, "_keyops_options", (None, {}))
        if masked is None or masked != self._task.args:
            given = dict(self._task.args)
            masked = self._masked(given)
            self._task.args = masked
            self._task._keyops_options = (masked, given)
        return given

    def _masked(self, given: dict) -> dict:
        """A copy of the options without secrets."""
        return _options.masked(self.argument_spec, given)

    def _controller_task(self, params: dict, vaults: dict, signing_key: Any, task_vars: dict) -> ControllerTask:
        host = self._task.delegate_to or task_vars.get("inventory_hostname", "localhost")

        def call(step: str | None, relay: object = None, predicting: bool = False, **changed: object) -> HostReply:
            with self._check_mode(predicting):
                return self._call_host({**params, **changed, "policy": None}, step, relay, task_vars)

        policy = params.get("policy")
        actor = f"{getpass.getuser()}@{socket.gethostname()}"
        check_mode = bool(self._task.check_mode)
        return ControllerTask(
            params, vaults.get("vault"), check_mode, str(host), actor, call, signing_key, vaults, policy
        )

    @contextlib.contextmanager
    def _check_mode(self, predicting: bool) -> Iterator[None]:
        """The module runs in check mode if the task does, or if the controller asks what would be."""
        before = self._task.check_mode
        self._task.check_mode = before or predicting
        try:
            yield
        finally:
            self._task.check_mode = before

    def _call_host(self, params: dict, step: str | None, relay: object, task_vars: dict) -> HostReply:
        arguments: dict = _given({name: value for name, value in params.items() if name in self.argument_spec})
        if step is not None:
            arguments["step"] = step
        if relay is not None:
            arguments["relay"] = json.dumps(relay)
        on_token = self.pkcs11_module and any(map(reference.is_token, self.named_keys(params)))
        name = self.pkcs11_module if on_token else str(self._task.action)
        result = self._harmless(self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars))
        if result.get("failed") or "digest" not in result:
            result.pop("results", None)
            raise HostFailed({**result, "failed": True})
        relayed = result.pop("relay", None)
        if not isinstance(result.get("results"), list):
            raise FormatError("the host's reply has no results: see what answers there for Python, and run again")
        if result.pop("digest") != digest_of(result["results"], relayed):
            raise DigestMismatch("what the host returned was altered on its way (its digest differs); nothing was used")
        return HostReply(bool(result.get("changed")), result["results"], relayed, result)

    def _harmless(self, result: dict) -> dict:
        """What a host returns, without that which Ansible or a terminal acts on: facts are variables of later tasks."""
        own = {self._discovered_interpreter_key: self._discovered_interpreter}  # what this process found out itself
        kept = {name: value for name, value in result.items() if not _acted_on(name)}
        if not kept.keys().isdisjoint(_SHOWN):
            # Not at the top: what succeeds has nothing to tell.
            from ansible_collections.keyops.lifecycle.plugins.plugin_utils import harmless

            kept = harmless.shown_members(kept)
        return {**kept, "ansible_facts": own} if self._discovered_interpreter_key else kept

    def _parse_returned_data(self, res: dict, *more: Any) -> dict:
        """As Ansible does, which warns of what a host writes beside its result, and of members of its own."""
        if not str(res.get("stdout", "")).rstrip("\n").isprintable():
            from ansible_collections.keyops.lifecycle.plugins.plugin_utils import harmless

            res = {**res, "stdout": harmless.stdout(str(res["stdout"]))}
        data = super()._parse_returned_data(res, *more)
        return {name: value for name, value in data.items() if name in _PARSED or not _acted_on(name.lstrip("_"))}

    def _configure_module(self, module_name: str, module_args: dict, task_vars: dict) -> Any:
        """The module with its options inside; then the options themselves are masked, in place."""
        with _garbage_kept():
            built = super()._configure_module(module_name, module_args, task_vars)
        own = {name: value for name, value in module_args.items() if name in self.argument_spec}
        module_args.update(_options.masked(self.argument_spec, own))
        return built

    def _require_pipelining(self) -> None:
        """Raise OptionError unless the arguments can go to the host through a pipe."""
        become = self._connection.become
        if self._task.async_val or C.DEFAULT_KEEP_REMOTE_FILES:
            raise OptionError(
                "async and ANSIBLE_KEEP_REMOTE_FILES would leave passphrases in files on the host: remove them"
            )
        if not self._connection.has_pipelining or (become and not getattr(become, "pipelining", become.name != "su")):
            raise OptionError(
                f"the connection {self._connection.transport!r} with this become method cannot pipeline modules, so "
                "passphrases would lie in files on the host; use ssh or local, and sudo or doas"
            )

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        return module_style == "new"

    def _validated(self) -> dict:
        spec, given = self.argument_spec, self._given_options
        for name, secret in _options.secrets_in(spec, given):
            # Converted, 0123 would be another passphrase than the one that was written.
            if not isinstance(secret, str) or secret == _options.MASK:
                raise OptionError(f"{name}: it must be a text, so put it in quotes (and a masked one is no passphrase)")
        found = ArgumentSpecValidator(spec).validate(given)
        if found.error_messages:
            self._tell_wrong_options()
        return found.validated_parameters

    def _tell_wrong_options(self) -> None:
        """Raise OptionError with what is wrong, as it reads without secrets."""
        shown = ArgumentSpecValidator(self.argument_spec).validate(self._masked(self._given_options))
        told = [_told_wrong(one) for one in shown.errors] or ["a secret is malformed"]
        raise OptionError("; ".join(told))

    def _opened(self, opened: contextlib.ExitStack, name: str, options: dict | None) -> Any:
        """The vault of one option, which is closed with ``opened``; None without one."""
        with told_as(name):
            vault = self._open_named(name, options)
        if vault is not None:
            opened.callback(vault.close)
        return vault

    def _open_named(self, name: str, options: dict | None) -> Any:
        """Open the vault of the option ``name``; for modules with several."""
        return self._open_vault(options)

    def _open_vault(self, options: dict | None) -> Any:
        if options is None:
            if self.vault_required:
                raise OptionError(
                    "vault: is missing; for the embedded one give vault: {backend: sqlite, path: /path/to/vault.db}"
                )
            return None
        return open_vault(options, bool(self._task.check_mode), make=self.may_make_vault)

    def _finished(self, result: dict) -> dict:
        """The result without internal members, with masked options."""
        result = {name: value for name, value in result.items() if name not in ("relay", "digest")}
        result["invocation"] = {"module_args": self._masked(self._given_options)}
        return result


def _log_signing_key(vaults: Mapping[str, dict | None]) -> Any:
    """The key that signs events: that of the first vault whose options name one."""
    for name, options in vaults.items():
        path = (options or {}).get("log_signing_key")
        if options and path:
            # Not at the top: few vaults name a key, and every play would load what reads one.
            from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import read_private_key

            return read_private_key(path, options.get("log_signing_key_passphrase"), f"{name}.log_signing_key")
    return None


@contextlib.contextmanager
def _garbage_kept() -> Iterator[None]:
    """Keep what is no longer used for a moment.

    Ansible parses every file of a module to see what it imports, while all other hosts wait. The many objects of that
    make Python look for garbage again and again, in all that this process has inherited: a third of the time. What is
    there at the end is not looked at again: this process ends with its task.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _told_wrong(error: Exception) -> str:
    """What Ansible says of a wrong option; of an unsupported one it names no more than the supported ones."""
    message = str(error)
    if isinstance(error, UnsupportedError) and "nsupported" not in message:
        return f"unsupported option {message}"
    return message


def _acted_on(name: str) -> bool:
    """Whether Ansible acts on a member of a result, whoever returns it: ``ansible_facts``, ``ansible_stats``, ..."""
    return name.startswith("ansible_") or name in ("add_host", "add_group")


def _given(value: Any) -> Any:
    """The options without those that were left out, in suboptions too: None is no choice of an option."""
    if isinstance(value, dict):
        return {name: _given(item) for name, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value
