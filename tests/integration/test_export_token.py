# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that key_export brings into a token (SoftHSM stands for a card), seen by pkcs11-tool."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import token_host
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from exporting import Host, openssl

from ansible_collections.keyops.lifecycle.plugins.modules import key_export

WHOLE = {"privkey": 1, "pubkey": 1, "cert": 1}
NOTHING = dict.fromkeys(WHOLE, 0)
_SIGNING = {"signing": ["authentication"]}
#: The process ends when it is about to make the private object.
_ENDED = """
import json, os, sys
asked = json.load(sys.stdin)
from ansible_collections.keyops.lifecycle.plugins.module_utils import _module
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import export
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import importing
def ended(*given):
    print("{}", flush=True)
    os._exit(0)
importing._private = ended
export.run(_module.HostTask(asked["params"], False, "export", None))
"""


class Card:
    """A token, and a station with pairs of its owner."""

    def __init__(self, folder: Path) -> None:
        self.token = token_host.softhsm(folder)
        (folder / "station").mkdir()
        self.station = Host(folder / "station")

    def params(self, name: str, usage: str, **options: object) -> dict:
        key = {"key": str(self.station.folder / f"{name}.key"), "usage": usage}
        key["certificate"] = str(self.station.folder / f"{name}.pem")
        item = {"dest": self.token.uri(name), "format": "token", "pin": self.token.pin, "keys": [key], **options}
        given = {"exports": [item], "state_dir": str(self.token.state)}
        validated = ArgumentSpecValidator(key_export.ARGUMENT_SPEC).validate(given)
        assert not validated.error_messages, validated.error_messages
        return dict(validated.validated_parameters)

    def bring(self, name: str, usage: str, check: bool = False, relay: object = None, **options: object) -> dict:
        return self.token.store.call("export", check, "export", relay, **self.params(name, usage, **options))

    def seen(self, name: str) -> dict[str, int]:
        """How many objects of each kind the token has under a label."""
        found = {}
        for kind in ("privkey", "pubkey", "cert"):
            text = self.token.tool("--list-objects", "--type", kind).stdout
            found[kind] = len(re.findall(rf"label: +{name}\n", text))
        return found

    def told(self, name: str) -> str:
        """What pkcs11-tool says of the private key."""
        text = self.token.tool("--list-objects", "--type", "privkey").stdout
        found = [one for one in text.split("Private Key Object") if re.search(rf"label: +{name}\n", one)]
        assert len(found) == 1
        return found[0]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    """Three pairs, none of them on the token."""
    made = Card(tmp_path_factory.mktemp("card"))
    made.station.pair("mail")
    made.station.pair("agree", "ec", "keyAgreement")
    made.station.pair("login", "ec", "digitalSignature")
    return made


@pytest.mark.parametrize(
    ("name", "usage", "use", "relay"),
    [
        ("mail", "key_transport", "decrypt", None),
        ("agree", "key_agreement", "derive", None),
        ("login", "authentication", "sign", _SIGNING),
    ],
)
def test_a_key_gets_into_the_card_as_its_usage_wants_it(
    card: Card, name: str, usage: str, use: str, relay: dict
) -> None:
    predicted = card.bring(name, usage, check=True, relay=relay)
    assert (predicted["changed"], card.seen(name)) == (True, NOTHING)
    made = card.bring(name, usage, relay=relay)
    assert made["results"][0]["action"] == "created", made
    text = card.told(name)
    assert re.search(rf"Usage: +{use}\n", text), text
    assert "sensitive" in text
    assert "extractable" not in text.replace("never extractable", "")
    key_id = card.station.key_id(name)
    assert made["results"][0]["keys"][0]["key_id"] == key_id
    assert f"ID:         {key_id[:40]}" in text
    assert card.seen(name) == WHOLE
    certificate = card.station.folder / "read.der"
    read = ("--read-object", "--type", "cert", "--label", name, "--output-file", str(certificate))
    assert card.token.tool(*read).returncode == 0
    wanted = openssl("x509", "-in", card.station.folder / f"{name}.pem", "-outform", "DER")
    assert certificate.read_bytes() == wanted
    again = card.bring(name, usage, relay=relay)
    assert (again["changed"], again["results"][0]["action"]) == (False, "kept")
    # Nobody changes it any more.
    changed = card.token.tool("--set-id", "01", "--type", "privkey", "--label", name)
    assert "CKR_" in changed.stdout + changed.stderr or changed.returncode


def test_the_key_works_in_the_card(card: Card) -> None:
    card.bring("mail", "key_transport")
    public = card.station.folder / "public.pem"
    public.write_bytes(openssl("x509", "-in", card.station.folder / "mail.pem", "-pubkey", "-noout"))
    key_id = hashlib.sha256(openssl("pkey", "-pubin", "-in", public, "-outform", "DER")).hexdigest()
    (card.station.folder / "text").write_text("to Alice")
    sealed = card.station.folder / "sealed"
    openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", public, "-in", card.station.folder / "text", "-out", sealed)
    opened = card.station.folder / "opened"
    done = card.token.tool(
        *("--decrypt", "--mechanism", "RSA-PKCS", "--id", key_id[:40]),  # it does not look at a label here
        *("--input-file", str(sealed), "--output-file", str(opened)),
    )
    assert opened.read_text() == "to Alice", done.stderr


def test_refusals_leave_the_card_alone(card: Card) -> None:
    refused = card.bring("login", "authentication", dest=card.token.uri("elsewhere"))
    assert refused["error_class"] == "SigningUsageRefused"
    another = card.bring("login", "signature", relay=_SIGNING, dest=card.token.uri("elsewhere"))
    assert another["error_class"] == "SigningUsageRefused"
    card.bring("mail", "key_transport")
    renamed = card.bring("mail", "key_transport", dest=card.token.uri("elsewhere"))
    assert renamed["error_class"] == "KeyExists"
    card.station.pair("third")
    taken = card.bring("third", "key_transport", dest=card.token.uri("mail"))
    assert taken["error_class"] == "KeyExists"
    wrong = card.bring("third", "key_transport", pin="0000")
    assert wrong["error_class"] == "WrongPin"
    assert (card.seen("elsewhere"), card.seen("third"), card.seen("mail")) == (NOTHING, NOTHING, WHOLE)


def test_a_run_that_ends_in_the_middle_is_mended(card: Card) -> None:
    card.station.pair("halfway")
    card.token.store.python(_ENDED, params=card.params("halfway", "key_transport"))
    assert card.seen("halfway") == {**WHOLE, "privkey": 0}
    assert card.bring("halfway", "key_transport")["results"][0]["action"] == "created"
    assert card.seen("halfway") == WHOLE
