"""An experiment file that somebody else wrote reaches what `RAGTRIAL_CONFINE_TO` names, and nothing else."""

import shutil
from pathlib import Path

import pytest
import yaml

from ragtrial.errors import InputError, ValidationError
from ragtrial.formats import confinement
from ragtrial.formats.experiment import load_experiment
from ragtrial.formats.policy import load_policy
from ragtrial.settings import Settings, read_settings

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A checkout: the demo's experiment beside its data; and a secret outside of it."""
    home = tmp_path / "checkout"
    (home / "experiments").mkdir(parents=True)
    shutil.copy(REPOSITORY / "experiments" / "live-demo.yaml", home / "experiments" / "demo.yaml")
    (home / "seeds" / "training").mkdir(parents=True)
    (tmp_path / "secret.jsonl").write_text('{"_id": "s", "text": "the password is hunter2"}\n', "utf-8")
    return home


def confined(home: Path, **more: str) -> Settings:
    return read_settings({"RAGTRIAL_CONFINE_TO": str(home), **more})


def changed(home: Path, **places: object) -> Path:
    """The experiment with other values at dotted places, e.g. `data__path`."""
    path = home / "experiments" / "demo.yaml"
    experiment = yaml.safe_load(path.read_text("utf-8"))
    for place, value in places.items():
        *above, last = place.split("__")
        at = experiment
        for part in above:
            at = at[int(part)] if part.isdigit() else at.setdefault(part, {})
        at[last] = value
    path.write_text(yaml.safe_dump(experiment), "utf-8")
    return path


def problems(path: Path, settings: Settings) -> str:
    with pytest.raises(ValidationError) as refused:
        load_experiment(path, settings)
    return str(refused.value)


def test_the_demo_runs_where_its_folder_is_what_it_is_confined_to(home):
    assert load_experiment(home / "experiments" / "demo.yaml", confined(home)).experiment.name == "portwright-live"


def test_nothing_is_confined_where_the_environment_does_not_say_so(home):
    path = changed(home, data__path="/etc", stores__vectors="../../elsewhere")
    assert load_experiment(path, read_settings({})).experiment.data.path == "/etc"


LEAKS = {
    "data__path": ["../..", "/etc", "~/", "../seeds/../../secret.jsonl"],
    "stores__sql": [
        "sqlite:////etc/ragtrial.db",
        "sqlite:///../../x.db",
        "sqlite:///file:/etc/x?mode=rwc&uri=true",
        "postgresql://db.corp/x",
        "postgresql+psycopg://ragtrial@llm.corp/x?host=evil.example",
        "postgresql+psycopg://ragtrial@llm.corp/x?service=other",
    ],
    "stores__milvus": ["../../milvus.db", "http://10.0.0.5:19530"],
    "stores__vectors": ["/tmp/v"],  # noqa: S108
    "stores__calls": ["../../calls"],
    "stores__registry": ["../../models"],
    "llm__prices": ["/etc/passwd"],
    "training__pairs": [["../../pairs.jsonl"]],
    "training__base": ["/srv/model", "somebody/a-model", "all-MiniLM-L6-v2"],
    "arms__0__embedding": [
        {"model": "../../model"},
        {"model": "somebody/a-model"},
        {"model": "all-MiniLM-L6-v2"},
        {"provider": "os:system", "model": "x"},
        {"provider": "openai-compatible", "model": "m", "base_url": "https://evil.example/v1"},
        {"provider": "openai-compatible", "model": "m"},
        {"provider": "openai-compatible", "model": "m", "base_url": "https://llm.corp/v1", "api_key_env": "AWS_SECRET_ACCESS_KEY"},
    ],
    "generation": [
        {"provider": "openai-compatible", "model": "m", "base_url": "https://evil.example/v1"},
        {"provider": "openai-compatible", "model": "m", "base_url": "https://llm.corp/v1", "prompt": "../../../etc/hostname.md"},
    ],
    "monitor": [
        {"webhook": "https://evil.example/x"},
        {"webhook": "env:DATABASE_URL"},
        {"webhook_secret_env": "HOME"},
        {"reference": "../../secret.jsonl"},
    ],
}


