# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The usage attribute reads as docs/formats.md says: exact sets, two tolerant rules, and everything else a conflict."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, usage_attribute
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import (
    CONFLICT,
    KEY_USAGE_BITS,
    USAGE_BITS,
)


def attribute(*values):
    return der.read(der.write(der.SEQUENCE, der.oid("2.5.29.15"), der.write(der.SET, *values)))


OTHER = der.read(der.write(der.SEQUENCE, der.oid("2.5.29.14"), der.write(der.SET)))


@pytest.mark.parametrize("usage", USAGE_BITS)
def test_what_is_written_is_read(usage):
    written = der.read(usage_attribute.encode(usage))
    assert usage_attribute.read([OTHER, written]) == usage


def test_all_512_sets():
    """Only sets within the two tolerant rules are nonsigning; nothing with a signing bit ever is."""
    signing = {"digitalSignature", "nonRepudiation", "keyCertSign", "cRLSign"}
    counts = {}
    for size in range(10):
        for names in itertools.combinations(KEY_USAGE_BITS, size):
            usage = usage_attribute.usage_of(frozenset(names))
            counts[usage] = counts.get(usage, 0) + 1
            if set(names) & signing:
                assert usage not in usage_attribute.NONSIGNING
    assert counts == {
        "signature": 1, "certificate_signing": 1, "authentication": 1, "key_transport": 3, "key_agreement": 4,
        CONFLICT: 502,
    }  # fmt: skip


def test_none_is_not_a_conflict():
    assert usage_attribute.read([]) is None
    assert usage_attribute.read([OTHER]) is None


@pytest.mark.parametrize(
    "attributes",
    [
        [attribute(), attribute()],
        [attribute(bytes.fromhex("03020430")), attribute(bytes.fromhex("03020430"))],
        [attribute()],
        [attribute(bytes.fromhex("03020430"), bytes.fromhex("03020430"))],
        [attribute(bytes.fromhex("030100"))],
        [attribute(bytes.fromhex("03020830"))],
        [attribute(bytes.fromhex("04020430"))],
        [attribute(bytes.fromhex("030400303030"))],
        [attribute(bytes.fromhex("0303003040"))],
        [der.read(der.write(der.SEQUENCE, der.oid("2.5.29.15")))],
        [der.read(der.write(der.SEQUENCE, der.oid("2.5.29.15"), b"\x30"))],
        [der.read(der.write(der.SEQUENCE, der.oid("2.5.29.15"), der.write(der.SEQUENCE, bytes.fromhex("03020430"))))],
    ],
)
def test_malformed_attributes_are_a_conflict(attributes):
    assert usage_attribute.read(attributes) == CONFLICT
