# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet audit on the controller, as it reads: what was gathered, the vault, the judgement, the response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    FormatError,
    OptionError,
    note_missing_library,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import times
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import check_digest
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import (
    acceptance,
    gathered,
    judge,
    outcome,
    vault,
)
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import HostSeen, Moment, VaultSeen
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.event_log import Head
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import load
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.process import responding

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    note_missing_library(error)


def audit(task: ControllerTask) -> dict:
    """The result of fleet_audit.

    Raises:
        OptionError: when an option cannot be.
        PolicyError: with every mistake in the policy.
        VaultError: when the vault cannot be read.
    """
    params = task.params
    wanted = judge.Wanted(
        policy=load.load(task.policy) if task.policy is not None else None,
        moment=Moment(times.now(), times.duration(params["expiring_within"], "expiring_within")),
        recovery_groups=params["recovery_groups"],
        trust_anchors=params["trust_anchors"],
        weak_keys=params["weak_keys"],
        tokens=params["tokens"],
    )
    acceptances = acceptance.read(params["accepted"], wanted.moment.now.date())
    hosts = gathered.hosts(_mapping(params["gathered"], "gathered"), _mapping(params["declared"], "declared"))
    seen = _look(task, hosts) if task.vault else None
    judgement = judge.judge(hosts, seen, wanted)
    responses, head = responding.respond(task, judgement.signing, seen) if seen and params["respond"] else ([], None)
    if seen and head:
        seen = replace(seen, head=(head.number, head.digest))
    built = outcome.build(hosts, seen, wanted, judgement, acceptances)
    return {
        "changed": bool(responses),
        "audit": {**built, "responses": responses},
        "reached": params["fail_at"] != "never" and outcome.reached(built, params["fail_at"]),
    }


def _look(task: ControllerTask, hosts: tuple[HostSeen, ...]) -> VaultSeen:
    params = task.params
    try:
        heads = [Head(item["number"], check_digest(item["digest"])) for item in params["expected_heads"]]
    except FormatError as error:
        raise OptionError("expected_heads: a digest is not 64 lower-case hexadecimal digits") from error
    # Receipts are here for their heads only.
    lost = {digest.lower() for digest in params["known_lost_heads"]}
    return vault.look(
        task.vault,
        [receipt for host in hosts for receipt in host.receipts if receipt.log_digest not in lost],
        [head for head in heads if head.digest not in lost],
        [mark.lower() for mark in params["known_log_problems"]],
        [_certificate(pem) for pem in params["log_signing_certificates"]],
    )


def _certificate(pem: str) -> bytes:
    try:
        return x509.load_pem_x509_certificate(pem.encode("utf-8")).public_bytes(serialization.Encoding.DER)
    except ValueError as error:
        raise OptionError("log_signing_certificates: an item is no certificate; give PEM texts") from error


def _mapping(value: object, option: str) -> Mapping:
    if not isinstance(value, Mapping):
        raise OptionError(f"{option}: give a dictionary by the hosts' inventory names")
    return value
