#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decrypt messages, mailboxes and files with the keys of their owner."""

from __future__ import annotations

DOCUMENTATION = r"""
module: data_recovery
short_description: Decrypt S/MIME messages, mailboxes and CMS files
version_added: 0.1.0
description:
  - Decrypts S/MIME messages, whole mailboxes and CMS or PKCS#7 files, in bulk, with keys of the host that it runs on.
  - Encrypted parts of a message are replaced by what is in them, byte for byte; signatures inside stay. What is not
    encrypted is kept as it is.
  - Sources are only read. Outputs appear whole, with the mode V(0600) and the user that the module runs as for their
    owner; folders that are missing are made with V(0700).
  - What cannot be decrypted is listed with its reason, and the rest comes out. In the output of a mailbox it stays as
    it was.
  - CMS with RSA PKCS#1 v1.5, RSA-OAEP and ECDH; AES in CBC, GCM and CCM, ChaCha20-Poly1305, 3DES, Camellia, and RC2
    and DES where PyCryptodome is installed. DER, BER and PEM.
options:
  keys:
    description:
      - The private keys. A message is decrypted with the one that it names. Give all generations of an owner's key.
      - Either this or O(request_id) is needed.
    type: list
    elements: dict
    suboptions:
      key:
        description:
          - Key reference, an absolute path or a C(pkcs11:) URI.
          - A key on a token stays there; the token decrypts or derives, with one login for all.
        type: str
        required: true
      passphrase:
        description: Passphrase of an encrypted key file.
        type: str
      pin:
        description: User PIN of the token that O(keys[].key) is on. A C(pin-source=file:) in the URI does the same.
        type: str
      certificates:
        description:
          - Paths on the host of the certificates that the key had or has, PEM or DER, several in a file where it is
            PEM. Messages name one of them.
          - Without any, the key is tried with every recipient of its type, which takes longer.
        type: list
        elements: path
        default: []
  sources:
    description:
      - What to decrypt. With O(seal) and none at all there is only check mode, which tells whether the keys of
        O(request_id) come back.
    type: list
    elements: dict
    required: true
    suboptions:
      src:
        description: Absolute path of the file or folder. It is only read.
        type: path
        required: true
      dest:
        description:
          - Absolute path of the output, a file, and for a Maildir or an NTFS volume a folder. It must not lie in
            O(sources[].src), nor in another output.
          - A file that is there and was not made from this source is never replaced.
        type: path
        required: true
      kind:
        description:
          - What it is. V(message) is one mail (C(.eml)), V(cms) a CMS or PKCS#7 file (C(.p7m), DER or PEM).
          - V(mbox) is a mailbox in one file, V(maildir) a folder with C(cur) and C(new), with its subfolders. They are
            read as they come, whatever their size.
          - V(ntfs) is an image of an NTFS volume, or its block device. Its EFS files are decrypted with the program
            C(ntfsdecrypt) of Debian's package ntfs-3g; with a key on a token, without it.
          - V(auto) tells them apart by their content.
        type: str
        choices: [auto, message, cms, mbox, maildir, ntfs]
        default: auto
      files:
        description:
          - With V(ntfs), the files and folders of the volume that are wanted, as paths with slashes or backslashes, and
            with or without a drive. Upper and lower case are the same.
          - Without any, all EFS files of the volume.
        type: list
        elements: str
        default: []
  on_failure:
    description:
      - With V(fail), the task fails at its end when something was not decrypted. All the rest is there then, and
        RV(results) says what is missing.
      - With V(report), it only warns.
    type: str
    choices: [fail, report]
    default: fail
  report:
    description:
      - Absolute path of a file that gets one line of JSON for every item of every source. It has C(src), C(item),
        C(status) (V(decrypted), V(kept) or V(failed)), and where it says something C(reason), C(detail), C(message_id),
        C(offset) and C(key_ids).
      - A file that is there is replaced only when it is as an earlier run left it. It must not be a source, an output,
        a key or a certificate, and must not lie in one of them.
    type: path
  request_id:
    description:
      - ID of a recovery request that this host has open, and that enough agents have approved. All its keys are opened
        in the memory of one process, with the certificates of their records, and none is ever written.
      - It needs O(vault) and O(seal). When the folder is sealed, the event is written and the request's one-time key is
        removed. A run after that verifies the folder, compares its summary with the newest event of the request, and
        changes nothing.
    type: str
  on_missing_key:
    description:
      - What happens when the quorum gives back only some keys of O(request_id). With V(fail), nothing is decrypted.
      - With V(report), the others are used. The missing ones are named in the warnings, the summary and the event, and
        what needs them is among the failures. The request ends all the same.
    type: str
    choices: [fail, report]
    default: fail
  seal:
    description:
      - Seals the folder that all outputs lie in. Its files get mode V(0400), and a summary is written that names the
        SHA-256 of every file that was read and written, the keys, the agents who approved, and what failed.
      - When the host, a file or a token stood in the way of an item, and not the data, nothing is sealed and the task
        fails; O(request_id) stays open.
      - A folder that is sealed already is verified and left alone. M(keyops.lifecycle.data_recovery_info) verifies it
        at any time, and so do C(openssl) and C(sha256sum).
    type: dict
    suboptions:
      folder:
        description: >-
          Absolute path of the folder. It is made with mode V(0700), or holds nothing that is not of this task.
        type: path
        required: true
      signing_key:
        description: >-
          Path of the key on this host that signs the summary. With O(request_id) it is the key that signed the request,
          or the task fails.
        type: path
        required: true
      signing_key_passphrase:
        description: Passphrase of O(seal.signing_key).
        type: str
      signing_certificate:
        description: Its certificate, renewed or not, as PEM text or as an absolute path on this host.
        type: str
        required: true
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.attributes.vault_group
  - keyops.lifecycle.state
  - keyops.lifecycle.step
  - keyops.lifecycle.vault
attributes:
  check_mode:
    description: Decrypts everything and writes nothing, so it tells what can be opened.
    support: full
seealso:
  - module: keyops.lifecycle.key_recovery
  - module: keyops.lifecycle.recovery_request
  - module: keyops.lifecycle.data_recovery_info
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Decrypt a mailbox and a file of somebody who left
  keyops.lifecycle.data_recovery:
    keys:
      - key: /etc/keyops/alice-2023.key
        certificates: [/etc/keyops/alice-2023.pem]
      - key: /etc/keyops/alice-2025.key
        certificates: [/etc/keyops/alice-2025.pem]
    sources:
      - src: /var/mail/alice
        dest: /srv/case-17/alice.mbox
      - src: /home/alice/contract.p7m
        dest: /srv/case-17/contract.pdf

- name: The same straight from a recovery request, into a sealed folder
  keyops.lifecycle.data_recovery:
    vault:
      path: /srv/keyops/vault.db
    request_id: "{{ request.request_id }}"
    sources:
      - src: /var/mail/alice
        dest: /srv/case-17/alice.mbox
    seal:
      folder: /srv/case-17
      signing_key: /etc/keyops/requester.key
      signing_certificate: /etc/keyops/requester.pem
"""

