# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery groups: what works is read as it is; each mistake is one error naming the group, the agent, the remedy."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError, RecoveryGroupError
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.certificates import certificate_from_pem
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.groups import (
    parse_groups,
    require_wrapping,
)

#: Certificates that openssl makes during this run are valid then.
NOW = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)


class Options:
    """Builds the option as a user would write it, from certificates that openssl made."""

    def __init__(self, workshop: Any) -> None:
        self.workshop = workshop
        self.pairs = [(workshop.make("p256").pem, workshop.make("p256").pem) for dummy in range(3)]

    def agents(self, count: int = 3) -> list[dict]:
        return [
            {"name": f"agent {n}", "encryption_certificate": pair[0], "signing_certificate": pair[1]}
            for n, pair in enumerate(self.pairs[:count], start=1)
        ]

    def group(self, **changes: Any) -> dict:
        return {"name": "admins", "threshold": 2, "agents": self.agents(), **changes}

    def with_agent(self, **changes: Any) -> dict:
        agents = self.agents()
        agents[1] = {**agents[1], **changes}
        return self.group(agents=agents)


@pytest.fixture(name="options", scope="module")
def _options(workshop: Any) -> Options:
    return Options(workshop)


def _refused(option: list[dict], *named: str, minimum: int = 2, now: datetime.datetime = NOW) -> str:
    with pytest.raises(RecoveryGroupError) as caught:
        parse_groups(option, minimum, now)
    message = str(caught.value)
    assert all(word in message for word in named), message
    return message


@pytest.mark.parametrize("encryption", ("rsa", "p256", "p384", "p521"))
@pytest.mark.parametrize("signing", ("rsa", "p256", "p384", "p521", "ed25519", "ed448"))
def test_every_type_that_can_do_the_job(encryption: str, signing: str, options: Options, workshop: Any) -> None:
    pair = [workshop.make(encryption), workshop.make(signing)]
    option = options.with_agent(encryption_certificate=pair[0].pem, signing_certificate=pair[1].pem)
    (group,) = parse_groups([option], 2, NOW)
    assert (group.name, group.threshold, len(group.agents)) == ("admins", 2, 3)
    agent = group.agents[1]
    assert (agent.name, agent.agent_id, agent.signer_id) == ("agent 2", pair[0].key_id, pair[1].key_id)
    assert (agent.encryption_certificate, agent.signing_certificate) == (pair[0].certificate, pair[1].certificate)


@pytest.mark.parametrize(
    ("encryption", "signing"),
    [
        (("rsa", "critical,keyEncipherment"), ("rsa", "digitalSignature")),
        (("rsa", "keyEncipherment,dataEncipherment"), ("p256", "nonRepudiation")),
        (("p256", "keyAgreement"), ("ed25519", "digitalSignature,nonRepudiation")),
    ],
    ids=str,
)
def test_fitting_key_usages(encryption: tuple, signing: tuple, options: Options, workshop: Any) -> None:
    made = [workshop.make(kind, f"keyUsage={usage}") for kind, usage in (encryption, signing)]
    option = options.with_agent(encryption_certificate=made[0].pem, signing_certificate=made[1].pem)
    assert len(parse_groups([option], 2, NOW)) == 1


def test_several_groups_and_text_around_the_certificate(options: Options) -> None:
    agents = [
        {**agent, "encryption_certificate": f"subject=x\n{agent['encryption_certificate']}\n"}
        for agent in options.agents()
    ]
    groups = parse_groups([options.group(), options.group(name="escrow", threshold=3, agents=agents)], 2, NOW)
    assert [(group.name, group.threshold) for group in groups] == [("admins", 2), ("escrow", 3)]


def test_m_1_needs_the_option_that_the_message_names(options: Options) -> None:
    option = [options.group(threshold=1)]
    message = _refused(option, "'admins'", "minimum_threshold: 1")
    assert "threshold is 1" in message
    assert parse_groups(option, 1, NOW)[0].threshold == 1


def test_numbers(options: Options) -> None:
    _refused([], "recovery_groups")
    _refused([options.group(threshold=4)], "'admins'", "4", "3")
    _refused([options.group(threshold=0)], "'admins'", "threshold", minimum=1)
    _refused([options.group(threshold=-1)], "'admins'", "threshold", minimum=1)
    _refused([options.group(threshold=2)], "minimum_threshold: 2", minimum=3)
    _refused([options.group(agents=[])], "'admins'", "0 agents")
    _refused([options.group(agents=options.agents() * 90)], "'admins'", "270")
    _refused([options.group()], "minimum_threshold", minimum=0)


@pytest.mark.parametrize("name", ("", " admins", "admins ", "two\nlines", "x" * 201, "tab\t", "\u202eadmins"))
def test_names_that_cannot_stand_in_a_share(name: str, options: Options) -> None:
    _refused([options.group(name=name)], "name")
    _refused([options.with_agent(name=name)], "'admins'", "agent", "name")


def test_nobody_counts_twice(options: Options, workshop: Any) -> None:
    first, second, _third = options.pairs
    _refused([options.group(), options.group()], "'admins'", "twice")
    _refused([options.with_agent(name="agent 1")], "'admins'", "'agent 1'")
    _refused([options.with_agent(encryption_certificate=first[0])], "'agent 1' and 'agent 2'", "encryption key")
    _refused([options.with_agent(signing_certificate=first[1])], "'agent 1' and 'agent 2'", "signing key")
    _refused([options.with_agent(signing_certificate=second[0])], "'agent 2'", "two keys")
    _refused([options.with_agent(signing_certificate=first[0])], "'agent 1'", "'agent 2'")


