# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a scheduled job has by default is the same where it is documented and where it is used."""

from __future__ import annotations

from pathlib import Path

import yaml

ROLE = Path(__file__).parents[3] / "roles" / "schedule"


def test_defaults_of_a_job() -> None:
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    documented = specs["keyops_schedule_jobs"]["options"]
    used = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["keyops_schedule_job_defaults"]
    assert set(used) == set(documented) - {"name"}
    for name, default in used.items():
        assert default == documented[name].get("default", "{{ keyops_schedule_user }}"), name
