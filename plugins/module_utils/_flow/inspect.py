# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at keys and at what shows their usage; change nothing.

1. Search the given folders for private keys and certificates.
2. Read the public facts of the named keys and of the found ones; what cannot be read is told per key.
3. Gather the evidence about all of them in one pass, and judge each as archiving would.

Results hold public facts only. A key that cannot be read is no failure: finding such keys is what this is for.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    ArchiveRefusal,
    KeyopsError,
    KeyUnreadable,
    OptionError,
    WrongPassphrase,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import KEY_FILE_LIMIT
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import file as key_file
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import pem, reference
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts, Receipt
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage import (
    certificates,
    discovery,
    eligibility,
    evidence,
    reading,
    ssh,
    usages,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._usage.model import CertificateFacts, Evidence

try:
    from cryptography import x509
except ImportError as error:
    note_missing_library(error)


@dataclass(frozen=True)
class _Looked:
    """One key file: what is there.

    Attributes:
        item: the options; for a found key only ``key``.
        path: of the file.
        found: by the search, not named.
        file: None when there is none, or it cannot be read.
        facts, named: None and empty when they cannot be read.
        error: why something cannot be read, or None.
    """

    item: dict = field(repr=False)
    path: str
    found: bool = False
    file: _files.ExistingFile | None = field(default=None, repr=False)
    facts: KeyFacts | None = None
    named: tuple[CertificateFacts, ...] = ()
    error: KeyopsError | None = None


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    params = task.params
    findings = _search(params["search"])
    named = [_look(item, reference.parse_path(item["key"]).path) for item in params["keys"]]
    paths = {one.path for one in named}
    found = [_look({"key": path}, path, found=True) for path in findings.private_keys if path not in paths]
    looked = [*named, *(one for one in found if not _is_no_key(one))]
    gathered = evidence.gather(
        [_subject(one) for one in looked if one.facts],
        params["state_dir"] or _receipts.default_state_dir(),
        places=ssh.SshPlaces(extra=tuple(params["authorized_keys"])),
        findings=findings,
    )
    known = iter(zip(gathered.evidence, gathered.receipts))
    results = [_row(one, *next(known)) if one.facts else _row(one) for one in looked]
    not_looked_at = list(dict.fromkeys([*findings.not_looked_at, *gathered.not_looked_at]))
    return FlowResult(False, results, extra={"not_looked_at": not_looked_at})


def _search(options: dict | None) -> discovery.Findings:
    if options is None:
        return discovery.Findings()
    if options["max_files"] < 1:
        raise OptionError("search.max_files: at least 1")
    discovery.check_folders(options["paths"], "search.paths")
    return discovery.search(options["paths"], options["recursive"], options["max_files"])


def _look(item: dict, path: str, found: bool = False) -> _Looked:
    if not os.path.lexists(path):
        return _Looked(item, path, found)
    file = facts = problem = None
    named: tuple[CertificateFacts, ...] = ()
    try:
        file = _files.read_existing(path, KEY_FILE_LIMIT)
        if file is not None:
            facts = key_file.facts_of(file.content, item.get("passphrase"))
            named = evidence.read_named(item.get("certificates", ()))
    except KeyopsError as error:
        problem = error
    return _Looked(item, path, found, file, facts, named, problem)


def _is_no_key(one: _Looked) -> bool:
    """Whether a found file only began like a DER key: then it is something else, and nothing to tell about."""
    is_unreadable = isinstance(one.error, KeyUnreadable) and not isinstance(one.error, WrongPassphrase)
    return is_unreadable and one.file is not None and not pem.looks_like_pem(one.file.content)


def _subject(one: _Looked) -> evidence.Subject:
    if one.facts is None:
        raise AssertionError("only keys that were read come here")
    return evidence.Subject(
        one.facts, one.path, one.item.get("usage"), one.named, bool(one.item.get("accept_declared_usage"))
    )


def _row(one: _Looked, known: Evidence | None = None, receipt: Receipt | None = None) -> dict:
    facts, file = one.facts, one.file
    row = {
        **{"key": reading.shown(one.item["key"]), "found": one.found, "exists": os.path.lexists(one.path)},
        "key_id": facts.key_id if facts else None,
        "algorithm": facts.algorithm if facts else None,
        "usage": facts.bound_usage if facts else None,
        "container": facts.container if facts else None,
        "encrypted": _encrypted(file),
        "public_key": _pem(facts.public_key) if facts else None,
        "mode": f"{file.mode:04o}" if file else None,
        "owner": file.owner if file else None,
        "group": file.group if file else None,
        "evidence": _evidence_row(known, receipt) if known else None,
        "error": _told(one.error),
    }
    return {**row, **_judgement(one, known)}


def _encrypted(file: _files.ExistingFile | None) -> bool | None:
    try:
        return key_file.is_encrypted(file.content) if file else None
    except KeyUnreadable:
        return None


def _pem(public_key: bytes) -> str:
    text = base64.encodebytes(public_key).replace(b"\n", b"").decode("ascii")
    lines = "\n".join(re.findall(".{1,64}", text))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"


def _judgement(one: _Looked, known: Evidence | None) -> dict:
    """What archiving would say; a key of which something could not be read is not archivable, and not refused."""
    if known is None or one.error:
        return {"archivable": False, "refusal": None}
    try:
        eligibility.judge(known)
    except ArchiveRefusal as refusal:
        return {"archivable": False, "refusal": _told(refusal)}
    return {"archivable": True, "refusal": None}


def _told(error: KeyopsError | None) -> dict | None:
    return {"class": type(error).__name__, "message": str(error)} if error else None


def _evidence_row(known: Evidence, receipt: Receipt | None) -> dict:
    told = [(one, True) for one in known.named] + [(one, False) for one in known.found]
    return {
        "certificates": [_certificate_row(one, named, known.facts.key_id) for one, named in told],
        "ssh_uses": list(known.ssh_uses),
        "receipt": receipt
        and {"usage": receipt.usage, "sealed_key": receipt.sealed_key, "log_number": receipt.log_number},
    }


def _certificate_row(one: CertificateFacts, named: bool, key_id: str) -> dict:
    purposes = one.extended_key_usage
    return {
        **{"source": one.source, "kind": one.kind, "named": named, "for_this_key": one.key_id == key_id},
        "key_usage": None if one.key_usage is None else list(one.key_usage),
        "extended_key_usage": None if purposes is None else [usages.extended_key_usage_name(oid) for oid in purposes],
        **_described(one),
    }


def _described(one: CertificateFacts) -> dict:
    """Subject and end, for people; nothing is decided by them, so what the library cannot read is left out."""
    try:
        if one.kind == certificates.REQUEST:
            return {"subject": x509.load_der_x509_csr(one.der).subject.rfc4514_string(), "not_after": None}
        certificate = x509.load_der_x509_certificate(one.der)
        # cryptography 42 renamed it, and warns about the old name; both are UTC.
        end = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after
        return {"subject": certificate.subject.rfc4514_string(), "not_after": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
    except ValueError:
        return {"subject": None, "not_after": None}