def test_one_key_in_two_certificates_is_one_key(options: Options, workshop: Any) -> None:
    made = workshop.make("p256")
    again = workshop.make("p256", key_file=made.key_file)
    agents = options.agents()
    agents[0]["encryption_certificate"], agents[2]["encryption_certificate"] = made.pem, again.pem
    _refused([options.group(agents=agents)], "'agent 1' and 'agent 3'")


@pytest.mark.parametrize(
    ("option", "kind", "usage"),
    [
        ("encryption_certificate", "rsa", "digitalSignature"),
        ("encryption_certificate", "rsa", "keyAgreement"),
        ("encryption_certificate", "rsa", "dataEncipherment"),
        ("encryption_certificate", "p256", "keyEncipherment"),
        ("encryption_certificate", "p256", "digitalSignature,nonRepudiation"),
        ("signing_certificate", "rsa", "keyEncipherment"),
        ("signing_certificate", "p256", "keyAgreement"),
        ("signing_certificate", "p256", "keyCertSign,cRLSign"),
        ("encryption_certificate", "rsa-1024", None),
        ("encryption_certificate", "rsa-pss", None),
        ("encryption_certificate", "secp256k1", None),
        ("encryption_certificate", "ed25519", None),
        ("encryption_certificate", "ed448", None),
        ("signing_certificate", "rsa-1024", None),
        ("signing_certificate", "secp256k1", None),
    ],
)
def test_certificates_that_cannot_do_the_job(
    option: str, kind: str, usage: str | None, options: Options, workshop: Any
) -> None:
    made = workshop.make(kind, *([f"keyUsage={usage}"] if usage else []))
    _refused([options.with_agent(**{option: made.pem})], "'admins'", "'agent 2'", option)


def test_validity(options: Options) -> None:
    _refused([options.group()], "'agent 1'", "expired", now=NOW + 31 * DAY)
    _refused([options.group()], "'agent 1'", "not valid yet", now=NOW - DAY)


@pytest.mark.parametrize("option", ("encryption_certificate", "signing_certificate"))
def test_what_is_not_one_certificate(option: str, options: Options, workshop: Any) -> None:
    made = workshop.make("p256")
    begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
    wrong = {
        "empty": "",
        "a path": str(made.certificate_file),
        "a chain": made.pem * 2,
        "an empty block": begin + end,
        "garbage in a block": f"{begin}bm8gY2VydGlmaWNhdGU=\n{end}",
        "cut off": made.pem[: len(made.pem) // 2],
        "a request": made.pem.replace("CERTIFICATE", "CERTIFICATE REQUEST"),
        "not text of a certificate": made.pem.replace("M", "\u00e9", 1),
    }
    for what, pem in wrong.items():
        message = _refused([options.with_agent(**{option: pem})], "'admins'", "'agent 2'", option)
        assert len(message) < 300, what


def test_a_private_key_that_was_pasted_along_is_not_shown(options: Options, workshop: Any) -> None:
    made = workshop.make("p256")
    secret = made.key_file.read_text()
    message = _refused([options.with_agent(encryption_certificate=made.pem + secret)], "'agent 2'", "disclosed")
    assert not any(line in message for line in secret.splitlines())


@given(text=st.text(max_size=60))
def test_any_text_is_one_error(text: str) -> None:
    with pytest.raises(OptionError):
        certificate_from_pem(text, "signing_certificate", NOW)
    with pytest.raises(OptionError):
        certificate_from_pem(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----", "option", NOW)


def test_a_wrapping_certificate_is_kept(options: Options, workshop: Any) -> None:
    wrapping = workshop.make("rsa", "keyUsage=critical,keyEncipherment")
    (group,) = parse_groups([options.with_agent(wrapping_certificate=wrapping.pem)], 2, NOW)
    assert [agent.wrapping_certificate for agent in group.agents] == [b"", wrapping.certificate, b""]
    with pytest.raises(RecoveryGroupError, match="'agent 1', 'agent 3' lacks"):
        require_wrapping((group,))


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_wrapping_key_is_rsa(kind: str, options: Options, workshop: Any) -> None:
    wrong = workshop.make(kind)
    _refused([options.with_agent(wrapping_certificate=wrong.pem)], "agent 2", "wrapping_certificate", "RSA")


def test_a_wrapping_certificate_must_allow_it(options: Options, workshop: Any) -> None:
    signs = workshop.make("rsa", "keyUsage=critical,digitalSignature")
    _refused([options.with_agent(wrapping_certificate=signs.pem)], "wrapping_certificate", "keyEncipherment")


def test_a_wrapping_key_is_for_nothing_else(options: Options, workshop: Any) -> None:
    """An agent opens whatever was encrypted to it, so it must not be a key that others encrypt mail or shares to."""
    same = workshop.make("rsa")
    taken = options.with_agent(encryption_certificate=same.pem, wrapping_certificate=same.pem)
    _refused([taken], "agent 2", "wrapping key")
    shared = options.group(agents=[{**agent, "wrapping_certificate": same.pem} for agent in options.agents()])
    _refused([shared], "agent 2", "wrapping key", "own one")
