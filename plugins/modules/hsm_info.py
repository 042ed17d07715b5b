#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell what PKCS#11 tokens there are, what is on them, and what they truly enforce."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hsm_info
short_description: Tell what PKCS#11 tokens there are, what is on them, and what they truly enforce
version_added: 0.1.0
description:
  - Tells of PKCS#11 libraries the tokens, their mechanisms and their objects, and never a sensitive value.
  - With O(tokens[].probe) it puts to the test what the attributes of a token's keys only promise.
    That a signing key does not decrypt, that the usage cannot be changed, also not in a copy, that a key which must not
    leave the token does not leave it. The test uses session objects, of which nothing is left.
  - Environment variables that a library needs are set with C(environment) at the task, such as E(SOFTHSM2_CONF).
    For NSS's softokn, E(NSS_LIB_PARAMS) says where its database is.
options:
  tokens:
    description: The tokens to look at.
    type: list
    elements: dict
    required: true
    suboptions:
      uri:
        description:
          - A PKCS#11 URI (RFC 7512) with C(module-path), such as
            V(pkcs11:token=ops?module-path=/usr/lib/softhsm/libsofthsm2.so).
          - Without C(token), C(serial), C(manufacturer) and C(model) it means all tokens of the library.
          - C(pin-source=file:/path) names a file on the host with the user PIN. A C(pin-value) is refused.
        type: str
        required: true
      pin:
        description:
          - The user PIN. Without it, private objects are not seen.
          - A wrong PIN is tried once, and not at all when it could lock the token.
          - Whoever logs in waits for other runs with the same library and O(state_dir), so that they do not use up the
            tries together.
        type: str
      probe:
        description: Whether to find out what the token enforces. It makes RSA keys in the token, which takes seconds.
        type: bool
        default: false
extends_documentation_fragment:
  - keyops.lifecycle.attributes.info
  - keyops.lifecycle.state
  - keyops.lifecycle.step
requirements:
  - python-pkcs11 >= 0.9
seealso:
  - module: keyops.lifecycle.hsm_token
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: See what tokens a library has
  keyops.lifecycle.hsm_info:
    tokens:
      - uri: pkcs11:?module-path=/usr/lib/softhsm/libsofthsm2.so
  register: seen

- name: Find out what a token enforces before keys are made in it
  keyops.lifecycle.hsm_info:
    tokens:
      - uri: pkcs11:token=ops?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/keyops/pin
        probe: true
  register: looked
  failed_when: looked is failed or (looked.results[0].tokens[0].probe | selectattr('outcome', 'eq', 'fails'))
"""

RETURN = r"""
results:
  description: One item per item of O(tokens), in the same order.
  returned: success
  type: list
  elements: dict
  contains:
    uri:
      description: The PKCS#11 URI.
      type: str
      returned: always
    library:
      description: Path of the PKCS#11 library.
      type: str
      returned: always
    tokens:
      description: The tokens that the URI names.
      type: list
      elements: dict
      returned: always
      contains:
        slot_id:
          description: The slot that the token is in. It may change when tokens come and go.
          type: int
          returned: always
        slot_description:
          description: What the library says of the slot.
          type: str
          returned: always
        label:
          description: The token's label. Empty before it is initialised.
          type: str
          returned: always
          sample: ops
        manufacturer:
          description: Who made the token.
          type: str
          returned: always
        model:
          description: The token's model.
          type: str
          returned: always
        serial:
          description: The token's serial number.
          type: str
          returned: always
        initialized:
          description: Whether the token is initialised.
          type: bool
          returned: always
        hardware_version:
          description: The token's hardware version.
          type: str
          returned: always
        firmware_version:
          description: The token's firmware version.
          type: str
          returned: always
        flags:
          description: The token's flags, as PKCS#11 calls them without their prefix.
          type: list
          elements: str
          returned: always
          sample: [LOGIN_REQUIRED, TOKEN_INITIALIZED, USER_PIN_INITIALIZED]
        mechanisms:
          description: What the token can do, as PKCS#11 calls it without its prefix.
          type: list
          elements: str
          returned: always
        objects:
          description: The objects on the token that this login may see.
          type: list
          elements: dict
          returned: always
          contains:
            kind:
              description: The object's class, such as V(private_key) or V(certificate).
              type: str
              returned: always
            label:
              description: The object's label.
              type: str
              returned: always
            id:
              description: The object's ID in lower-case hex.
              type: str
              returned: always
            key_type:
              description: The key's type, as PKCS#11 calls it. Null for what is no key.
              type: str
              returned: always
            key_id:
              description:
                - The key ID, the lower-case hex SHA-256 of the DER public key.
                - Null where the token does not tell the public key.
              type: str
              returned: always
            attributes:
              description: What the key may be used for and what guards it, by the attribute's name in lower case.
              type: dict
              returned: always
              sample: {sign: true, decrypt: false, extractable: false, modifiable: false}
        probe:
          description: What the token enforces. Empty without O(tokens[].probe).
          type: list
          elements: dict
          returned: always
          contains:
            name:
              description: Name of the promise, stable across releases.
              type: str
              returned: always
              sample: copies_keep_usage
            outcome:
              description: V(holds), V(fails), or V(unknown) where the token lacks what the test needs.
              type: str
              returned: always
            detail:
              description: What the token did.
              type: str
              returned: always
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: WrongPin
"""

from ansible_collections.keyops.lifecycle.plugins.module_utils import _options
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import run_module

ARGUMENT_SPEC = {
    **_options.STATE_DIR,
    "tokens": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            **_options.TOKEN,
            "probe": {"type": "bool", "default": False},
        },
    },
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import hsm_info

    run_module(ARGUMENT_SPEC, hsm_info.run)


if __name__ == "__main__":
    main()
