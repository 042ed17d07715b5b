# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the option ``vault`` to an open vault."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    OptionError,
    VaultReadOnly,
    VaultUnavailable,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault import server_options, sqlite_file, token_cache
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Paths, Vault
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.sqlite import SqliteVault

# What talks to a server takes a while to load. Before Ansible forks, that is once for all hosts; but only the workers
# know the option, so whoever uses no server would wait for nothing. The environment tells earlier.
if server_options.names_a_server(os.environ):
    importlib.import_module("ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.openbao")

# Its memory must be there before the fork, too.
token_cache.reserve()


def open_vault(options: Mapping[str, object] | None, check_mode: bool = False, make: bool = True) -> Vault:
    """The vault that the option ``vault`` names.

    Args:
        options: the validated value of the option ``vault``.
        check_mode: open for reading only and make nothing.
        make: a missing SQLite vault is made; in check mode it behaves as an empty one. Otherwise it must be there: a
            mistyped path must not look like a vault that holds nothing.

    Raises:
        OptionError: when the option is missing or incomplete.
        VaultUnavailable: when there is none, and none may be made.
        VaultError: when the vault cannot be opened.
    """
    if not options:
        raise OptionError("vault: this needs a vault; set for example vault: {backend: sqlite, path: /absolute/path}")
    if options.get("backend") == "openbao":
        return _open_openbao(options, check_mode)
    if options.get("url"):
        raise OptionError("vault.url: it is for a vault server; set vault.backend to openbao, or remove it")
    return _open_sqlite(options.get("path"), check_mode, make)


def _open_openbao(options: Mapping[str, object], check_mode: bool) -> Vault:
    from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.openbao import OpenBaoVault

    return OpenBaoVault(server_options.server_options(options, os.environ), writable=not check_mode)


def _open_sqlite(path: object, check_mode: bool, make: bool) -> Vault:
    if not isinstance(path, str) or not os.path.isabs(path) or path.endswith("/") or "\0" in path:
        raise OptionError("vault.path: the SQLite vault needs the absolute path of its file")
    path = os.path.normpath(path)
    present = sqlite_file.check(path)
    # An empty file is what a run leaves that was killed before it made the tables.
    holds = present and os.path.getsize(path) > 0
    if not holds and not make:
        raise VaultUnavailable("vault.path: there is no vault at this path; name the one that key_archive has made")
    if check_mode:
        return SqliteVault(path, writable=False) if holds else EmptyVault()
    if not present:
        sqlite_file.make(path)
        sqlite_file.check(path)
    return SqliteVault(path)


class EmptyVault(Vault):
    """What a vault that was never made looks like in check mode."""

    def close(self) -> None:
        return

    def _create(self, objects: Mapping[str, bytes]) -> frozenset[str]:
        raise VaultReadOnly("nothing is created in check mode")

    def _exists(self, paths: Paths) -> frozenset[str]:
        return frozenset()

    def _read(self, paths: Paths) -> dict[str, bytes]:
        return {}

    def _list(self, prefix: str, after: str, limit: int | None) -> Paths:
        return []

    def _destroy(self, paths: Paths) -> None:
        raise VaultReadOnly("nothing is destroyed in check mode")
