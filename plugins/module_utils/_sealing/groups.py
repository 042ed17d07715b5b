# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery groups from the option ``recovery_groups``: what cannot work, or could not be opened later, is refused here.

A wrong group is found out years later, when the key is gone. So before anything is sealed:

1. every name and threshold can stand in a share text, and a threshold below ``minimum_threshold`` needs that option;
2. every certificate is exactly one, valid now, and of a type and key usage that can do its job;
3. nobody counts twice: no two agents of a group share a key, and no key both opens shares and signs approvals.

The certificates are not checked against a certification authority: whoever writes the option says whom to trust.
"""

from __future__ import annotations

import datetime
import re

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    RecoveryGroupError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import RecoveryAgent, RecoveryGroup
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import cms_parts, share_text

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
except ImportError as error:
    note_missing_library(error)

DEFAULT_MINIMUM_THRESHOLD = 2

_BLOCK = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def parse_groups(options: list[dict], minimum_threshold: int, now: datetime.datetime) -> tuple[RecoveryGroup, ...]:
    """The recovery groups of the option.

    Args:
        options: ``[{name, threshold, agents: [{name, encryption_certificate, signing_certificate}]}]``, PEM texts.
        minimum_threshold: the smallest threshold that is allowed; normally 2.
        now: aware time, to check the certificates against.

    Raises:
        RecoveryGroupError: naming the group, the agent and the remedy.
    """
    if not options:
        raise RecoveryGroupError(
            "recovery_groups is empty; name at least one group, or nobody could open the key again"
        )
    if minimum_threshold < 1:
        raise RecoveryGroupError("minimum_threshold must be 1 or more")
    groups = tuple(_group(option, minimum_threshold, now) for option in options)
    twice = _first_twice([group.name for group in groups])
    if twice is not None:
        raise RecoveryGroupError(
            f"recovery_groups: the name {twice!r} is used twice; give every group a name of its own"
        )
    return groups


def _group(option: dict, minimum_threshold: int, now: datetime.datetime) -> RecoveryGroup:
    where = f"recovery_groups: group {str(option['name'])[:200]!r}"
    _check_name(option["name"], f"{where}: its name")
    threshold, count = option.get("threshold", DEFAULT_MINIMUM_THRESHOLD), len(option["agents"])
    _check_numbers(where, threshold, count, minimum_threshold)
    agents = tuple(_agent(where, agent, now) for agent in option["agents"])
    _check_distinct(where, agents)
    return RecoveryGroup(option["name"], threshold, agents)


def _check_numbers(where: str, threshold: int, count: int, minimum_threshold: int) -> None:
    if not 1 <= count <= share_text.MAXIMUM_AGENTS:
        raise RecoveryGroupError(f"{where}: has {count} agents; name 1 to {share_text.MAXIMUM_AGENTS}")
    if threshold < 1:
        raise RecoveryGroupError(f"{where}: threshold is {threshold}; it must be 1 or more")
    if threshold > count:
        raise RecoveryGroupError(
            f"{where}: threshold is {threshold} of only {count} agents, so nobody could ever open a key; "
            "lower the threshold or name more agents"
        )
    if threshold < minimum_threshold:
        raise RecoveryGroupError(
            f"{where}: threshold is {threshold}, the minimum is {minimum_threshold}; raise the threshold, or, if fewer "
            f"agents are really meant to open keys alone, set minimum_threshold: {threshold}"
        )


def _agent(where: str, option: dict, now: datetime.datetime) -> RecoveryAgent:
    where = f"{where}, agent {str(option['name'])[:200]!r}"
    _check_name(option["name"], f"{where}: its name")
    encryption = _certificate(f"{where}: encryption_certificate", option["encryption_certificate"], now)
    signing = _certificate(f"{where}: signing_certificate", option["signing_certificate"], now)
    _check_encrypts(f"{where}: encryption_certificate", encryption)
    _check_signs(f"{where}: signing_certificate", signing)
    return RecoveryAgent(
        name=option["name"],
        agent_id=_key_id(encryption),
        signer_id=_key_id(signing),
        encryption_certificate=_der(encryption),
        signing_certificate=_der(signing),
    )


def _check_distinct(where: str, agents: tuple[RecoveryAgent, ...]) -> None:
    name = _first_twice([agent.name for agent in agents])
    if name is not None:
        raise RecoveryGroupError(f"{where}: two agents are called {name!r}; give every agent a name of its own")
    for what, ids in (("encryption", "agent_id"), ("signing", "signer_id")):
        twice = _first_twice([getattr(agent, ids) for agent in agents])
        if twice is not None:
            names = " and ".join(repr(agent.name) for agent in agents if getattr(agent, ids) == twice)
            raise RecoveryGroupError(
                f"{where}: the agents {names} have the same {what} key, so one person could count twice; "
                f"every agent needs an own {what} key"
            )
    signers = {agent.signer_id: agent.name for agent in agents}
    for agent in agents:
        if agent.agent_id in signers:
            raise RecoveryGroupError(
                f"{where}, agent {agent.name!r}: the encryption key is also the signing key of agent "
                f"{signers[agent.agent_id]!r}; use two keys, one for each job"
            )


# --- certificates ------------------------------------------------------------------------------------------------------


def _certificate(where: str, pem: str, now: datetime.datetime) -> object:
    if "PRIVATE KEY-----" in pem:
        raise RecoveryGroupError(
            f"{where}: holds a private key; give the certificate alone, and replace that key, because it was disclosed"
        )
    blocks = _BLOCK.findall(pem)
    if len(blocks) != 1 or pem.count("-----BEGIN ") != 1:
        raise RecoveryGroupError(
            f"{where}: must be one PEM certificate (BEGIN CERTIFICATE), and no chain or other block"
        )
    try:
        certificate = x509.load_pem_x509_certificate(blocks[0].encode("utf-8"))
        certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RecoveryGroupError(f"{where}: is no readable certificate; export it again as PEM") from error
    _check_valid_now(where, certificate, now)
    return certificate


def _check_valid_now(where: str, certificate: object, now: datetime.datetime) -> None:
    if now < _moment(certificate, "not_valid_before"):
        raise RecoveryGroupError(f"{where}: is not valid yet; check this machine's clock, or wait")
    if now > _moment(certificate, "not_valid_after"):
        raise RecoveryGroupError(f"{where}: has expired; give the agent's current certificate")


def _moment(certificate: object, name: str) -> datetime.datetime:
    """cryptography 42 and later have aware times; the naive ones before are UTC, and warn there."""
    if hasattr(certificate, name + "_utc"):
        return getattr(certificate, name + "_utc")
    return getattr(certificate, name).replace(tzinfo=datetime.timezone.utc)


def _check_encrypts(where: str, certificate: object) -> None:
    try:
        to = cms_parts.certificate_recipient(_der(certificate))
    except FormatError as error:
        raise RecoveryGroupError(f"{where}: {error}") from error
    usage = _key_usage(where, certificate)
    needed = "keyEncipherment" if to.is_rsa else "keyAgreement"
    if usage is not None and not (usage.key_encipherment if to.is_rsa else usage.key_agreement):
        raise RecoveryGroupError(
            f"{where}: its key usage does not allow {needed}; give the agent's encryption certificate"
        )


def _check_signs(where: str, certificate: object) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        fits = key.key_size >= cms_parts.MINIMUM_RSA_BITS
    elif isinstance(key, ec.EllipticCurvePublicKey):
        fits = key.curve.name in cms_parts.CURVES
    else:
        fits = isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey))
    if not fits:
        raise RecoveryGroupError(
            f"{where}: its key cannot sign approvals; use RSA of at least 2048 bits, P-256, P-384, P-521, Ed25519 or Ed448"
        )
    usage = _key_usage(where, certificate)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise RecoveryGroupError(
            f"{where}: its key usage allows neither digitalSignature nor contentCommitment; "
            "give the agent's signing certificate"
        )


def _key_usage(where: str, certificate: object) -> object:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
    except ValueError as error:
        raise RecoveryGroupError(
            f"{where}: its extensions cannot be read; let its issuer make a correct one"
        ) from error


# --- small things ------------------------------------------------------------------------------------------------------


def _check_name(name: object, what: str) -> None:
    try:
        share_text.check_name(name, what)
    except FormatError as error:
        raise RecoveryGroupError(str(error)) from error


def _key_id(certificate: object) -> str:
    return canonical.digest(
        certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _der(certificate: object) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _first_twice(items: list[str]) -> str | None:
    return next((item for place, item in enumerate(items) if item in items[:place]), None)
