# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sealing to groups and opening with a quorum: every quorum opens, nothing less does, every mix-up is named."""

from __future__ import annotations

import itertools
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    DigestMismatch,
    OpenError,
    OptionError,
    QuorumNotReached,
    ShareMismatch,
    SigningUsageRefused,
    UsageAlgorithmRefused,
    UsageConflictRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import pkcs8
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import (
    cms_open,
    cms_seal,
    open_key,
    seal_key,
    share_text,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import SealedKey, Share

GROUPS = st.lists(st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))), min_size=1, max_size=3)


def _shares(sealed: SealedKey, place: int, cast: Any) -> list[Share]:
    """Every agent opens its share of one group with its own key."""
    shares = []
    for sealed_share in sealed.groups[place].shares:
        agent = sealed_share.agent
        text = cms_open.open_with_key(
            sealed_share.message, cast.keys[agent.agent_id].private_key, agent.encryption_certificate
        )
        shares.append(share_text.parse(text))
    return shares


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=GROUPS)
def test_every_quorum_of_every_group_opens_and_nothing_less(
    numbers: list[tuple[int, int]], workshop: Any, cast: Any
) -> None:
    key = workshop.private_key("p256", "key_agreement")
    groups = tuple(cast.group(f"group {n}", *pair) for n, pair in enumerate(numbers))
    sealed = seal_key.seal(key, "key_agreement", "Zoë", groups)
    for place, (threshold, _count) in enumerate(numbers):
        shares = _shares(sealed, place, cast)
        quorums = list(itertools.combinations(shares, threshold))
        for quorum in random.sample(quorums, min(4, len(quorums))):
            assert open_key.combine_and_open(sealed.message, sealed.digest, list(quorum)) == key.pkcs8
        for fewer in ([], shares[: threshold - 1], shares[: threshold - 1] * 2):
            with pytest.raises(QuorumNotReached):
                open_key.combine_and_open(sealed.message, sealed.digest, fewer)


def test_the_parts_name_each_other(workshop: Any, cast: Any) -> None:
    key = workshop.private_key("rsa", "key_transport")
    groups = (cast.group("admins", 2, 3), cast.group("escrow", 1, 2))
    sealed = seal_key.seal(key, "key_transport", "mail", groups)
    assert sealed.digest == canonical.digest(sealed.message)
    assert list(cms_open.kek_ids(sealed.message)) == [group.kek_id for group in sealed.groups]
    assert [group.name for group in sealed.groups] == ["admins", "escrow"]
    for place, group in enumerate(sealed.groups):
        shares = _shares(sealed, place, cast)
        assert [share.agent_id for share in shares] == [agent.agent_id for agent in groups[place].agents]
        for share, sealed_share in zip(shares, group.shares):
            assert share_text.values_digest(share.values) == sealed_share.share_digest
            assert share.share_digests == tuple(other.share_digest for other in group.shares)
            assert (share.key_id, share.sealed_key, share.kek_id) == (key.facts.key_id, sealed.digest, group.kek_id)
            assert (share.key_owner, share.usage, share.group) == ("mail", "key_transport", group.name)


def test_a_key_from_elsewhere_is_sealed_with_its_usage(workshop: Any, cast: Any) -> None:
    key = workshop.private_key("rsa")
    assert pkcs8.parse(key.pkcs8).usage is None
    sealed = seal_key.seal(key, "key_transport", "mail", (cast.group("one", 1, 1),))
    opened = open_key.combine_and_open(sealed.message, sealed.digest, _shares(sealed, 0, cast))
    assert pkcs8.parse(opened).usage == "key_transport"
    assert _public_key(opened) == key.facts.public_key


@pytest.mark.parametrize("kind", ("x25519", "x448"))
def test_keys_of_other_curves_are_sealed(kind: str, workshop: Any, cast: Any) -> None:
    key = workshop.private_key(kind, "key_agreement")
    sealed = seal_key.seal(key, "key_agreement", "mail", (cast.group("one", 1, 1),))
    assert open_key.combine_and_open(sealed.message, sealed.digest, _shares(sealed, 0, cast)) == key.pkcs8


def _public_key(der: bytes) -> bytes:
    command = ["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"]
    return subprocess.run(command, input=der, capture_output=True, check=True).stdout


def test_openssl_and_ssss_combine_open_it_without_us(workshop: Any, cast: Any, tmp_path: Path, openssl: Any) -> None:
    key = workshop.private_key("rsa", "key_transport")
    sealed = seal_key.seal(key, "key_transport", "mail", (cast.group("admins", 3, 6),))
    lines = []
    for sealed_share in random.sample(sealed.groups[0].shares, 3):
        made = cast.keys[sealed_share.agent.agent_id]
        (tmp_path / "share").write_bytes(sealed_share.message)
        recipient = ("-inkey", made.key_file, "-recip", made.certificate_file)
        text = openssl("cms", "-decrypt", "-binary", "-inform", "DER", "-in", tmp_path / "share", *recipient)
        lines.append(text.decode().splitlines()[-2:])
    kek = "".join(_ssss_combine([values[half] for values in lines]) for half in (0, 1))
    (tmp_path / "sealed").write_bytes(sealed.message)
    secret = ("-secretkey", kek, "-secretkeyid", sealed.groups[0].kek_id)
    opened = openssl("cms", "-decrypt", "-binary", "-inform", "DER", "-in", tmp_path / "sealed", *secret)
    assert opened == key.pkcs8


