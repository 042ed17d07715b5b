# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of key_archive."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  keys:
    description: The keys to archive.
    type: list
    elements: dict
    required: true
    suboptions:
      key:
        description: Key reference, an absolute path or a C(pkcs11:) URI with C(module-path), C(token) or C(serial), and
          C(object).
        type: str
        required: true
      usage:
        description:
          - What the key is for. Only V(key_transport) and V(key_agreement) can be archived.
          - Not needed for a key that carries its usage inside itself, and never able to override it.
        type: str
        choices: [signature, certificate_signing, authentication, key_transport, key_agreement]
      passphrase:
        description: Passphrase of an encrypted key file.
        type: str
      pin:
        description: >-
          User PIN of the token that O(keys[].key) is on. A C(pin-source=file:) in the URI does the same.
        type: str
      certificates:
        description: Paths on the host of certificates and certificate requests for this key. They are evidence.
          The record keeps the certificates.
        type: list
        elements: path
        default: []
      accept_declared_usage:
        description:
          - Vouch for O(keys[].usage) of a key that was not made by this collection and for which nothing else shows
            its usage.
          - Evidence that the key signs is refused all the same.
        type: bool
        default: false
      place:
        description: >-
          The path that the record names, for a key that is about to move there, as in a rotation. The default is
          O(keys[].key).
        type: path
  key_owner:
    description: The person or service that the keys belong to. Recovery agents compare it with what they were told.
    type: str
    required: true
  search:
    description:
      - Folders on the host that are searched for further certificates and certificate requests of the keys.
      - The folder of each key is always searched.
    type: list
    elements: path
    default: []
  authorized_keys:
    description: Further files on the host in C(authorized_keys) format. Keys that stand in one are refused.
    type: list
    elements: path
    default: []
  on_refusal:
    description:
      - V(fail) archives nothing when any key is refused, and reports every refusal.
      - V(skip) archives the others, and reports every refusal in C(results[].refusal).
    type: str
    choices: [fail, skip]
    default: fail
"""