RETURN = r"""
results:
  description: One item per item of O(sources), in the same order.
  returned: success, and on failure with O(on_failure=fail)
  type: list
  elements: dict
  contains:
    src:
      description: The source.
      type: str
      returned: success
    dest:
      description: The output.
      type: str
      returned: success
    kind:
      description: What the source is.
      type: str
      returned: success
    changed:
      description: Whether the output was written, or would be.
      type: bool
      returned: success
    items:
      description: How many messages or files the source has.
      type: int
      returned: success
    decrypted:
      description: How many of them were decrypted.
      type: int
      returned: success
    kept:
      description: How many have nothing to decrypt, and were kept as they are.
      type: int
      returned: success
    failed:
      description: How many could not be decrypted.
      type: int
      returned: success
    key_ids:
      description: Key IDs of the keys that were used, each with the number of items.
      type: dict
      returned: success
    failures:
      description: The first 100 that could not be decrypted.
      type: list
      elements: dict
      returned: success
      contains:
        item:
          description: Which one. The number of a mail, from 1, or the name of a file; empty when it is alone.
          type: str
          returned: success
        reason:
          description: >-
            Class of the error, stable across releases. V(NoKeyForData) for one that is encrypted to others,
            V(DataNotOpened) for a wrong key or altered content, which are not told apart, V(DataDamaged),
            V(DataUnsupported), V(DataTooLarge), V(NotEncrypted), or one of the host.
          type: str
          returned: success
        detail:
          description: What is wrong, in a sentence.
          type: str
          returned: success
        message_id:
          description: The Message-ID of a mail.
          type: str
          returned: when it has one
        offset:
          description: Where the mail begins in its mailbox, in bytes.
          type: int
          returned: for mbox
summary:
  description: SHA-256 of the signed summary. The event in the log names the same. Empty in check mode.
  returned: with O(seal)
  type: str
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    **_options.VAULT,
    **_options.STATE_DIR,
    "keys": {
        "type": "list",
        "elements": "dict",
        "no_log": False,
        "options": {
            **_options.EXISTING_KEY,
            "pin": {"type": "str", "no_log": True},
            "certificates": {"type": "list", "elements": "path", "default": []},
        },
    },
    "sources": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "kind": {
                "type": "str",
                "choices": ["auto", "message", "cms", "mbox", "maildir", "ntfs"],
                "default": "auto",
            },
            "files": {"type": "list", "elements": "str", "default": []},
        },
    },
    "report": {"type": "path"},
    "on_failure": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    "request_id": {"type": "str"},
    "on_missing_key": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    "seal": {
        "type": "dict",
        "options": {
            "folder": {"type": "path", "required": True},
            "signing_key": {"type": "path", "required": True, "no_log": False},
            "signing_key_passphrase": {"type": "str", "no_log": True},
            "signing_certificate": {"type": "str", "required": True},
        },
    },
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recover_data

    run_module(ARGUMENT_SPEC, recover_data.run)


if __name__ == "__main__":
    main()
