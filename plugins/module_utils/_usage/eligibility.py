# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides whether a key may be archived. A signing key never is: not by option, not by mislabelling.

``judge`` goes through these steps in this order, and the first that objects is the refusal; so one key has one class:

 1. SigningOnlyTypeRefused: keys of its type can only sign, whatever is declared.
 2. OpenSshKeyRefused: OpenSSH's own format.
 3. SshUseRefused: the public key stands in authorized_keys, is a host key, has an SSH ``.pub`` file or certificate in
    its folder, or lies in a folder of SSH's own.
 4. SigningUsageRefused: the usage that is declared, bound to the key or in its receipt signs or authenticates; or, as
    SigningAttributeRefused, the key's attributes on its token let it sign.
 5. UnknownUsageRefused: nothing says a usage (the types X25519 and X448 say it themselves).
 6. UsageAlgorithmRefused: the algorithm cannot have one of the usages that are said.
 7. UsageConflictRefused: the usages that are said differ.
 8. SigningCertificateRefused: a certificate or request for this key has digitalSignature, nonRepudiation
    (contentCommitment), keyCertSign, cRLSign, or a bit that no standard knows.
 9. NoKeyUsageRefused: one has no key usage extension, no bit set in it, or cannot be read that far.
10. ExtendedKeyUsageRefused: one has an extended key usage beyond those for encryption (usages.py), or an empty one.
11. UsageConflictRefused: one has a nonsigning key usage, but not that of this key, or both.
12. ForeignCertificateRefused: a file that was named for this key has certificates or requests, and none is for it.
13. EvidenceNotReadable: something in the key's own folder begins like a certificate or request and cannot be looked at
    (too large, broken), or cannot even be opened.
14. DeclaredUsageOnlyRefused: the declared usage is all there is: no bound usage, no receipt, no certificate or request
    with a nonsigning key usage; unless the user vouches for it (``accept_declared_usage``).

Steps 8 to 11 look at all certificates, named or found, one step after the other. A named file may hold other
certificates beside the key's own: a chain. Everything is an allow-list: what is unknown is refused.

Residual: a host that lies about its keys can archive its own mislabelled key (docs/threat-model.md); the vault's
signing register (``judge_against_vault``) and the fleet audit stand behind this.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AlgorithmError,
    DeclaredUsageOnlyRefused,
    EvidenceNotReadable,
    ExtendedKeyUsageRefused,
    ForeignCertificateRefused,
    FrozenRefused,
    NoKeyUsageRefused,
    OpenSshKeyRefused,
    SigningAttributeRefused,
    SigningCertificateRefused,
    SigningOnlyTypeRefused,
    SigningRegisterRefused,
    SigningUsageRefused,
    SshUseRefused,
    UnknownUsageRefused,
    UsageAlgorithmRefused,
    UsageConflictRefused,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.usage_attribute import CONFLICT, usage_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import usages
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts, Evidence


def judge(evidence: Evidence) -> str:
    """The one nonsigning usage of a key that may be archived.

    Raises:
        ArchiveRefusal: a subclass of it, by the steps above.
    """
    _judge_type(evidence)  # 1
    _judge_ssh(evidence)  # 2, 3
    usage = _judge_usage(evidence)  # 4, 5, 6, 7
    own = tuple(one for one in (*evidence.named, *evidence.found) if one.key_id == evidence.facts.key_id)
    _judge_key_usages(own)  # 8, 9
    _judge_extended_key_usages(own)  # 10
    _judge_agreement(own, usage)  # 11
    _judge_named(evidence)  # 12
    _judge_not_readable(evidence)  # 13
    _judge_confirmation(evidence, own)  # 14
    return usage


def judge_declared(name: str, usage: str | None) -> None:
    """Step 4 for a key that does not exist yet: of it nothing but the declared usage can be known.

    Raises:
        SigningUsageRefused
    """
    if usage is not None:
        _judge_signing(name, "the declared usage", usage)


