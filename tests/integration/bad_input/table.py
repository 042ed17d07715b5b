# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table: one mistake a line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tokens
from bad_input.bench import SECRET, Bench
from bad_input.preparations import (
    agent_pem,
    bad_one_time_key,
    cut,
    damaged,
    dual,
    foreign_database,
    full_disk,
    holds,
    material,
    nothing,
    read_only_disk,
    two_halves,
    vault_replaced,
    written,
)

#: A key on a card; MODULE is a library's path.
CARD = "pkcs11:token=no-card;object=encryption?module-path=/MODULE"


@dataclass(frozen=True)
class Row:
    """One mistake.

    Attributes:
        error: name of the expected class.
        names: what the message must name: the option or the file, and a word of the remedy.
        leaves: part of the names of files that may be there afterwards.
    """

    title: str
    error: str
    names: tuple[str, ...]
    act: Callable[[Bench], None]
    prepare: Callable[[Bench], object] = nothing
    leaves: str = "nothing"


OPTIONS = [
    Row("unknown usage", "OptionError", ("usage", "key_agreement"), lambda b: b.private_key(usage="decryption")),
    Row("unknown algorithm", "OptionError", ("algorithm", "ec-p256"), lambda b: b.private_key(algorithm="rsa-1024")),
    Row(
        "usage without algorithm",
        "OptionError",
        ("algorithm", "missing"),
        lambda b: b.private_key(keys=[{"key": b.path("new.key"), "usage": "signature"}]),
    ),
    Row("mismatch: ed25519", "AlgorithmError", ("algorithm", "choose"), lambda b: b.private_key(algorithm="ed25519")),
    Row(
        "mismatch: x25519",
        "AlgorithmError",
        ("algorithm", "choose"),
        lambda b: b.private_key(usage="signature", algorithm="x25519"),
    ),
    Row("unknown option", "OptionError", ("colour",), lambda b: b.private_key(colour="red")),
    Row("relative path", "KeyReferenceError", ("key", "/"), lambda b: b.private_key(key="new.key")),
    Row("a folder's path", "KeyReferenceError", ("key", "file"), lambda b: b.private_key(key=b.path("keys") + "/")),
    Row("dots in the path", "KeyReferenceError", ("key", ".."), lambda b: b.private_key(key=b.path("a/../new.key"))),
    Row("empty path", "KeyReferenceError", ("key",), lambda b: b.private_key(key="")),
    Row(
        "pkcs11 reference",
        "KeyReferenceError",
        ("key", "pin-value", "token"),
        lambda b: b.private_key(key=f"pkcs11:token=x;pin-value={SECRET}"),
    ),
    Row(
        "key content as path",
        "KeyReferenceError",
        ("key",),
        lambda b: b.private_key(key=b.scene.agents[0].folder.joinpath("signing.key").read_text()),
    ),
    Row(
        "one path twice",
        "OptionError",
        ("key", "once"),
        lambda b: b.private_key(keys=[{"key": b.path("new.key"), "usage": "signature", "algorithm": "ec-p256"}] * 2),
    ),
    Row("bad mode", "OptionError", ("mode", "0600"), lambda b: b.private_key(mode="rw-------")),
    Row("open mode", "OptionError", ("mode", "0600"), lambda b: b.private_key(mode="0644")),
    Row("unknown owner", "FileError", ("owner", "create"), lambda b: b.private_key(owner="nobody-at-all")),
    Row("unknown group", "FileError", ("group", "create"), lambda b: b.private_key(group="nobody-at-all")),
    Row("empty passphrase", "OptionError", ("passphrase",), lambda b: b.private_key(passphrase="")),
    Row(
        "archive: one key twice", "OptionError", ("keys",), lambda b: b.archive(keys=[{"key": b.path("mail.key")}] * 2)
    ),
    Row("archive: no owner", "OptionError", ("key_owner",), lambda b: b.archive(key_owner="")),
    Row("archive: owner of two lines", "OptionError", ("key_owner",), lambda b: b.archive(key_owner="mail1\nusage: x")),
    Row("archive: no key there", "KeyNotFound", ("no.key", "private_key"), lambda b: b.archive(key=b.path("no.key"))),
    Row("archive: relative folder to search", "OptionError", ("search",), lambda b: b.archive(search=["certificates"])),
    Row(
        "request: a place that is no path",
        "KeyReferenceError",
        ("back.key", "absolute"),
        lambda b: b.ask(keys=[{"key_id": b.key_id, "key": "back.key"}]),
    ),
    Row(
        "request: a PIN for a file",
        "OptionError",
        ("pin", "file"),
        lambda b: b.ask(keys=[{"key_id": b.key_id, "key": "/back.key", "pin": "1234"}]),
    ),
    Row(
        "request: a token without its PIN",
        "OptionError",
        ("pin",),
        lambda b: b.ask(keys=[{"key_id": b.key_id, "key": "pkcs11:token=a;object=b?module-path=/lib/c.so"}]),
    ),
    Row(
        "request: a PKCS#11 library that is not there",
        "TokenLibraryError",
        ("/lib/c.so",),
        lambda b: b.ask(keys=[{"key_id": b.key_id, "key": "pkcs11:token=a?module-path=/lib/c.so", "pin": "1234"}]),
        leaves="locks",
    ),
    Row("recover: a PIN for a file", "OptionError", ("pin", "back.key"), lambda b: b.recover(pin="1234")),
    Row("recover: an extractable file", "OptionError", ("extractable",), lambda b: b.recover(extractable=True)),
    Row(
        "recover: an owner of a key on a token",
        "OptionError",
        ("owner",),
        lambda b: b.recover(key="pkcs11:token=a;object=b?module-path=/lib/c.so", pin="1234", owner="root"),
    ),
    Row("archive: a PIN for a file", "OptionError", ("pin", "passphrase"), lambda b: b.archive(pin="1234")),
    Row(
        "approve: a wrapping key that is not there",
        "KeyNotFound",
        ("wrapping_key",),
        lambda b: b.approve(wrapping_key="/no.key"),
    ),
    Row("request: no keys", "OptionError", ("keys",), lambda b: b.ask(keys=[])),
    Row("request: short key ID", "OptionError", ("key_id", "64"), lambda b: b.ask(key_id="1234")),
    Row("request: key ID in capitals", "OptionError", ("key_id", "64"), lambda b: b.ask(key_id=b.key_id.upper())),
    Row("request: unknown key ID", "ObjectNotFound", ("key_archive_info",), lambda b: b.ask(key_id="0" * 64)),
    Row("request: other owner", "RecordMismatch", ("mail1",), lambda b: b.ask(key_owner="mallory")),
    Row("request: nonsense time", "OptionError", ("expires_in", "24h"), lambda b: b.ask(expires_in="tomorrow")),
    Row("request: no time", "OptionError", ("expires_in", "24h"), lambda b: b.ask(expires_in="0m")),
    Row("request: too long", "OptionError", ("expires_in", "90"), lambda b: b.ask(expires_in="91d")),
    Row("request: empty reason", "OptionError", ("reason",), lambda b: b.ask(reason="")),
    Row(
        "request: certificate of another key",
        "OptionError",
        ("signing_certificate", "signing_key"),
        lambda b: b.ask(signing_certificate=material(b, "good")),
    ),
    Row(
        "request: certificate is no file",
        "FileMissing",
        ("no.pem",),
        lambda b: b.ask(signing_certificate=b.path("no.pem")),
    ),
    Row(
        "request: certificate is garbage",
        "OptionError",
        ("signing_certificate",),
        lambda b: b.ask(signing_certificate=material(b, "garbage")),
    ),
    Row(
        "request: certificate has expired",
        "OptionError",
        ("signing_certificate", "expired"),
        lambda b: b.ask(signing_certificate=material(b, "expired")),
    ),
    Row(
        "request: signing key cannot sign",
        "OptionError",
        ("signing_certificate", "P-256"),
        lambda b: b.ask(
            signing_key=str(b.scene.folder.parent / "material/x25519.key"), signing_certificate=material(b, "x25519")
        ),
    ),
    Row(
        "request: no signing key there",
        "KeyNotFound",
        ("signing_key", "no.key"),
        lambda b: b.ask(signing_key=b.path("no.key")),
    ),
    Row("approval: bad request ID", "OptionError", ("request_id", "64"), lambda b: b.approve(request_id="1234")),
    Row("approval: unknown request", "ObjectNotFound", ("request",), lambda b: b.approve(request_id="0" * 64)),
    Row("approval: other owner", "RequestMismatch", ("expected_owner",), lambda b: b.approve(expected_owner="mallory")),
    Row("approval: other agent", "AgentUnknown", ("agent-9",), lambda b: b.approve(agent="agent-9")),
    Row(
        "approval: keys swapped",
        "AgentUnknown",
        ("agent-1",),
        lambda b: b.approve(
            encryption_key=str(b.scene.agents[0].folder / "signing.key"),
            signing_key=str(b.scene.agents[0].folder / "encryption.key"),
        ),
    ),
    Row(
        "approval: no key there",
        "KeyNotFound",
        ("encryption_key", "no.key"),
        lambda b: b.approve(encryption_key=b.path("no.key")),
    ),
    Row(
        "approval: wrong passphrase",
        "WrongPassphrase",
        ("encryption_key", "passphrase"),
        lambda b: b.approve(encryption_key=b.path("locked.key"), encryption_key_passphrase="wrong"),
    ),
    Row(
        "approval: a card without its PIN",
        "OptionError",
        ("encryption_key", "encryption_key_pin", "pin-source"),
        lambda b: b.approve(encryption_key=CARD),
    ),
    Row(
        "approval: a passphrase for a card",
        "OptionError",
        ("encryption_key_passphrase", "encryption_key_pin"),
        lambda b: b.approve(encryption_key=CARD, encryption_key_passphrase=SECRET),
    ),
    Row(
        "approval: a PIN for a file",
        "OptionError",
        ("signing_key_pin", "signing_key_passphrase"),
        lambda b: b.approve(signing_key_pin=SECRET),
    ),
    Row(
        "approval: no library of the card",
        "TokenLibraryError",
        ("encryption_key", "/nowhere.so", "install"),
        lambda b: b.approve(encryption_key=CARD.replace("/MODULE", "/nowhere.so"), encryption_key_pin=SECRET),
    ),
    Row(
        "approval: no such card",
        "TokenMissing",
        ("encryption_key", "no-card", "hsm_token"),
        lambda b: b.approve(encryption_key=CARD.replace("/MODULE", tokens.SOFTHSM), encryption_key_pin=SECRET),
    ),
    Row("recovery: bad request ID", "OptionError", ("request_id", "64"), lambda b: b.recover(request_id="1234")),
    Row("recovery: bad key ID", "OptionError", ("key_id", "64"), lambda b: b.recover(key_id="1234")),
    Row("recovery: unknown request", "StateError", ("request",), lambda b: b.recover(request_id="0" * 64)),
    Row("recovery: key not asked for", "RequestMismatch", ("request",), lambda b: b.recover(key_id="0" * 64)),
    Row(
        "recovery: one key twice",
        "OptionError",
        ("keys",),
        lambda b: b.recover(keys=[{"key_id": b.key_id, "key": b.path("back.key")}] * 2),
    ),
    Row("recovery: bad mode", "OptionError", ("mode", "0600"), lambda b: b.recover(mode="rw-------")),
    Row("recovery: open mode", "OptionError", ("mode", "0600"), lambda b: b.recover(mode="0644")),
    Row("recovery: empty passphrase", "OptionError", ("passphrase",), lambda b: b.recover(passphrase="")),
    Row("recovery: unknown owner", "FileError", ("owner", "create"), lambda b: b.recover(owner="nobody-at-all")),
    Row("recovery: no such folder", "FileMissing", ("create",), lambda b: b.recover(key=b.path("no/back.key"))),
    Row(
        "recovery: another key is there",
        "KeyExists",
        ("other.key", "another place"),
        lambda b: b.recover(key=b.path("other.key")),
    ),
]

