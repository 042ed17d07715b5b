# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An audit's outcome with something of everything, hostile texts among it, and the history before it."""

from __future__ import annotations

import base64
import hashlib
import random

import gathered_facts as made

from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, identity
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import acceptance, gathered, judge, outcome
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.model import Moment, VaultSeen
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.policy import load

#: What a hostile certificate or file name may hold. Each would set ``window.hacked`` where it ran.
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "' onmouseover='window.hacked=1",
    "{{ 7 * 7 }}<svg onload=window.hacked=1>",
    "<!--<script>",
)
_ALGORITHMS = {
    "signature": ("ec-p256", "ed25519", "rsa-3072"),
    "authentication": ("ec-p256", "ec-p384", "rsa-2048"),
    "key_transport": ("rsa-3072", "rsa-4096"),
    "key_agreement": ("ec-p256", "x25519"),
    None: ("rsa-1024", "ec-p521"),
}
_BITS = {
    "signature": ["digitalSignature"],
    "authentication": ["digitalSignature"],
    "key_transport": ["keyEncipherment"],
    "key_agreement": ["keyAgreement"],
}


def gathered_fleet(hosts: int, keys: int, seed: int = 1) -> dict:
    """So many hosts with so many keys in all; most of them are sound. No cryptography, so that it is quick."""
    chance = random.Random(seed)
    names = ["mail", "web", "db", "build", "vpn", "ldap", "app", "proxy"]
    found = {f"{names[number % 8]}{number // 8 + 1}.example.com": made.Host() for number in range(hosts)}
    hosts_of = list(found.values())
    for number in range(keys):
        _add(hosts_of[number % hosts], number, chance)
    return {name: host.result() for name, host in found.items()}


def _add(host: made.Host, number: int, chance: random.Random) -> None:
    usage = chance.choices(list(_ALGORITHMS), (4, 8, 5, 3, 1))[0]
    algorithm = chance.choice(_ALGORITHMS[usage])
    public_key = _public_key(algorithm, chance.getrandbits(256))
    key_id = hashlib.sha256(public_key).hexdigest()
    day = f"20{chance.randint(22, 26)}-0{chance.randint(1, 9)}-1{chance.randint(0, 9)}T00:00:00Z"
    path = f"/etc/keyops/service-{number}.key"
    host.keys.append(
        {
            **{"key": path, "found": True, "part": None, "exists": True, "key_id": key_id, "usage": usage},
            **{
                "algorithm": algorithm,
                "container": "pkcs8",
                "encrypted": chance.random() < 0.1,
            },
            **{"public_key": _pem(public_key)},
            **{"mode": chance.choices(("0600", "0640", "0644"), (30, 3, 1))[0], "owner": "root"},
            **{"group": "root", "modified": day, "hard_links": 1, "archivable": False, "refusal": None, "error": None},
            "evidence": {"certificates": [], "ssh_uses": [], "receipt": None},
        }
    )
    if usage and chance.random() < 0.95:
        host.certificates.append(
            {
                **{"paths": [f"/etc/keyops/service-{number}.pem"], "key_id": key_id, "subject": f"CN=service {number}"},
                **{"key_usage": _BITS[usage], "extended_key_usage": None, "ca": False, "content": None},
                **{"not_before": day, "not_after": "2029-01-01T00:00:00Z"},
            }
        )


def _public_key(algorithm: str, number: int) -> bytes:
    """What has the form of a public key and is none, so that it is quick."""
    kind, dummy, size = algorithm.partition("-")
    if kind == "rsa":
        return identity.rsa_public_key(1 << (int(size) - 1) | number, 65537)
    for oid, (word, dummy) in identity.CURVES.items():
        if word == algorithm:
            return identity.ec_public_key(oid, b"\x04" + number.to_bytes(64, "big"))
    (oid,) = (oid for oid, word in identity.PLAIN.items() if word == algorithm)
    return identity.subject_public_key_info(der.oid(oid), number.to_bytes(32, "big"))


def _pem(public_key: bytes) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(public_key).decode()}\n-----END PUBLIC KEY-----\n"


def rendered(hosts: int = 8, keys: int = 120, hostile: bool = True) -> tuple[dict, list[dict]]:
    """An outcome, and the history with its own summary at the end."""
    fleet = gathered_fleet(hosts, keys)
    if hostile:
        _plant(next(iter(fleet.values())))
    fleet["lost.example.com"] = {"failed": True, "msg": "Failed to connect to the host via ssh"}
    wanted = judge.Wanted(
        load.load("nist-sp800-57"), Moment(made.NOW, made.datetime.timedelta(days=30)), weak_keys="off"
    )
    seen = gathered.hosts(fleet, {})
    keys_of = [key for host in seen for key in host.keys if key.usage in ("key_transport", "key_agreement")]
    vault = VaultSeen(records={}, head=(4711, "ab" * 32))
    judgement = judge.judge(seen, vault, wanted)
    first = next(one for one in judgement.findings if one.kind.id == "KL003")
    item = {"id": "KL003", "fingerprint": first.fingerprint, "reason": HOSTILE[0], "expires": "2027-01-01"}
    built = outcome.build(seen, vault, wanted, judgement, acceptance.read([item], made.NOW.date()))
    # As if most encryption keys were archived: records take cryptography, and the page does not look at them.
    for number, row in enumerate(row for row in built["keys"] if row["usage"] in ("key_transport", "key_agreement")):
        row["archived"] = number % 5 != 0
    built["summary"]["archived"] = len(keys_of) - len(keys_of) // 5
    built["responses"] = []
    return built, _history(built)


def _plant(result: dict) -> None:
    for number, text in enumerate(HOSTILE):
        result["results"][number]["key"] = f"/srv/{text}.key"
        result["certificates"][number]["subject"] = f"CN={text}"
        result["certificates"][number]["paths"] = [f"/srv/{text}.pem"]


def _history(built: dict) -> list[dict]:
    now, chance = built["summary"], random.Random(2)
    past = []
    for month in range(1, 11):
        counted = {
            name: int(count * (1 + (11 - month) * 0.12) + chance.randint(0, 3))
            for name, count in now["findings"].items()
        }
        past.append({"time": f"2026-{month:02}-15T08:00:00Z", "summary": {**now, "findings": counted}})
    return [*past, {"time": built["time"], "summary": now}]