def judge_against_vault(key_id: str, registered: bool, frozen: str | None) -> None:
    """Refuse a key that the vault knows better; the register goes before the freeze.

    Args:
        key_id: of the key.
        registered: whether the vault's signing register has the key.
        frozen: why the key is frozen, or None.

    Raises:
        SigningRegisterRefused, FrozenRefused
    """
    if registered:
        raise SigningRegisterRefused(
            f"{_short(key_id)}: the vault's signing register has this key, so it was made to sign. A signing key is "
            "never archived; make a new key with the usage key_transport or key_agreement for encryption."
        )
    if frozen is not None:
        raise FrozenRefused(
            f"{_short(key_id)}: this key is frozen ({frozen}). Look at the evidence in the event log, revoke its "
            "certificates, and make a new key."
        )


def _judge_type(evidence: Evidence) -> None:
    algorithm = evidence.facts.algorithm
    if usages.can_only_sign(algorithm):
        raise SigningOnlyTypeRefused(
            f"{_name(evidence)}: keys of the type {algorithm} can only sign, and a signing key is never archived. For "
            "encryption make a key of the algorithm rsa-3072 (key_transport), ec-p256 or x25519 (key_agreement)."
        )


def _judge_ssh(evidence: Evidence) -> None:
    if evidence.facts.container == "openssh":
        raise OpenSshKeyRefused(
            f"{_name(evidence)}: this key is in OpenSSH's own format, so it authenticates, and such a key is never "
            "archived. Make a new key for encryption."
        )
    if evidence.ssh_uses:
        raise SshUseRefused(
            f"{_name(evidence)}: the key stands in {_listed(evidence.ssh_uses)}, so it authenticates for SSH, and such "
            "a key is never archived. Make a new key for encryption, in a folder that is not SSH's."
        )


def _said(evidence: Evidence) -> dict[str, str]:
    """Every usage that something says, by who says it."""
    said = {
        "the usage in the key itself": evidence.facts.bound_usage,
        "the declared usage": evidence.declared_usage,
        "the usage in this host's receipt": evidence.receipt_usage,
        "the usage of its type": usages.usage_of_type(evidence.facts.algorithm),
    }
    return {who: usage for who, usage in said.items() if usage is not None}


def _judge_usage(evidence: Evidence) -> str:
    said = _said(evidence)
    if evidence.facts.container == "token" and evidence.facts.bound_usage in usages.SIGNING:
        raise SigningAttributeRefused(
            f"{_name(evidence)}: the token lets this key sign (SIGN or SIGN_RECOVER is set), so it may have signed, "
            "and a signing key is never archived. Make a new key with the usage key_transport or key_agreement."
        )
    for who, usage in said.items():
        _judge_signing(_name(evidence), who, usage)
    if not said:
        raise UnknownUsageRefused(
            f"{_name(evidence)}: nothing says what this key is for. Declare it with usage: key_transport or "
            "key_agreement if it has never signed, and name its certificates."
        )
    for who, usage in said.items():
        if usage != CONFLICT:
            _judge_algorithm(evidence, who, usage)
    if CONFLICT in said.values():
        raise UsageConflictRefused(
            f"{_name(evidence)}: the key itself carries several usages at once, or one that cannot be read. One key "
            "has one usage: make a new key."
        )
    if len(set(said.values())) > 1:
        differing = ", ".join(f"{who} is {usage}" for who, usage in said.items())
        raise UsageConflictRefused(
            f"{_name(evidence)}: {differing}. One key has one usage: correct the option usage, or make a new key."
        )
    return next(iter(said.values()))


def _judge_signing(name: str, who: str, usage: str) -> None:
    if usage in usages.SIGNING:
        raise SigningUsageRefused(
            f"{name}: {who} is {usage}, and a key that signs or authenticates is never archived. It can be replaced "
            "when it is lost: make a new one and have it certified."
        )