VAULTS = [
    Row("unknown backend", "OptionError", ("backend", "sqlite"), lambda b: b.archive(vault={"backend": "floppy"})),
    Row("no path", "OptionError", ("vault.path", "absolute"), lambda b: b.archive(vault={"backend": "sqlite"})),
    Row("a relative path", "OptionError", ("vault.path", "absolute"), lambda b: b.archive(vault={"path": "vault.db"})),
    Row("a directory", "NotAVault", ("vault.path", "file"), Bench.archive, vault_replaced(Path.mkdir)),
    Row("a FIFO", "NotAVault", ("vault.path", "file"), Bench.archive, vault_replaced(os.mkfifo)),
    Row("garbage", "NotAVault", ("vault.path", "database"), Bench.archive, vault_replaced(written(b"garbage" * 999))),
    Row("a foreign database", "NotAVault", ("vault.path", "new one"), Bench.archive, vault_replaced(foreign_database)),
    Row(
        "world-readable",
        "VaultUnsafe",
        ("vault.path", "chmod 600"),
        Bench.archive,
        lambda b: b.scene.vault_path.chmod(0o644),
    ),
    Row(
        "a folder that others write",
        "VaultUnsafe",
        ("vault.path", "chmod go-w"),
        Bench.archive,
        lambda b: b.scene.vault_path.parent.chmod(0o777),
    ),
    Row(
        "another user's",
        "VaultUnsafe",
        ("vault.path", "owner"),
        Bench.archive,
        lambda b: os.chown(b.scene.vault_path, 65534, 0),
    ),
    Row(
        "a symlink",
        "VaultUnsafe",
        ("vault.path", "link"),
        Bench.archive,
        vault_replaced(lambda path: path.symlink_to("/dev/null")),
    ),
    Row(
        "a file for a folder",
        "OptionError",
        ("vault.path", "folder"),
        lambda b: b.archive(vault={"path": b.path("mail.key/vault.db")}),
    ),
    Row(
        "a read-only folder",
        "VaultForbidden",
        ("vault.path", "ead-only"),
        lambda b: b.archive(vault={"path": b.path("disk/vault.db")}),
        read_only_disk,
    ),
    Row(
        "a full disk",
        "VaultFull",
        ("vault.path", "space"),
        lambda b: b.archive(vault={"path": b.path("disk/vault.db")}),
        lambda b: b.small_disk("16k"),
    ),
]


