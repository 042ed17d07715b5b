# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of findings: stable ID, slug, severity, title and remedy. docs/audit.md lists the same (a test compares).

An ID is never given to another kind, and a kind that is no longer found leaves its ID unused: acceptances, SARIF
readers and past audits name them.
"""

from __future__ import annotations

from dataclasses import dataclass

#: From the mildest to the worst.
SEVERITIES = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        id: ``KL`` and three digits.
        slug: the same for people; an acceptance may name either.
        severity: one of SEVERITIES, unless the finding says another.
        title: one line.
        remedy: what to do.
    """

    id: str
    slug: str
    severity: str
    title: str
    remedy: str


WEAK_KEY = Kind(
    *("KL001", "weak-key", "critical", "Weak key"),
    "Make a new key of an approved algorithm, have it certified, and revoke the certificates of this one. Whatever it "
    "protected is open to others.",
)
COMPROMISED_KEY = Kind(
    *("KL002", "compromised-key", "critical", "Publicly known private key"),
    "Take it out of service now: everybody has this private key. Revoke its certificates and make a new key.",
)
READABLE_BY_OTHERS = Kind(
    *("KL003", "readable-by-others", "high", "Private key open to other users"),
    "Set its mode to 0600 (keyops_audit_fix does). If users of this host are not all trusted with it, replace the key.",
)
WRONG_OWNER = Kind(
    *("KL004", "wrong-owner", "high", "Private key belongs to the wrong user"),
    "Give the file to the user who is to have it (keyops_audit_fix does where keyops_keys or the policy names one).",
)
NOT_ENCRYPTED = Kind(
    *("KL005", "not-encrypted", "medium", "Private key lies unencrypted"),
    "Encrypt it with a passphrase, or move it into a token.",
)
UNKNOWN_USAGE = Kind(
    *("KL006", "unknown-usage", "medium", "Nothing says what the key is for"),
    "Declare its usage in keyops_keys, certify it for that usage, or remove the key if nobody needs it.",
)
DUAL_USAGE = Kind(
    *("KL007", "dual-usage", "high", "One key with more than one usage"),
    "Make a key for each usage, with a certificate of its own (NIST SP 800-57 Part 1, section 5.2).",
)
USAGE_AGAINST_CERTIFICATE = Kind(
    *("KL008", "usage-against-certificate", "high", "A certificate allows what the key is not for"),
    "Have a certificate issued that allows the key's own usage only, and revoke the other one.",
)
KEY_IN_TWO_PLACES = Kind(
    *("KL009", "key-in-two-places", "high", "The same private key in more than one place"),
    "Keep one, remove the others; where each host needs a key, make one on each.",
)
NOT_ARCHIVED = Kind(
    *("KL010", "not-archived", "high", "Encryption key that is not archived"),
    "Archive it with key_archive before it is lost: what was encrypted to it cannot be read without it.",
)
ARCHIVED_KEY_SIGNS = Kind(
    *("KL011", "archived-key-signs", "critical", "Archived key that signs"),
    "Revoke its certificates and make a new key: a signature by a key of which there is an archive proves nothing. If "
    "it is not frozen, find out first whether the evidence is genuine.",
)
CRYPTOPERIOD_OVER = Kind(
    *("KL012", "cryptoperiod-over", "medium", "Key past its cryptoperiod"),
    "Make a new key and have it certified. Keep the archive of an encryption key for as long as its messages.",
)
CERTIFICATE_WITHOUT_KEY = Kind(
    *("KL013", "certificate-without-key", "low", "Certificate whose key is nowhere in the fleet"),
    "Remove the certificate if its key is gone, or extend the search to where the key is.",
)
KEY_WITHOUT_CERTIFICATE = Kind(
    *("KL014", "key-without-certificate", "low", "Key without a certificate"),
    "Have it certified, or remove it if nobody needs it.",
)
QUORUM_UNREACHABLE = Kind(
    *("KL015", "quorum-unreachable", "high", "Fewer agents with valid certificates than recovery takes"),
    "Renew the agents' certificates or enrol new agents while enough of them can still open, then archive again.",
)
AGENT_CERTIFICATE_EXPIRING = Kind(
    *("KL016", "agent-certificate-expiring", "medium", "Recovery agent's certificate ends"),
    "Let the agent have a new certificate for the same key (agent_certificates) and put it into the recovery group.",
)
VAULT_ORPHAN = Kind(
    *("KL017", "vault-orphan", "low", "Object in the vault that no record names"),
    "A killed run leaves such objects and they do no harm. Destroy them under dual control if they are many.",
)
VAULT_SHADOWED = Kind(
    *("KL018", "vault-shadowed", "medium", "Object in the vault that no reader reaches"),
    "Find out who wrote it: it lies beyond a gap in the numbers, or under a name that no object has.",
)
RECORD_UNSOUND = Kind(
    *("KL019", "record-unsound", "high", "Archive record that cannot be used"),
    "Find out who wrote it; if the key has no other revision, archive it again.",
)
RECEIPT_WITHOUT_RECORD = Kind(
    *("KL020", "receipt-without-record", "critical", "Host has a receipt and the vault has no such archive"),
    "Find out whether this is the vault that the key was archived in, and whether it was rolled back. While the key "
    "still exists, archive it again.",
)
LOG_WENT_BACK = Kind(
    *("KL021", "log-went-back", "critical", "The event log lost events that were seen"),
    "The vault was rolled back, cut off or replaced. Compare it with its backups and with the receipts of the hosts. "
    "What was looked into is named in keyops_known_lost_heads.",
)
LOG_UNSOUND = Kind(
    *("KL022", "log-unsound", "high", "The event log does not verify"),
    "Look into it with lifecycle_log_info. What was looked into is named in keyops_known_log_problems.",
)
POLICY_VIOLATION = Kind(
    *("KL023", "policy-violation", "medium", "Against the policy"),
    "Bring the key into line with the rule, or change the policy.",
)
KEY_UNREADABLE = Kind(
    *("KL024", "key-unreadable", "low", "Private key that the audit could not look into"),
    "Audit as root, name its passphrase in keyops_keys, or mend the file.",
)
TOKEN_UNSOUND = Kind(
    *("KL025", "token-unsound", "high", "Token that does not enforce what it promises"),
    "Keep no signing keys on it; update its firmware or take another token (docs/tokens.md).",
)
HOST_NOT_AUDITED = Kind(
    *("KL026", "host-not-audited", "high", "Host that was not audited"),
    "See why it could not be reached or asked, and run the audit again.",
)
PLACE_NOT_AUDITED = Kind(
    *("KL027", "place-not-audited", "info", "Place that was not looked into"),
    "Audit as root, raise the limits of the search, or leave the place out on purpose.",
)
ARCHIVE_INCOMPLETE = Kind(
    *("KL028", "archive-incomplete", "critical", "Record whose sealed key or shares are not in the vault"),
    "Restore the vault from a backup, or archive the key again while it exists.",
)
KEY_FROZEN = Kind(
    *("KL029", "key-frozen", "high", "Archived key that is frozen"),
    "Look at the evidence in the event log, revoke the key's certificates, and make a new key. If it is wrong, a "
    "quorum of its agents lifts the freeze (freeze_lift).",
)
FACTS_CONTRADICT = Kind(
    *("KL030", "facts-contradict", "high", "A host says of a key what its public key does not"),
    "Find out who changed what runs on the host, and believe nothing that it says until then.",
)

KINDS = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
BY_ID = {kind.id: kind for kind in KINDS}
BY_NAME = {**BY_ID, **{kind.slug: kind for kind in KINDS}}


def at_least(severity: str, limit: str) -> bool:
    """Whether a severity is ``limit`` or worse."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(limit)