@pytest.mark.parametrize(("place", "value"), [(place, value) for place, values in LEAKS.items() for value in values], ids=repr)
def test_a_confined_file_reaches_no_further(home, place, value):
    said = problems(changed(home, **{place: value}), confined(home, RAGTRIAL_ALLOWED_HOSTS="llm.corp"))
    assert place.split("__")[0] in said


def test_hosts_and_secrets_that_the_operator_names_are_allowed(home):
    spec = {"provider": "openai-compatible", "model": "m", "base_url": "https://llm.corp/v1", "api_key_env": "TEAM_KEY"}
    path = changed(home, generation=spec)
    settings = confined(home, RAGTRIAL_ALLOWED_HOSTS="LLM.corp, other", RAGTRIAL_ALLOWED_SECRETS="TEAM_KEY")
    assert load_experiment(path, settings).experiment.generation.base_url == "https://llm.corp/v1"
    assert "evil.example" in problems(changed(home, generation=spec | {"base_url": "https://evil.example/llm.corp"}), settings)


def test_a_store_that_the_operator_names_is_not_the_files_reach(home):
    path = changed(home, stores__sql="postgresql://evil/x")
    settings = confined(home, RAGTRIAL_STORES_SQL="postgresql+psycopg://ragtrial@db.corp/ragtrial")
    assert "db.corp" in load_experiment(path, settings).experiment.stores.sql


def test_a_symbolic_link_leads_nowhere_else(home, tmp_path):
    (home / "seeds" / "corpus.jsonl").symlink_to(tmp_path / "secret.jsonl")
    assert "symbolic link" in problems(home / "experiments" / "demo.yaml", confined(home))
    (home / "seeds" / "corpus.jsonl").unlink()
    (home / "out").symlink_to(tmp_path)
    assert "outside of" in problems(changed(home, data__path="../out"), confined(home))


def test_a_folder_with_more_files_than_are_looked_through_is_refused(home, monkeypatch):
    monkeypatch.setattr(confinement, "_MOST_FILES", 3)
    for number in range(4):
        (home / "seeds" / f"{number}.jsonl").touch()
    assert "more than 3 files" in problems(home / "experiments" / "demo.yaml", confined(home))


@pytest.mark.parametrize(
    "given", [{"RAGTRIAL_ALLOWED_HOSTS": "db.corp"}, {"RAGTRIAL_CONFINE_TO": ":"}, {"RAGTRIAL_ALLOWED_SECRETS": "KEY"}]
)
def test_whoever_means_to_confine_is_not_left_unconfined(given):
    with pytest.raises(InputError, match="names no folder"):
        read_settings(given)


def test_an_experiment_outside_of_the_folders_is_refused(home, tmp_path):
    shutil.copy(home / "experiments" / "demo.yaml", tmp_path / "demo.yaml")
    assert "lies outside" in problems(tmp_path / "demo.yaml", confined(home))


def test_each_problem_has_its_line(home):
    path = changed(home, stores__vectors="/srv/v")
    line = next(n for n, text in enumerate(path.read_text("utf-8").split("\n"), start=1) if "vectors" in text)
    with pytest.raises(ValidationError) as refused:
        load_experiment(path, confined(home))
    assert [(p.line, p.field) for p in refused.value.problems] == [(line, "stores.vectors")]


def test_a_confined_policy_runs_no_command_and_stays_in_its_folder(home):
    path = home / "policy.yaml"
    sound = "experiment: experiments/demo.yaml\nmodel: m\nwhen: {new_pairs: 10}\npairs: {sources: [curated]}\n"
    path.write_text(sound, "utf-8")
    assert load_policy(path, confined(home)).policy.model == "m"
    for more in ("command: [sh, -c, id]", "folder: ../elsewhere", "documents: {sources: [/etc]}"):
        path.write_text(f"{sound}{more}\n", "utf-8")
        with pytest.raises(ValidationError):
            load_policy(path, confined(home))


def test_no_policy_keeps_its_cycles_in_another_folder_by_its_models_name(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("experiment: e.yaml\nmodel: '..'\nwhen: {new_pairs: 10}\npairs: {sources: [curated]}\n", "utf-8")
    with pytest.raises(ValidationError, match="beginning with a letter"):
        load_policy(path, read_settings({}))
