# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contract of every vault backend (plugins/plugin_utils/vault/contract.py).

A test module makes a class of its own from it, and gives the fixture ``vault``: an open, empty vault.
"""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import ObjectNameError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.contract import CONTENT_LIMIT

KEY = "5" * 64


class VaultContract:
    """What must hold for every vault."""

    def test_creates_and_reads_back(self, vault):
        objects = {f"records/{KEY}/1": b"one", "events/000000000001": b"", f"sealed/{KEY}": bytes(range(256)) * 40}
        assert vault.create(objects) == frozenset(objects)
        assert vault.read(objects) == objects
        assert vault.exists(objects) == frozenset(objects)

    def test_never_changes_what_exists(self, vault):
        vault.create({"events/1": b"first"})
        assert vault.create({"events/1": b"second", "events/2": b"new"}) == {"events/2"}
        assert vault.create({"events/1": b"third"}) == frozenset()
        assert vault.create({"events/1": b"first"}) == frozenset()
        assert vault.read(["events/1", "events/2"]) == {"events/1": b"first", "events/2": b"new"}

    def test_answers_only_for_what_exists(self, vault):
        vault.create({"events/1": b"x"})
        assert vault.exists(["events/1", "events/2", "events/1"]) == {"events/1"}
        assert vault.read(["events/2"]) == {}
        assert vault.read([]) == {} and vault.exists([]) == frozenset() and vault.create({}) == frozenset()

    def test_many_at_once(self, vault):
        """More than one page of any server."""
        objects = {f"events/{number:012d}": b"%d" % number for number in range(1, 1102)}
        assert vault.create(objects) == frozenset(objects)
        assert vault.exists([*objects, "events/9"]) == frozenset(objects)
        assert vault.read(objects) == objects

    def test_lists_sorted_below_a_prefix_and_in_pages(self, vault):
        paths = ["records/a/1", "records/a/10", "records/a/2", "records/ab/1", "records/b/1"]
        vault.create(dict.fromkeys([*paths, "recordsx/a/1", "record/a", "signing/a"], b""))
        assert vault.list("records/") == paths
        assert vault.list("records/a/") == paths[:3]
        assert vault.list("records/c/") == []
        assert vault.list("records/", limit=2) == paths[:2]
        assert vault.list("records/", after=paths[1], limit=2) == paths[2:4]
        assert vault.list("records/", after="records/a/11") == paths[2:]
        assert vault.list("records/", after=paths[-1]) == []
        assert vault.list("records/b/", after="events/1") == paths[-1:]

    def test_destroyed_names_stay_taken(self, vault):
        vault.create({"sealed/a": b"secret", "sealed/b": b"other"})
        vault.destroy(["sealed/a", "sealed/c"])
        vault.destroy(["sealed/a"])
        assert vault.exists(["sealed/a", "sealed/b"]) == {"sealed/b"}
        assert vault.read(["sealed/a"]) == {}
        assert vault.list("sealed/") == ["sealed/a", "sealed/b"]
        # The name of what never existed is not taken.
        assert vault.create({"sealed/a": b"again", "sealed/c": b"new"}) == {"sealed/c"}
        assert vault.exists(["sealed/a"]) == frozenset()

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "events",
            "events/",
            "/events/1",
            "events//1",
            "events/../1",
            "events/1/",
            "Events/1",
            "events/A",
            "events/1\n",
            "events/a b",
            "events/%2e",
            "events/é",
            "events/" + "1" * 65,
            "a/b/c/d/e/f",
            "events\\1",
            "1/a",
        ],
    )
    def test_refuses_what_is_no_name(self, vault, path):
        with pytest.raises(ObjectNameError):
            vault.create({"events/1": b"", path: b""})
        for ask in (vault.exists, vault.read, vault.destroy):
            with pytest.raises(ObjectNameError):
                ask([path])
        assert vault.exists(["events/1"]) == frozenset()

    @pytest.mark.parametrize("prefix", ["", "events", "/", "events/../", "events//", "%/", "EVENTS/"])
    def test_refuses_what_is_no_prefix(self, vault, prefix):
        with pytest.raises(ObjectNameError):
            vault.list(prefix)

    @pytest.mark.parametrize("content", ["text", None, b"x" * (CONTENT_LIMIT + 1)])
    def test_refuses_content_that_not_every_vault_takes(self, vault, content):
        with pytest.raises(ObjectNameError):
            vault.create({"events/1": b"", "events/2": content})
        assert vault.exists(["events/1"]) == frozenset()

    def test_closing_twice_is_no_error(self, vault):
        vault.close()
        vault.close()
