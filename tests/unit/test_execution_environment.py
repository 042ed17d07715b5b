# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What docs/awx.md and docs/schedule.md tell to write down is what the tools and the collection take."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.keyops.lifecycle.plugins.doc_fragments.vault import ModuleDocFragment

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list:
    """The YAML of a page."""
    found = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(text) for text in found]


def builder(*arguments: object, folder: Path) -> str:
    program = Path(sys.executable).with_name("ansible-builder")
    done = subprocess.run([program, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Where collections are, with what the builder reads of this one."""
    folder = tmp_path / "ansible_collections/keyops/lifecycle"
    (folder / "meta").mkdir(parents=True)
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]
    (folder / "MANIFEST.json").write_text("{}")  # the builder looks for it
    names = {path.name for path in ROOT.glob("*.txt")} - set(ignored)
    for name in [*names, "meta/execution-environment.yml"]:
        shutil.copy(ROOT / name, folder / name)
    return tmp_path


def test_the_image_gets_what_the_collection_needs(collection: Path) -> None:
    found = yaml.safe_load(builder("introspect", collection, folder=collection))
    assert {item.split("#")[0].split(">")[0] for item in found["python"]} == {"cryptography", "pycryptodomex", "hvac"}
    assert {item.split()[0] for item in found["system"]} == {"openssh-client", "openssh-clients"}


def test_the_definition_is_one(tmp_path: Path) -> None:
    definition, *dummy = blocks("awx.md")
    (tmp_path / "execution-environment.yml").write_text(yaml.safe_dump(definition))
    (tmp_path / "keyops-lifecycle.tar.gz").touch()
    builder("create", "--output-filename", "Containerfile", folder=tmp_path)
    lines = (tmp_path / "context" / "Containerfile").read_text().splitlines()
    (installs,) = [number for number, line in enumerate(lines) if "ansible-galaxy collection install" in line]
    (copies,) = [number for number, line in enumerate(lines) if line == "COPY _build /build"]
    assert copies < installs
    (named,) = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text())["collections"]
    assert named["name"] == "/build/keyops-lifecycle.tar.gz"
    assert (tmp_path / "context/_build/keyops-lifecycle.tar.gz").exists()


def test_the_credential_injects_what_the_vault_option_reads() -> None:
    dummy, inputs, injectors, *dummy_rest = blocks("awx.md")
    assert set(re.findall(r"E\((BAO_\w+)\)", ModuleDocFragment.DOCUMENTATION)) >= set(injectors["env"])
    used = set(re.findall(r"{{ (\w+) }}", " ".join([*injectors["env"].values(), *injectors["file"].values()])))
    assert used == {field["id"] for field in inputs["fields"]} == set(inputs["required"])
    assert {field["id"] for field in inputs["fields"] if field.get("secret")} == {"role_id", "secret_id"}


def test_the_scheduled_jobs_of_the_example_are_jobs() -> None:
    play = blocks("schedule.md")[0][0]
    spec = yaml.safe_load((ROOT / "roles/schedule/meta/argument_specs.yml").read_text())
    options = spec["argument_specs"]["main"]["options"]
    given = {name: value for name, value in play["vars"].items() if name.startswith("keyops_")}
    assert ArgumentSpecValidator(options).validate(given).error_messages == []
