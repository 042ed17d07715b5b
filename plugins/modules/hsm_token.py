#!/usr/bin/python
# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make PKCS#11 tokens and set their PINs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hsm_token
short_description: Make PKCS#11 tokens and set their PINs
version_added: 0.1.0
description:
  - Initialises tokens of a PKCS#11 library, sets their user PIN, and changes PINs.
  - A token that is there is never initialised again, unless O(tokens[].reinitialize) asks for it. One that holds
    anything is only wiped when O(tokens[].destroy_objects) names its serial number as well.
  - No PIN is tried more than once, and none at all when it could lock the token.
  - Environment variables that a library needs are set with C(environment) at the task, such as E(SOFTHSM2_CONF).
options:
  tokens:
    description: The tokens.
    type: list
    elements: dict
    required: true
    suboptions:
      uri:
        description:
          - A PKCS#11 URI (RFC 7512) with C(token) and C(module-path), such as
            V(pkcs11:token=ops?module-path=/usr/lib/softhsm/libsofthsm2.so).
          - C(token) is the label that a new token gets.
          - Where several tokens are new, C(serial) names the one to initialise.
          - C(pin-source=file:/path) names a file on the host with the user PIN. A C(pin-value) is refused.
        type: str
        required: true
      pin:
        description: The user PIN that the token is to have. Required to initialise a token.
        type: str
      so_pin:
        description:
          - The security officer's PIN that the token is to have. Required to initialise a token and to set a user PIN
            where there is none.
        type: str
      old_pin:
        description: The user PIN that the token may still have, tried when the token does not take O(tokens[].pin).
        type: str
      old_so_pin:
        description:
          - The security officer's PIN that the token may still have. Only with it the security officer's PIN is looked
            at on a token that is there.
          - Some new tokens come with one, such as openCryptoki's with V(87654321), and it is changed to
            O(tokens[].so_pin) when the token is made.
        type: str
      reinitialize:
        description:
          - Initialises the token again although it is there, on every run.
          - An empty one only, unless O(tokens[].destroy_objects) is given, too.
        type: bool
        default: false
      destroy_objects:
        description: The serial number of the token whose objects may be lost for good with O(tokens[].reinitialize).
        type: str
extends_documentation_fragment:
  - keyops.lifecycle.attributes
  - keyops.lifecycle.state
  - keyops.lifecycle.step
requirements:
  - python-pkcs11 >= 0.9
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict what would change.
    support: partial
    details:
      - Whether a PIN would be changed is not told, since a wrong PIN that is tried counts.
  idempotent:
    description: A second run with the same options changes nothing.
    support: partial
    details:
      - O(tokens[].reinitialize) initialises the token on every run.
seealso:
  - module: keyops.lifecycle.hsm_info
author:
  - keyops.lifecycle maintainers (@keyops)
"""

EXAMPLES = r"""
- name: Make a token
  keyops.lifecycle.hsm_token:
    tokens:
      - uri: pkcs11:token=ops?module-path=/usr/lib/softhsm/libsofthsm2.so
        so_pin: "{{ ops_token_so_pin }}"
        pin: "{{ ops_token_pin }}"

- name: Change its user PIN
  keyops.lifecycle.hsm_token:
    tokens:
      - uri: pkcs11:token=ops?module-path=/usr/lib/softhsm/libsofthsm2.so
        pin: "{{ ops_token_pin }}"
        old_pin: "{{ ops_token_pin_of_last_year }}"

- name: Wipe a token of which nothing is needed any more
  keyops.lifecycle.hsm_token:
    tokens:
      - uri: pkcs11:token=test?module-path=/usr/lib/softhsm/libsofthsm2.so
        so_pin: "{{ test_token_so_pin }}"
        pin: "{{ test_token_pin }}"
        reinitialize: true
        destroy_objects: 5fbd0f5e5e648d7f
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
    action:
      description: What was done, V(initialized), V(pin_set), V(pin_changed) or V(kept).
      type: str
      returned: always
    changed:
      description: Whether this run changed anything about the token, or would.
      type: bool
      returned: always
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
error_class:
  description: Class of the error, stable across releases.
  returned: on failure
  type: str
  sample: TokenNotEmpty
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
            "so_pin": {"type": "str", "no_log": True},
            "old_pin": {"type": "str", "no_log": True},
            "old_so_pin": {"type": "str", "no_log": True},
            "reinitialize": {"type": "bool", "default": False},
            "destroy_objects": {"type": "str"},
        },
    },
}


def main() -> None:
    """Run the flow."""
    # Not at the top: the controller imports this file for its options, and would load the flow for nothing.
    from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import hsm_token

    run_module(ARGUMENT_SPEC, hsm_token.run)


if __name__ == "__main__":
    main()
