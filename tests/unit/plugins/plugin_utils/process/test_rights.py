# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes whose credential may not do everything (roles/vault): they do without, or say that they cannot."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import VaultForbidden
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import paths
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import relayed
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process.looking_up import look_up
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import Vault
from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.memory_vault import MemoryVault

KEY = "5" * 64
OLD, NEW, OTHER = "1" * 64, "2" * 64, "3" * 64


class Restricted(MemoryVault):
    """A vault that forbids ``reading`` and ``asking`` below prefixes."""

    def __init__(self, full: MemoryVault, reading: tuple = (), asking: tuple = ()) -> None:
        self.__dict__.update(full.__dict__)
        self.reading, self.asking = reading, asking

    def _read(self, paths):
        self._check(paths, self.reading)
        return super()._read(paths)

    def _exists(self, paths):
        self._check(paths, self.asking)
        return super()._exists(paths)

    def _check(self, names, prefixes):
        if prefixes and any(name.startswith(prefixes) for name in names):
            raise VaultForbidden("the policy does not let this credential")


def record_with(agents: list[tuple[str, str]]) -> records.Record:
    """A record of one group of these (name, agent ID); shares are named after the agents' IDs."""
    recorded = tuple(records.RecordedAgent(name, one, b"", b"", "0" * 64, one) for name, one in agents)
    group = records.RecordedGroup("g", 1, "0" * 32, recorded)
    facts = dict.fromkeys(("key_owner", "usage", "algorithm", "host", "place", "created"), "x")
    return records.Record(key_id=KEY, number=1, public_key=b"", sealed_key="4" * 64, groups=(group,), **facts)


def filled(agents: list[tuple[str, str]]) -> MemoryVault:
    vault = MemoryVault()
    vault.create({"sealed/" + "4" * 64: b"sealed", **{paths.share(one, one): one.encode() for dummy, one in agents}})
    return vault


def test_an_archiver_that_may_not_compare_asks_whether_everything_is_there():
    agents = [("carol", OLD)]
    found = [record_with(agents)]
    archiver = Restricted(filled(agents), reading=("sealed/", "shares/"))
    assert records.intact(archiver, found, contents=True) == found
    assert records.intact(Restricted(MemoryVault(), reading=("sealed/",)), found, contents=True) == []
    # Who may read them compares: these are not what their names say.
    assert records.intact(filled(agents), found, contents=True) == []


def test_an_agent_gets_its_own_shares_past_those_that_are_anothers():
    agents = [("carol", OLD), ("carol", NEW), ("dave", OTHER)]
    found = [record_with(agents)]
    agent = Restricted(filled(agents), reading=(f"shares/{OLD}/", f"shares/{OTHER}/"))
    assert set(relayed._fetch_shares(agent, found, "carol")) == {NEW}
    assert relayed._fetch_shares(agent, found, "nobody") == {}
    with pytest.raises(VaultForbidden):
        relayed._fetch_shares(agent, found, "dave")


def test_a_restorer_does_not_know_the_signing_register():
    def call(*_arguments, **_keywords):
        raise AssertionError("nothing runs on a host")

    def looked_up(vault: Vault) -> object:
        params = {"keys": [{"key_id": KEY}], "request_id": None, "key_owner": None, "limit": None, "after": None}
        task = ControllerTask(params, vault, False, "localhost", "ops", call)
        return look_up(task)["results"][0]["registered_as_signing"]

    assert looked_up(Restricted(MemoryVault(), asking=("signing/",))) is None
    assert looked_up(MemoryVault()) is False
