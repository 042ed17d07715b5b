# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attacks on the session keys of keys from tokens (docs/threat-model.md), each refused with its own error.

The token's part is played here with cryptography, since the attackers have no token; agents, requests, vault and the
recovering host are the product. Real tokens are in tests/integration/test_token_archive.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import story
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AgentUnknown,
    ApprovalMismatch,
    FileNotAllowed,
    OpenError,
    RecoveryGroupError,
    ShareMismatch,
    WrappedKeyNotProven,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, paths, record, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._recovery import approval as approvals
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import wrapped_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.groups import parse_groups
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.model import RecoveryAgent, RecoveryGroup
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.seal_key import seal_token_key
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.wrapped_key import TokenKey, WrappedKey
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

Wrap = Callable[["TokenOwner", RecoveryGroup, RecoveryAgent], WrappedKey]


@dataclass
class TokenOwner:
    """A host with a key on a token, as far as archiving sees it; or somebody who says so."""

    machine: story.Machine
    scene: story.Scene

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.public_key = self.key.public_key().public_bytes(*form)
        self.key_id = identity.key_id(self.public_key)
        self.session_key = os.urandom(32)

    def archive(self, wrap: Wrap) -> None:
        """Write sealed key, shares and record, as whoever may create objects can."""
        content = self.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        groups = parse_groups(self.scene.groups(), 2, times.now())
        facts = KeyFacts(self.key_id, "ec-p256", self.public_key, "key_agreement", "token")
        keys = {(group.name, agent.agent_id): wrap(self, group, agent) for group in groups for agent in group.agents}
        blob = aes_key_wrap_with_padding(self.session_key, content)
        sealed = seal_token_key(TokenKey(facts, "aes-kwp", blob, keys), "key_agreement", self.machine.name, groups)
        place = "pkcs11:token=ops;object=mail?module-path=/usr/lib/libtoken.so"
        with open_vault({"path": str(self.scene.vault_path)}, False, make=True) as vault:
            vault.create(records.objects_of(sealed))
            records.add(vault, records.record_of(sealed, facts, host=self.machine.name, place=place))

    def ask(self) -> str:
        return self.scene.ask(self.machine, [self.key_id])

    def approve(self, number: int, request_id: str, **more: object) -> dict:
        options = {"allow_file": True, **more}
        return self.scene.agents[number].approve(self.scene.vault_path, request_id, self.machine.name, **options)

    def recover(self, request_id: str) -> dict:
        return self.scene.recover(self.machine, request_id, self.key_id)["results"][0]


def to_agent(agent: RecoveryAgent, secret: bytes) -> bytes:
    """What anybody can encrypt to the agent's wrapping certificate."""
    public_key = x509.load_der_x509_certificate(agent.wrapping_certificate).public_key()
    method = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return public_key.encrypt(secret, method)


def mac(key: bytes, statement: bytes) -> str:
    made = CMAC(algorithms.AES(key))
    made.update(statement)
    return made.finalize().hex()


def statement_for(owner: TokenOwner, group: RecoveryGroup, agent: RecoveryAgent) -> bytes:
    return wrapped_key.statement(owner.key_id, owner.machine.name, group.name, agent.agent_id)


def honest(owner: TokenOwner, group: RecoveryGroup, agent: RecoveryAgent) -> WrappedKey:
    """What a token does."""
    named = identity.key_id_of_certificate(agent.wrapping_certificate)
    proof = mac(owner.session_key, statement_for(owner, group, agent))
    return WrappedKey("aes-kwp", named, "sha256", to_agent(agent, owner.session_key), proof)


@pytest.fixture(scope="module", params=["file", "card"])
def enrolled(request, tmp_path_factory):
    """Two agents to whom tokens can wrap, with their keys in files, or on SoftHSM as a card."""
    folder = tmp_path_factory.mktemp("agents")
    kind = {"file": "EC:P-256", "card": "RSA:2048"}[request.param]  # softhsm2-util imports no key that agrees
    agents = [story.make_agent(folder, name, kind, wrapping="RSA:2048") for name in ("agent-1", "agent-2")]
    for agent in agents if request.param == "card" else ():
        agent.take_card()
    return agents