def _judge_algorithm(evidence: Evidence, who: str, usage: str) -> None:
    try:
        usages.check_algorithm(usage, evidence.facts.algorithm)
    except AlgorithmError as error:
        raise UsageAlgorithmRefused(
            f"{_name(evidence)}: {who} is {usage}, which a key of the type {evidence.facts.algorithm} cannot have. "
            "RSA keys can have key_transport; P-256, P-384, P-521, X25519 and X448 keys key_agreement."
        ) from error


def _judge_key_usages(own: tuple[CertificateFacts, ...]) -> None:
    for one in own:
        signing = [bit for bit in one.key_usage or () if bit not in usages.NONSIGNING_BITS]
        if signing:
            raise SigningCertificateRefused(
                f"{one.source}: this {one.kind} for the key allows {_listed(signing)}, so the key may have signed, "
                "and a signing key is never archived. Make a separate key for encryption, with a certificate of its "
                "own."
            )
    for one in own:
        if not one.key_usage:
            raise NoKeyUsageRefused(
                f"{one.source}: this {one.kind} for the key has no readable key usage, which allows everything, "
                "signing too. Make a new key for encryption and have it certified with keyEncipherment or "
                "keyAgreement."
            )


def _judge_extended_key_usages(own: tuple[CertificateFacts, ...]) -> None:
    for one in own:
        if one.extended_key_usage is None:
            continue
        beyond = [oid for oid in one.extended_key_usage if oid not in usages.NONSIGNING_EXTENDED_KEY_USAGES]
        if beyond or not one.extended_key_usage:
            what = _listed([usages.extended_key_usage_name(oid) for oid in beyond]) if beyond else "none"
            raise ExtendedKeyUsageRefused(
                f"{one.source}: this {one.kind} for the key has the extended key usage {what}, which is not only for "
                "encryption. Make a new key for encryption and have it certified for that alone."
            )


def _judge_agreement(own: tuple[CertificateFacts, ...], usage: str) -> None:
    for one in own:
        # RSA keys do not agree, and elliptic ones do not encipher (RFC 3279 section 2.3.1, RFC 8813 section 3).
        if usage_of(frozenset(one.key_usage or ())) != usage:
            raise UsageConflictRefused(
                f"{one.source}: this {one.kind} for the key allows {_listed(one.key_usage or ())}, which does not "
                f"fit the key's usage {usage}. One key has one usage: correct the option usage, or make a new key."
            )


def _judge_named(evidence: Evidence) -> None:
    fitting = {one.source for one in evidence.named if one.key_id == evidence.facts.key_id}
    for one in evidence.named:
        if one.source not in fitting:
            raise ForeignCertificateRefused(
                f"certificates: {one.source} was named for {_name(evidence)} and holds nothing for this key, but a "
                f"{one.kind} for the key {_short(one.key_id)}. Name the certificates of this key."
            )


def _judge_not_readable(evidence: Evidence) -> None:
    if evidence.not_readable:
        raise EvidenceNotReadable(
            f"{_name(evidence)}: in the key's own folder something may be a certificate that lets it sign, and cannot "
            f"be looked at: {_listed(evidence.not_readable)}. Archive as root (become: true), mend the file, or "
            "move what is not this key's to another folder."
        )


def _judge_confirmation(evidence: Evidence, own: tuple[CertificateFacts, ...]) -> None:
    confirmed = evidence.facts.bound_usage or evidence.receipt_usage or usages.usage_of_type(evidence.facts.algorithm)
    if not (confirmed or own or evidence.accept_declared_usage):
        raise DeclaredUsageOnlyRefused(
            f"{_name(evidence)}: nothing but the declared usage says that this key has never signed. Name a "
            "certificate or request for it that allows encryption only, or vouch for it with accept_declared_usage: "
            "true."
        )


def _name(evidence: Evidence) -> str:
    return f"key {_short(evidence.facts.key_id)}"


def _short(key_id: str) -> str:
    return key_id[:16]


def _listed(items: tuple[str, ...] | list[str]) -> str:
    """At most three of them, since whoever wrote a file decides how many there are."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
