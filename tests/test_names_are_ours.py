"""Do the five package names resolve to moonkiln's own files, and is a stranger named in a sentence?"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

from control.command_line import OWN_PACKAGES
from control.commands.doctor import LANDMARKS, ROOT, names_elsewhere


def test_the_five_names_are_ours() -> None:
    assert not names_elsewhere(), "\n".join(names_elsewhere())
    assert Path(__file__).resolve().parent.parent == ROOT
    assert set(LANDMARKS) == set(OWN_PACKAGES)


def spec_at(path: Path):
    return lambda name: importlib.machinery.ModuleSpec(name, None, origin=str(path / name / "__init__.py"))


def test_a_stranger_is_named_with_its_file(tmp_path: Path) -> None:
    def find(name: str):
        return spec_at(tmp_path)(name) if name == "control" else importlib.util.find_spec(name)

    (sentence,) = names_elsewhere(find)
    assert str(tmp_path / "control" / "__init__.py") in sentence and str(ROOT / "control") in sentence


def test_a_package_written_over_by_another_is_noticed(tmp_path: Path) -> None:
    for name in OWN_PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / LANDMARKS[name]).touch()
    assert not names_elsewhere(spec_at(tmp_path), tmp_path)
    (tmp_path / "slicer" / LANDMARKS["slicer"]).unlink()
    (sentence,) = names_elsewhere(spec_at(tmp_path), tmp_path)
    assert "slicer" in sentence and "written over" in sentence


def test_only_the_simulator_may_be_missing() -> None:
    missing = names_elsewhere(lambda name: None)
    assert len(missing) == len(OWN_PACKAGES) - 1 and not any("hil_sim" in sentence for sentence in missing)


def test_a_namespace_folder_of_that_name_is_a_stranger(tmp_path: Path) -> None:
    def find(name: str):
        if name != "vision":
            return importlib.util.find_spec(name)
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path / "vision")]
        return spec

    (sentence,) = names_elsewhere(find)
    assert str(tmp_path / "vision") in sentence