def on_keys(name: str) -> Iterator[tuple[str, Callable[[Bench], None]]]:
    """A key file that is used by the modules that read one."""
    yield "private_key", lambda b: b.private_key(key=b.path(name))
    yield "key_archive", lambda b: b.archive(key=b.path(name))
    yield "recovery_request", lambda b: b.ask(signing_key=b.path(name))
    yield "key_recovery", lambda b: b.recover(key=b.path(name))


def broken(
    title: str, error: str, names: tuple[str, ...], prepare: Callable[[Bench], object], name: str = "bad.key"
) -> list[Row]:
    """The rows of one kind of broken key file, which keep it as it is."""
    return [
        Row(
            f"{title}: {module}", error, ("signing_key" if module == "recovery_request" else name, *names), act, prepare
        )
        for module, act in on_keys(name)
    ]


KEY_FILES = [
    *broken(
        "truncated",
        "KeyUnreadable",
        (),
        lambda b: (shutil.copy(b.path("other.key"), b.path("bad.key")), cut("bad.key")(b)),
    ),
    *broken("garbage", "KeyUnreadable", (), holds("bad.key", b"garbage\n")),
    *broken("empty", "KeyUnreadable", ("empty",), holds("bad.key", b"")),
    *broken("a certificate", "KeyUnreadable", (), lambda b: holds("bad.key", material(b, "good").encode())(b)),
    *broken("no passphrase", "WrongPassphrase", ("passphrase",), nothing, "locked.key"),
    *broken("a directory", "FileError", ("directory",), lambda b: b.folder.joinpath("bad.key").mkdir()),
    *broken("a symlink", "FileError", ("link",), lambda b: b.folder.joinpath("bad.key").symlink_to("other.key")),
    *broken("a FIFO", "FileError", ("regular",), lambda b: os.mkfifo(b.path("bad.key"))),
    *broken("huge", "FileError", ("larger",), holds("bad.key", b"x" * 2_000_000)),
    Row(
        "wrong passphrase: private_key",
        "WrongPassphrase",
        ("locked.key", "passphrase"),
        lambda b: b.private_key(key=b.path("locked.key"), passphrase=SECRET[1:]),
    ),
    Row(
        "wrong passphrase: key_archive",
        "WrongPassphrase",
        ("locked.key", "passphrase"),
        lambda b: b.archive(key=b.path("locked.key"), passphrase=SECRET[1:]),
    ),
    Row(
        "another key",
        "KeyExists",
        ("other.key", "regenerate"),
        lambda b: b.private_key(key=b.path("other.key"), usage="signature"),
    ),
    Row("no such folder", "FileMissing", ("create",), lambda b: b.private_key(key=b.path("no/new.key"))),
    Row("a folder for everybody", "FileError", ("chmod o-w",), Bench.private_key, lambda b: b.folder.chmod(0o777)),
    Row(
        "a read-only disk",
        "FileError",
        ("disk", "read-only"),
        lambda b: b.private_key(key=b.path("disk/new.key")),
        read_only_disk,
    ),
    Row(
        "a read-only disk: recovery",
        "FileError",
        ("disk", "read-only"),
        lambda b: b.recover(key=b.path("disk/new.key")),
        read_only_disk,
    ),
    Row(
        "a full disk",
        "FileError",
        ("disk", "space"),
        lambda b: b.private_key(
            keys=[{"key": b.path(f"disk/{n}.key"), "usage": "signature", "algorithm": "ec-p256"} for n in range(9)]
        ),
        lambda b: b.small_disk("16k"),
    ),
    # The receipt comes first and is true: the vault has the record.
    Row(
        "a full disk: recovery",
        "FileError",
        ("disk", "space"),
        lambda b: b.recover(key=b.path("disk/new.key")),
        full_disk,
        leaves="/receipts/",
    ),
    Row(
        "a full disk for a request",
        "FileError",
        ("disk", "space"),
        lambda b: b.ask(state_dir=b.path("disk")),
        full_disk,
    ),
    Row(
        "halves of two keys",
        "KeyUnreadable",
        ("bad.key",),
        lambda b: b.archive(key=b.path("bad.key"), usage="key_agreement", accept_declared_usage=True),
        two_halves,
    ),
    Row(
        "halves of two keys signs",
        "KeyUnreadable",
        ("signing_key",),
        lambda b: b.ask(signing_key=b.path("bad.key")),
        two_halves,
    ),
    Row("damaged one-time key", "StateError", ("one-time key", "new request"), Bench.recover, bad_one_time_key),
    Row(
        "damaged receipt",
        "StateError",
        ("receipt", "archive"),
        lambda b: b.private_key(key=b.path("mail.key")),
        damaged("receipts/*.json"),
    ),
    Row("damaged open request", "StateError", ("requests", "new request"), Bench.recover, damaged("requests/*.json")),
]

