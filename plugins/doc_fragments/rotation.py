# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of key_rotation and key_rotation_info."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  keys:
    description: The keys in files that are rotated. Keys on tokens are not; their labels cannot change.
    type: list
    elements: dict
    required: true
    suboptions:
      key:
        description:
          - Absolute path of the key. Its successor is the same path with C(.next) behind it, and a predecessor that is
            kept has a full stop and the first 16 digits of its key ID behind it.
        type: str
        required: true
      passphrase:
        description: Passphrase of the key, its successor and its predecessors.
        type: str
      usage:
        description: What the key is for. It only counts for a key that does not carry its usage.
        type: str
        choices: [signature, certificate_signing, authentication, key_transport, key_agreement]
      algorithm:
        description: Algorithm that the key is to have. A key of another algorithm is due.
        type: str
        choices:
          - rsa-2048
          - rsa-3072
          - rsa-4096
          - rsa-6144
          - rsa-8192
          - ec-p256
          - ec-p384
          - ec-p521
          - ed25519
          - ed448
          - x25519
          - x448
      certificate:
        description:
          - Absolute path of the key's certificate (PEM, the certificate first, then any chain). The successor's is
            expected at the same path with C(.next) behind it, and changes its name together with the key.
          - A key without it needs no certificate.
        type: path
      request:
        description: Absolute path of the certificate request. The successor's, with C(.next), changes its name too.
        type: path
      archive:
        description: Whether a nonsigning successor must be archived before it takes its place.
        type: bool
        default: true
      mode:
        description:
          - Permissions of the key file, in octal and in quotes. The successor gets them before it takes its place.
          - Without it, the successor's file gets those of the old key's file, but never more than V(0660).
        type: str
      owner:
        description: Owner of the key file. Without it, the successor's file gets the owner of the old one (as root).
        type: str
      group:
        description: Group of the key file. Without it, the successor's file gets the group of the old one.
        type: str
"""
