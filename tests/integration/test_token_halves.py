# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Public halves that somebody without the PIN has exchanged on SoftHSM: the private key stays, and is given no name.

SoftHSM lets a session without a login write and destroy public objects (docs/threat-model.md).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import token_host
from token_host import SEALED, TokenHost

_EXCHANGE = """
import json, sys, pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass
asked = json.load(sys.stdin)
token = pkcs11.lib(asked["library"]).get_token(token_label="ops")
public = {Attribute.CLASS: ObjectClass.PUBLIC_KEY}
kinds = {KeyType.RSA: ("MODULUS", "PUBLIC_EXPONENT"), KeyType.EC: ("EC_PARAMS", "EC_POINT"),
    KeyType.EC_EDWARDS: ("EC_PARAMS", "EC_POINT")}
with token.open(rw=True) as session:  # no PIN
    (other,) = session.get_objects({**public, Attribute.LABEL: asked["by"]})
    kind = other[Attribute.KEY_TYPE]
    numbers = {getattr(Attribute, name): other[getattr(Attribute, name)] for name in kinds[kind]}
    (own,) = session.get_objects({**public, Attribute.LABEL: asked["of"]})
    object_id = own[Attribute.ID]
    if asked["destroy"]:
        own.destroy()
    session.create_object({**public, **numbers, Attribute.KEY_TYPE: kind, Attribute.TOKEN: True,
        Attribute.PRIVATE: False, Attribute.LABEL: asked["of"], Attribute.ID: object_id})
print(json.dumps({}))
"""

_IS_BACK = """
import json, sys
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recover_tokens
asked = json.load(sys.stdin)
try:
    with recover_tokens.opened([asked["item"]], None) as places:
        told = places.is_there(asked["item"]["key_id"])
except KeyopsError as error:
    told = type(error).__name__
print(json.dumps({"told": told}))
"""


@pytest.fixture
def host(tmp_path: Path) -> TokenHost:
    return token_host.softhsm(tmp_path)


def exchange(host: TokenHost, of: str, by: str, destroy: bool = True) -> None:
    host.store.python(_EXCHANGE, library=host.store.library, of=of, by=by, destroy=destroy)


def private(host: TokenHost) -> list[str]:
    listed = host.tool("--list-objects", "--type", "privkey").stdout
    return sorted(line.split(":")[1].strip() for line in listed.splitlines() if line.strip().startswith("label"))


def info(host: TokenHost, *labels: str) -> list[dict]:
    items = [{"key": host.uri(label), "pin": host.pin} for label in labels]
    options = {"state_dir": str(host.state), "search": None, "authorized_keys": [], "tokens": []}
    answer = host.store.call("inspect", keys=items, **options)
    assert "results" in answer, answer
    return list(answer["results"])


def is_back(host: TokenHost, key_id: str) -> object:
    """What key_recovery takes for there."""
    item = {"key": host.store.uri("ops"), "key_id": key_id, "pin": host.pin, "extractable": False}
    return host.store.python(_IS_BACK, item=item)["told"]


def test_an_unarchived_key_with_an_archived_ones_public_half_stays(host: TokenHost) -> None:
    """By another type, another curve, another point, a second public half; made with a derived and with a given ID."""
    unarchived = {
        "other-type": host.key("other-type", algorithm="ec-p521"),
        "other-curve": host.key("other-curve", algorithm="ec-p384"),
        "other-point": host.key("other-point"),
        "twice": host.key("twice"),
        "given": host.key("given", key=host.uri("given", id="%07")),
        "rsa": host.key("rsa", usage="key_transport", algorithm="rsa-2048"),
        "sign": host.key("sign", usage="signature", key=host.uri("sign", id="%08")),
    }
    archived = [host.key("mail", usage="key_transport", algorithm="rsa-2048"), host.key("notes")]
    made = host.run(*unarchived.values(), *archived)["results"]
    for row in made[-2:]:
        host.archived(row)
    labels = sorted([*unarchived, "mail", "notes"])
    assert is_back(host, made[-1]["key_id"]) is True
    for label in unarchived:
        by = "mail" if label in ("other-type", "rsa") else "notes"
        exchange(host, label, by, destroy=label != "twice")

    confirmed = {"confirmed": {row["key_id"]: SEALED for row in made[-2:]}}
    for item in unarchived.values():
        gone = {"key": item["key"], "pin": host.pin, "state": "absent"}
        for asked in (gone, {**item, "regenerate": "always"}):
            answer = host.run(asked, step="confirmed", relay=confirmed)
            assert answer.get("error_class") == "HalvesDiffer", (asked, answer)
            assert "does not belong to it" in answer["msg"]
    for label in ("other-point", "given"):
        assert host.run(unarchived[label])["error_class"] == "HalvesDiffer"
    asked = {"key": unarchived["sign"]["key"], "pin": host.pin, "path": "/nowhere", "usage": "signature"}
    assert host.csr(asked)["error_class"] == "HalvesDiffer"
    assert private(host) == labels
    told = info(host, *(label for label in unarchived if label not in ("given", "sign")))
    assert {row["error"]["class"] for row in told} == {"HalvesDiffer"}
    assert not any(row["key_id"] or row["archivable"] for row in told)

    # What is whole is kept, and goes when its archive is confirmed.
    assert not host.run(*archived)["changed"]
    goes = [{"key": item["key"], "pin": host.pin, "state": "absent"} for item in archived]
    assert [row["action"] for row in host.run(*goes, step="confirmed", relay=confirmed)["results"]] == ["removed"] * 2
    assert private(host) == sorted(unarchived)
    # The lost key is not back because another one's public half says so.
    assert is_back(host, made[-1]["key_id"]) == "HalvesDiffer"
    assert is_back(host, "0" * 64) is False
