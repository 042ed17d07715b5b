# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of several vaults: its place in words, and errors that name the option by which it was given.

Backends call the option ``vault`` in their messages. Where it has another name, the message gets that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Paths, Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.server_options import server_options

#: ``vault.path`` and the like, but not a host name such as vault.example.com; ``vault:`` at the beginning.
_OPTION = re.compile(rf"\bvault(?=\.(?:{'|'.join(_options.VAULT['vault']['options'])})\b)|^vault(?=:)")


@contextmanager
def told_as(name: str, always: bool = False) -> Iterator[None]:
    """Errors of the block name this option.

    Args:
        always: also those that name no option; for blocks in which several vaults are open.
    """
    try:
        yield
    except KeyopsError as error:
        text = _OPTION.sub(name, str(error))
        error.args = (f"{name}: {text}" if always and not text.startswith(name) else text, *error.args[1:])
        raise


def place_of(options: Mapping[str, object]) -> str:
    """Where a vault is, for people and the event log; holds no credential.

    Raises:
        OptionError: when the options cannot be.
    """
    if options.get("backend") != "openbao":
        return f"sqlite {os.path.realpath(str(options.get('path')))}"
    server = server_options(options, os.environ)
    namespace = f" namespace {server.namespace}" if server.namespace else ""
    return f"openbao {server.url} mount {server.mount}{namespace}"


class NamedVault(Vault):
    """A vault that knows its option and its place."""

    def __init__(self, vault: Vault, name: str, place: str) -> None:
        self.name, self.place = name, place
        self._vault = vault

    def close(self) -> None:
        self._vault.close()

    def _create(self, objects: Mapping[str, bytes]) -> frozenset[str]:
        with told_as(self.name, always=True):
            return self._vault.create(objects)

    def _exists(self, paths: Paths) -> frozenset[str]:
        with told_as(self.name, always=True):
            return self._vault.exists(paths)

    def _read(self, paths: Paths) -> dict[str, bytes]:
        with told_as(self.name, always=True):
            return self._vault.read(paths)

    def _list(self, prefix: str, after: str, limit: int | None) -> Paths:
        with told_as(self.name, always=True):
            return self._vault.list(prefix, after, limit)

    def strangers(self, prefix: str, limit: int = 100) -> Paths:
        """What lies below ``prefix`` and is no object."""
        with told_as(self.name, always=True):
            return self._vault.strangers(prefix, limit)

    def _destroy(self, paths: Paths) -> None:
        with told_as(self.name, always=True):
            self._vault.destroy(paths)