@pytest.fixture
def owner(enrolled, tmp_path):
    scene = story.Scene(tmp_path, list(enrolled))
    return TokenOwner(scene.machine("mail1"), scene)


def test_the_honest_way_gives_the_key_into_a_file(owner):
    owner.archive(honest)
    request_id = owner.ask()
    for number in (0, 1):
        (row,) = owner.approve(number, request_id)["results"]
        assert row["changed"] and row["usages"] == ["key_agreement"] and row["target"] is None
        assert not owner.approve(number, request_id)["results"][0]["changed"]
    assert owner.recover(request_id)["agents"] == ["agent-1", "agent-2"]
    back = serialization.load_pem_private_key((owner.machine.folder / "mail.key").read_bytes(), None)
    assert back.private_numbers() == owner.key.private_numbers()


#: What a forger may put beside the OAEP value of somebody else's message.
FORGERIES = {
    "a MAC under a key of its own": lambda victim, forger, group, agent: mac(
        forger.session_key, statement_for(forger, group, agent)
    ),
    "the victim's own MAC": lambda victim, forger, group, agent: mac(
        victim.session_key, statement_for(victim, group, agent)
    ),
    "nothing": lambda victim, forger, group, agent: "00" * 16,
}


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_share_with_somebody_elses_value_opens_nothing(how, owner):
    """The oracle attack: the agents are to open the victim's session key for the forger's own request."""
    forger = TokenOwner(owner.scene.machine("mallory"), owner.scene)

    def forged(forger: TokenOwner, group: RecoveryGroup, agent: RecoveryAgent) -> WrappedKey:
        taken = honest(owner, group, agent)
        return replace(taken, mac=FORGERIES[how](owner, forger, group, agent))

    forger.archive(forged)
    request_id = forger.ask()
    for number in (0, 1):
        with pytest.raises(WrappedKeyNotProven):
            forger.approve(number, request_id)
    with open_vault({"path": str(owner.scene.vault_path)}, False) as vault:
        assert not list(vault.list("approvals/"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda owner, group, agent, good: replace(good, ciphertext=os.urandom(256)),
        lambda owner, group, agent, good: replace(
            good,
            ciphertext=to_agent(agent, owner.session_key[:16]),
            mac=mac(owner.session_key[:16], statement_for(owner, group, agent)),
        ),
        lambda owner, group, agent, good: replace(good, oaep_hash="sha1"),
        lambda owner, group, agent, good: replace(
            good, mac=mac(owner.session_key, wrapped_key.statement(owner.key_id, "mail1", "another", agent.agent_id))
        ),
        lambda owner, group, agent, good: replace(
            good, mac=mac(owner.session_key, wrapped_key.statement(owner.key_id, "mail1", group.name, "0" * 64))
        ),
    ],
    ids=["no OAEP value", "a short key", "another hash", "another group's MAC", "another agent's MAC"],
)
def test_every_other_value_ends_in_the_same_error(spoil, owner):
    owner.archive(lambda one, group, agent: spoil(one, group, agent, honest(one, group, agent)))
    with pytest.raises(WrappedKeyNotProven):
        owner.approve(0, owner.ask())


def test_the_agent_needs_its_wrapping_key(owner, tmp_path):
    owner.archive(honest)
    request_id = owner.ask()
    other = owner.scene.agents[1].folder / "wrapping.key"
    for wrapping_key in (None, str(other)):
        with pytest.raises(AgentUnknown):
            owner.approve(0, request_id, wrapping_key=wrapping_key)


def test_a_file_needs_every_agents_word(owner):
    owner.archive(honest)
    request_id = owner.ask()
    with pytest.raises(FileNotAllowed):
        owner.approve(0, request_id, allow_file=False)
    for number in (0, 1):
        owner.approve(number, request_id)
    # An agent's word is signed: it cannot be added on the way, only left out.
    owner.machine.on_relay = _changing_approvals(owner, lambda one: replace(one, allow_file=False))
    with pytest.raises(FileNotAllowed):
        owner.recover(request_id)
    owner.machine.on_relay = _changing_approvals(owner, _without_session_key)
    with pytest.raises(ApprovalMismatch):
        owner.recover(request_id)