def _ssss_combine(lines: list[str]) -> str:
    command = ["ssss-combine", "-t", str(len(lines)), "-x", "-D", "-q"]
    result = subprocess.run(command, input="\n".join([*lines, ""]), capture_output=True, check=True, text=True)
    return result.stderr.splitlines()[-1]  # before it may stand a warning that memory cannot be locked


# --- what is never sealed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bound", "usage", "expected"),
    [
        ("rsa", None, "signature", SigningUsageRefused),
        ("rsa", "signature", "signature", SigningUsageRefused),
        ("rsa", None, "certificate_signing", SigningUsageRefused),
        ("p256", None, "authentication", SigningUsageRefused),
        ("rsa", "signature", "key_transport", UsageConflictRefused),
        ("p256", "authentication", "key_agreement", UsageConflictRefused),
        ("p256", None, "key_transport", UsageAlgorithmRefused),
        ("rsa", None, "key_agreement", UsageAlgorithmRefused),
        ("ed25519", None, "key_agreement", UsageAlgorithmRefused),
        ("ed448", None, "key_transport", UsageAlgorithmRefused),
        ("rsa-pss", None, "key_transport", UsageAlgorithmRefused),
    ],
)
def test_signing_keys_are_never_sealed(
    kind: str, bound: str | None, usage: str, expected: type, workshop: Any, cast: Any
) -> None:
    key = workshop.private_key(kind, bound)
    lying = replace(key, facts=replace(key.facts, bound_usage=None))  # the bytes decide, not what was noted
    for given_key in (key, lying):
        with pytest.raises(expected):
            seal_key.seal(given_key, usage, "mail", (cast.group("one", 1, 1),))


@pytest.mark.parametrize("owner", ("", " mail", "two\nlines", "x" * 201))
def test_a_bad_owner_is_an_option_error(owner: str, workshop: Any, cast: Any) -> None:
    with pytest.raises(OptionError):
        seal_key.seal(workshop.private_key("p256"), "key_agreement", owner, (cast.group("one", 1, 1),))


def test_without_a_group_nothing_is_sealed(workshop: Any) -> None:
    with pytest.raises(OptionError):
        seal_key.seal(workshop.private_key("p256"), "key_agreement", "mail", ())


# --- bad shares ----------------------------------------------------------------------------------------------------


@pytest.fixture(name="opened", scope="module")
def _opened(workshop: Any, cast: Any) -> tuple[SealedKey, list[Share]]:
    key = workshop.private_key("p256", "key_agreement")
    sealed = seal_key.seal(key, "key_agreement", "mail", (cast.group("admins", 2, 3), cast.group("escrow", 2, 3)))
    return sealed, _shares(sealed, 0, cast)


@pytest.mark.parametrize(
    "change",
    [
        {"values": ("2-" + "0" * 32, "2-" + "0" * 32)},
        {"values": ("1-" + "0" * 32, "1-" + "0" * 32)},
        {"sealed_key": "0" * 64},
        {"kek_id": "0" * 32},
        {"key_id": "0" * 64},
        {"key_owner": "somebody else"},
        {"group": "others"},
        {"usage": "key_transport"},
        {"threshold": 3},
        {"agents": 2, "share_digests": ("0" * 64, "0" * 64)},
        {"share_digests": ("0" * 64,) * 3},
    ],
    ids=", ".join,
)
def test_a_bad_share_is_named(change: dict, opened: tuple[SealedKey, list[Share]]) -> None:
    sealed, (first, second, _third) = opened
    bad = replace(second, **change)
    with pytest.raises(ShareMismatch) as caught:
        open_key.combine_and_open(sealed.message, sealed.digest, [first, bad])
    assert bad.agent_id in str(caught.value)
    assert bad.values[0] not in str(caught.value)


def test_shares_of_two_groups_do_not_mix(opened: tuple[SealedKey, list[Share]], cast: Any) -> None:
    sealed, shares = opened
    with pytest.raises(ShareMismatch):
        open_key.combine_and_open(sealed.message, sealed.digest, [shares[0], _shares(sealed, 1, cast)[1]])


def test_one_share_under_two_names_is_one(opened: tuple[SealedKey, list[Share]]) -> None:
    sealed, (first, second, _third) = opened
    with pytest.raises(QuorumNotReached):
        open_key.combine_and_open(sealed.message, sealed.digest, [first, replace(first, agent_id=second.agent_id)])


def test_another_sealed_key_is_refused(opened: tuple[SealedKey, list[Share]]) -> None:
    sealed, shares = opened
    other = cms_seal.seal_with_keks(b"another", [(sealed.groups[0].kek_id, b"k" * 32)])
    with pytest.raises(DigestMismatch):
        open_key.combine_and_open(other, sealed.digest, shares[:2])
    with pytest.raises(ShareMismatch):
        open_key.combine_and_open(other, canonical.digest(other), shares[:2])
    relabelled = [replace(share, sealed_key=canonical.digest(other)) for share in shares[:2]]
    with pytest.raises(OpenError):
        open_key.combine_and_open(other, canonical.digest(other), relabelled)