CERTIFICATES = [
    Row("no certificate there", "FileMissing", ("no.pem",), lambda b: b.archive(certificates=[b.path("no.pem")])),
    Row(
        "garbage",
        "FormatError",
        ("bad.pem",),
        lambda b: b.archive(certificates=[b.path("bad.pem")]),
        lambda b: holds("bad.pem", material(b, "garbage").encode())(b),
    ),
    Row("a directory", "FileError", ("directory",), lambda b: b.archive(certificates=[b.path("state")])),
    Row(
        "of another key",
        "ForeignCertificateRefused",
        ("bad.pem",),
        lambda b: b.archive(certificates=[b.path("bad.pem")]),
        lambda b: holds("bad.pem", material(b, "good").encode())(b),
    ),
]

AGENT = ("recovery_groups", "agent-1")
GROUPS = [
    Row("no group", "RecoveryGroupError", ("recovery_groups", "at least one"), lambda b: b.archive(recovery_groups=[])),
    Row(
        "no group option",
        "RecoveryGroupError",
        ("recovery_groups", "at least one"),
        lambda b: b.archive(recovery_groups=None),
    ),
    Row("no agents", "RecoveryGroupError", ("recovery_groups", "office"), lambda b: b.group(agents=[])),
    Row(
        "two groups of one name",
        "RecoveryGroupError",
        ("recovery_groups", "twice"),
        lambda b: b.archive(recovery_groups=b.scene.groups() * 2),
    ),
    Row("no name", "RecoveryGroupError", ("recovery_groups", "name"), lambda b: b.group(name="")),
    Row("a name of two lines", "RecoveryGroupError", ("recovery_groups", "name"), lambda b: b.group(name="a\nb")),
    Row("m > n", "RecoveryGroupError", ("threshold", "lower"), lambda b: b.group(threshold=4)),
    Row("m = 0", "RecoveryGroupError", ("threshold", "1 or more"), lambda b: b.group(threshold=0)),
    Row("m < 0", "RecoveryGroupError", ("threshold", "1 or more"), lambda b: b.group(threshold=-1)),
    Row("m = 1", "RecoveryGroupError", ("threshold", "minimum_threshold"), lambda b: b.group(threshold=1)),
    Row("m is a word", "OptionError", ("threshold",), lambda b: b.group(threshold="two")),
    Row(
        "m below the minimum",
        "RecoveryGroupError",
        ("threshold", "minimum_threshold"),
        lambda b: b.archive(minimum_threshold=3),
    ),
    Row("minimum 0", "RecoveryGroupError", ("minimum_threshold",), lambda b: b.archive(minimum_threshold=0)),
    Row(
        "one agent twice",
        "RecoveryGroupError",
        ("agent-1", "name"),
        lambda b: b.group(agents=b.scene.groups()[0]["agents"][:1] * 2),
    ),
    Row(
        "the wrapping key is a key of shares",
        "RecoveryGroupError",
        ("agent-1", "wrapping"),
        lambda b: b.agent(encryption_certificate=material(b, "dual"), wrapping_certificate=material(b, "dual")),
        dual,
    ),
    Row(
        "a wrapping certificate that is none",
        "RecoveryGroupError",
        ("agent-1", "wrapping_certificate", "PEM"),
        lambda b: b.agent(wrapping_certificate="none"),
    ),
    Row(
        "one key under two names",
        "RecoveryGroupError",
        ("same encryption key",),
        lambda b: b.group(agents=[b.scene.agents[0].option(), {**b.scene.agents[0].option(), "name": "agent-9"}]),
    ),
    Row(
        "one signing key for two",
        "RecoveryGroupError",
        ("same signing key",),
        lambda b: b.agent(signing_certificate=agent_pem(1, "signing")(b)),
    ),
    Row(
        "encryption key is the signing key",
        "RecoveryGroupError",
        (*AGENT, "two keys"),
        lambda b: b.agent(encryption_certificate=material(b, "dual"), signing_certificate=material(b, "dual")),
        dual,
    ),
    Row(
        "RSA-1024",
        "RecoveryGroupError",
        (*AGENT, "encryption_certificate", "2048"),
        lambda b: b.agent(encryption_certificate=material(b, "rsa-1024")),
    ),
    Row(
        "RSA-1024 signs",
        "RecoveryGroupError",
        (*AGENT, "signing_certificate", "2048"),
        lambda b: b.agent(signing_certificate=material(b, "rsa-1024")),
    ),
    Row(
        "X25519",
        "RecoveryGroupError",
        (*AGENT, "encryption_certificate", "P-256"),
        lambda b: b.agent(encryption_certificate=material(b, "x25519")),
    ),
    Row(
        "X25519 signs",
        "RecoveryGroupError",
        (*AGENT, "signing_certificate", "P-256"),
        lambda b: b.agent(signing_certificate=material(b, "x25519")),
    ),
    Row(
        "secp256k1",
        "RecoveryGroupError",
        (*AGENT, "encryption_certificate", "P-256"),
        lambda b: b.agent(encryption_certificate=material(b, "secp256k1")),
    ),
    Row(
        "P-224",
        "RecoveryGroupError",
        (*AGENT, "encryption_certificate", "P-256"),
        lambda b: b.agent(encryption_certificate=material(b, "p-224")),
    ),
    Row(
        "signing certificate to encrypt",
        "RecoveryGroupError",
        (*AGENT, "encryption certificate"),
        lambda b: b.agent(encryption_certificate=agent_pem(0, "signing")(b)),
    ),
    Row(
        "encryption certificate to sign",
        "RecoveryGroupError",
        (*AGENT, "signing certificate"),
        lambda b: b.agent(signing_certificate=agent_pem(0, "encryption")(b)),
    ),
    Row(
        "expired",
        "RecoveryGroupError",
        (*AGENT, "expired", "current"),
        lambda b: b.agent(encryption_certificate=material(b, "expired")),
    ),
    Row(
        "not yet valid",
        "RecoveryGroupError",
        (*AGENT, "not valid yet"),
        lambda b: b.agent(signing_certificate=material(b, "early")),
    ),
    Row(
        "garbage",
        "RecoveryGroupError",
        (*AGENT, "PEM"),
        lambda b: b.agent(encryption_certificate=material(b, "garbage")),
    ),
    Row(
        "a path",
        "RecoveryGroupError",
        (*AGENT, "PEM"),
        lambda b: b.agent(encryption_certificate=str(b.scene.agents[0].folder / "encryption.pem")),
    ),
    Row(
        "a chain",
        "RecoveryGroupError",
        (*AGENT, "one PEM certificate"),
        lambda b: b.agent(encryption_certificate=agent_pem(0, "encryption")(b) * 2),
    ),
    Row(
        "with its private key",
        "RecoveryGroupError",
        (*AGENT, "replace that key"),
        lambda b: b.agent(
            encryption_certificate=agent_pem(0, "encryption")(b)
            + (b.scene.agents[0].folder / "encryption.key").read_text()
        ),
    ),
]


TABLE = {"options": OPTIONS, "vault": VAULTS, "key file": KEY_FILES, "certificate": CERTIFICATES, "group": GROUPS}