def _without_session_key(one: approvals.Approval) -> approvals.Approval:
    shares = (replace(one.shares[0], wrapped_key=b""), replace(one.shares[0], group="another"))
    return replace(one, shares=shares)


def _changing_approvals(owner: TokenOwner, change: Callable) -> Callable:
    """Agents whose approvals are other than the product's: signed by their own keys."""

    def on_relay(step: str | None, relay: dict | None) -> dict | None:
        if step != "recover" or relay is None:
            return relay
        given = relay["keys"][owner.key_id]["approvals"]
        for agent in owner.scene.agents:
            key = serialization.load_pem_private_key((agent.folder / "signing.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((agent.folder / "encryption.pem").read_bytes())
            agent_id = identity.key_id_of_public_key(certificate.public_key())
            envelope = canonical.decode(given[agent_id][-1])
            payload = canonical.loads(envelope)["payload"]
            one = approvals.parse(canonical.decode(payload))
            given[agent_id] = [canonical.encode(approvals.sign(change(one), key))]
        return relay

    return on_relay


def test_one_agents_false_session_key_does_not_stop_the_others(owner):
    owner.archive(honest)
    request_id = owner.ask()
    for number in (0, 1):
        owner.approve(number, request_id)
    first = []

    def spoil(one: approvals.Approval) -> approvals.Approval:
        first.append(one)
        spoilt = replace(one, shares=(replace(one.shares[0], wrapped_key=one.shares[0].message),))
        return spoilt if len(first) == 1 else one

    owner.machine.on_relay = _changing_approvals(owner, spoil)
    assert owner.recover(request_id)["changed"]


def test_a_record_that_says_file_does_not_fit_a_share_from_a_token(owner):
    owner.archive(honest)
    path = paths.record(owner.key_id, 1)
    with open_vault({"path": str(owner.scene.vault_path)}, False) as vault:
        genuine = record.parse(vault.read([path])[path])
    groups = tuple(
        replace(group, agents=tuple(replace(agent, wrapping_certificate=b"") for agent in group.agents))
        for group in genuine.groups
    )
    edited = canonical.encode(record.dump(replace(genuine, wrapping="", groups=groups)))
    request_id = owner.ask()

    def on_relay(step: str | None, relay: dict) -> dict:
        relay["keys"][owner.key_id]["records"] = [edited]
        return relay

    with pytest.raises(ShareMismatch):
        owner.approve(0, request_id, on_relay=on_relay)


def test_the_content_type_is_part_of_what_is_sealed(owner):
    """A sealed key of a token does not open as one of a file, nor the other way round."""
    from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_open, cms_parts, cms_seal

    kek_id, kek = "00" * 16, os.urandom(32)
    for sealed_as, opened_as in ((cms_parts.DATA, cms_parts.TOKEN_KEY), (cms_parts.TOKEN_KEY, cms_parts.DATA)):
        message = cms_seal.seal_with_keks(b"content", [(kek_id, kek)], sealed_as)
        assert cms_open.open_with_kek(message, kek_id, kek, sealed_as) == b"content"
        with pytest.raises(OpenError):
            cms_open.open_with_kek(message, kek_id, kek, opened_as)


def test_an_agents_wrapping_key_is_not_archived_to_its_group(owner):
    host = owner.machine
    (host.folder / "mail.key").write_bytes((owner.scene.agents[1].folder / "wrapping.key").read_bytes())
    (host.folder / "mail.key").chmod(0o600)
    item = {"usage": "key_transport", "accept_declared_usage": True}
    with pytest.raises(RecoveryGroupError, match=r"mail\.key is the wrapping key of the agent 'agent-2'"):
        owner.scene.archive(host, item=item)
