# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that says of a key what is not so hides no other host's weak key, and is told."""

from __future__ import annotations

import gathered_facts as made
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.keyops.lifecycle.tests.unit.plugins.plugin_utils.audit.conftest import told

_WEAK = rsa.generate_private_key(65537, 1024)


@pytest.mark.parametrize("with_public_key", [True, False])
@pytest.mark.parametrize("name", ["a-liar", "z-liar"])
@pytest.mark.parametrize("lie", ["row", "row with its key", "row with another key", "public key"])
def test_no_host_hides_the_weak_key_of_another(audit, lie, name, with_public_key):
    weak, liar = made.Host(), made.Host()
    public = {} if with_public_key else {"public_key": None}
    key_id = weak.key("/weak", _WEAK, algorithm="rsa-1024", usage="authentication", **public)
    if lie == "public key":
        liar.public_keys[key_id] = made.pem(made.new_key()).split("-----")[2].strip()
    else:
        sent = {"row": None, "row with its key": made.pem(_WEAK), "row with another key": made.pem(made.new_key())}[lie]
        liar.key("/lie", _WEAK, algorithm="rsa-4096", usage="authentication", public_key=sent)
    found = told(audit({name: liar, "m": weak}))
    assert ("KL001", "m", "/weak") in found
    place = "" if lie == "public key" else "/lie"
    assert (("KL030", name, place) in found) == (lie != "row")
    assert not [row for row in found if row[:2] == ("KL030", "m")]


def test_true_rows_contradict_nothing(audit):
    host = made.Host()
    host.key("/pss", rsa.generate_private_key(65537, 2048), algorithm="rsassa-pss")
    host.key("/rsa", rsa.generate_private_key(65537, 2048), algorithm="rsa-2048")
    host.key("/ec")
    host.public_keys[made.key_id_of(_WEAK)] = made.pem(_WEAK).split("-----")[2].strip()
    assert "KL030" not in {row[0] for row in told(audit({"web1": host}))}
