"""The GitHub Action and the GitLab template: of the published schemas, safe against what a request can set, and run as their hosts would."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from material import write_beir_folder, write_experiment
from servers import code_host
from servers.code_host import TOKEN
from unit.ecosystem.test_pytest_plugin import PLATFORM, QUICK

ACTION = Path(".ci/github/action.yml")
TEMPLATE = Path(".ci/gitlab/ragtrial.gitlab-ci.yml")
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@pytest.fixture(scope="module")
def action(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((repository / ACTION).read_text())
    return found


@pytest.fixture(scope="module")
def template(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((repository / TEMPLATE).read_text())
    return found


def schema(repository: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((repository / "tests" / "schemas" / name).read_text())
    return found


def test_the_action_is_of_githubs_schema(repository: Path, action: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(schema(repository, "github-action.json")).validate(action)


def test_the_template_is_of_gitlabs_schema(repository: Path, template: dict[str, Any]) -> None:
    job = {"handbook": {"extends": ".ragtrial", "variables": {"RAGTRIAL_EXPERIMENT": "experiments/handbook.yaml"}}}
    jsonschema.Draft7Validator(schema(repository, "gitlab-ci.json")).validate({**template, **job})


def test_the_artefact_is_shown_on_the_merge_request(template: dict[str, Any]) -> None:
    """GitLab shows what is exposed only where its paths hold no variable and no pattern, and folders end in a slash (its YAML reference)."""
    artefacts = template[".ragtrial"]["artifacts"]
    assert re.fullmatch(r"\w[-\w ]{,99}", artefacts["expose_as"])
    assert artefacts["paths"] == ["ragtrial-report/"]
    assert not [path for path in (*artefacts["paths"], artefacts["reports"]["junit"]) if set("$*?[") & set(path)]


def test_no_expression_stands_in_a_script(action: dict[str, Any]) -> None:
    scripts = [step["run"] for step in action["runs"]["steps"] if "run" in step]
    assert len(scripts) == 4
    assert not [script for script in scripts if "${{" in script]


def test_what_a_pull_request_sets_is_nowhere_in_the_action(repository: Path) -> None:
    text = (repository / ACTION).read_text()
    used = {found.split(".")[0].split("(")[0] for found in _EXPRESSION.findall(text)}
    assert used == {"inputs", "steps", "runner", "github", "strategy", "hashFiles"}
    assert {found for found in _EXPRESSION.findall(text) if found.startswith("github")} == {
        "github.token",
        "github.run_id",
        "github.run_attempt",
        "github.job",
    }


def step(action: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in action["runs"]["steps"] if each["name"] == name)
    return found


def test_the_cache_is_kept_where_the_job_fails_and_found_in_any_working_directory(action: dict[str, Any]) -> None:
    fetch, keep = step(action, "Fetch vectors, indexes and calls"), step(action, "Keep vectors, indexes and calls")
    names = [each["name"] for each in action["runs"]["steps"]]
    assert names.index(fetch["name"]) < names.index("Evaluate") < names.index(keep["name"]) < names.index("The gate")
    assert (fetch["uses"].split("@")[0], keep["uses"].split("@")[0]) == ("actions/cache/restore", "actions/cache/save")
    assert keep["if"].startswith("always() && ")
    assert keep["with"] == {"path": fetch["with"]["path"], "key": "${{ steps.kept.outputs.cache-primary-key }}"}
    for part in (
        "github.job",
        "inputs.matrix-place",
        "format('{0}/{1}', inputs.working-directory, inputs.experiment)",
        "github.run_attempt",
    ):
        assert part in fetch["with"]["key"]


def test_no_text_of_a_query_or_passage_is_uploaded_unless_it_is_asked_for(action: dict[str, Any], evaluated: "Workflow") -> None:
    summary, whole = step(action, "Keep the summary"), step(action, "Keep the whole report")
    assert action["inputs"]["upload-report"]["default"] == "false"
    assert summary["if"].endswith("inputs.upload-report != 'true'")
    assert whole["if"].endswith("inputs.upload-report == 'true'")
    report = evaluated.folder / "temp" / "ragtrial-report"
    sent = [line.rsplit("/", 1)[1] for line in summary["with"]["path"].split() if "/" in line]
    assert sent == ["report.md", "junit.xml"]
    data = evaluated.folder / "data"
    texts = [json.loads(line)["text"] for name in ("queries", "corpus") for line in (data / f"{name}.jsonl").read_text().splitlines()]
    assert any(text in (report / "report.html").read_text() for text in texts), "the whole report does quote them"
    assert not [text for text in texts for name in sent if text in (report / name).read_text()]


def test_each_job_of_a_matrix_and_each_experiment_has_an_artefact_of_its_own(tmp_path: Path, action: dict[str, Any]) -> None:
    names = set()
    for place, experiment in (("0", "a.yaml"), ("1", "a.yaml"), ("1", "b:c d.yaml")):
        job = Workflow(tmp_path, action)
        job.output.write_text("")
        job.place = place
        assert job.run("Evaluate", experiment=f"experiments/{experiment}") == 0
        names.add(job.outputs()["artifact"])
    ends = (
        "0-experiments-a.yaml",
        "1-experiments-a.yaml",
        "1-experiments-b-c-d.yaml",
    )  # the whole path: folders may hold files of one name
    assert names == {f"ragtrial-report-handbook-{end}" for end in ends}


def test_the_version_that_is_installed_is_an_input(tmp_path: Path, action: dict[str, Any], template: dict[str, Any]) -> None:
    job = Workflow(tmp_path, action)
    asked = tmp_path / "bin" / "python"
    asked.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{tmp_path / "asked.txt"}"\n')
    asked.chmod(0o755)
    for version in ("", "0.1.0"):
        assert job.run("Install ragtrial", version=version) == 0
        lines = template[".ragtrial"]["before_script"]
        given = {**job.environment, "RAGTRIAL_INSTALL": "ragtrial[local]", "RAGTRIAL_VERSION": version}
        subprocess.run(["sh", "-e", "-c", "\n".join(lines)], env=given, check=True)
    assert [line for line in (tmp_path / "asked.txt").read_text().splitlines() if line.startswith("ragtrial")] == [
        *(["ragtrial[local]"] * 2),
        *(["ragtrial[local]==0.1.0"] * 2),
    ]


def test_every_input_that_is_used_is_declared(action: dict[str, Any], repository: Path) -> None:
    used = set(re.findall(r"inputs\.([a-z-]+)", (repository / ACTION).read_text()))
    assert used == set(action["inputs"])


class Workflow:
    """A job that runs the action's scripts as GitHub's runner would: bash with its options, variables and files."""

    def __init__(self, folder: Path, action: dict[str, Any], **variables: str) -> None:
        self.folder, self.action = folder, action
        self.summary, self.output = folder / "summary.md", folder / "output.txt"
        self.summary.touch()
        self.output.touch()
        (folder / "temp").mkdir(exist_ok=True)
        (folder / "bin").mkdir(exist_ok=True)
        command(folder / "bin")
        self.environment = {
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(PLATFORM),
            "OMP_NUM_THREADS": "1",
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(folder / "temp"),
            **variables,
        }
        self.log, self.place = "", "0"

    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())

    def run(self, *names: str, **inputs: str) -> int:
        """Run these steps; the exit code of the first that fails, or 0."""
        given = {name: str(about.get("default", "")) for name, about in self.action["inputs"].items()} | {
            name.replace("_", "-"): value for name, value in inputs.items()
        }
        for step in self.action["runs"]["steps"]:
            if step["name"] not in names:
                continue
            own = {name: self._filled(value, given) for name, value in step["env"].items()}
            shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(shell, cwd=self.folder, env={**self.environment, **own}, capture_output=True, text=True, check=False)
            self.log += done.stdout + done.stderr
            if done.returncode:
                return done.returncode
        return 0

    def _filled(self, value: str, inputs: dict[str, str]) -> str:
        def look_up(found: re.Match[str]) -> str:
            where, _, name = found[1].partition(".")
            if found[1] in (known := {"github.job": "handbook", "strategy.job-index": self.place}):
                return known[found[1]]
            return self._filled(inputs[name], {}) if where == "inputs" else self.outputs()[name.rsplit(".", 1)[-1]]

        return _EXPRESSION.sub(look_up, value)


def command(folder: Path) -> None:
    """`ragtrial` on the path."""
    file = folder / "ragtrial"
    file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from ragtrial.cli.main import main; main()" "$@"\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, action: dict[str, Any]) -> "Workflow":
    """A job whose evaluation is done; twenty queries are too few, so its gate does not hold."""
    folder = tmp_path_factory.mktemp("job")
    data = write_beir_folder(folder / "data", n_passages=60, n_queries=20, answers=False)
    write_experiment(folder / "handbook.yaml", data, name="handbook", **QUICK, generation={"provider": "none"})
    job = Workflow(folder, action)
    assert job.run("Evaluate", experiment="handbook.yaml") == 0, job.log
    return job


def pull_request(folder: Path, number: int) -> str:
    event = folder / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": number, "head": {"sha": "feedbeef"}}}))
    return str(event)


def test_the_evaluation_leaves_reports_and_outputs_and_its_words_are_no_commands(evaluated: Workflow) -> None:
    report = evaluated.folder / "temp" / "ragtrial-report"
    artifact = "ragtrial-report-handbook-0-handbook.yaml"
    assert evaluated.outputs() == {"artifact": artifact, "exit-code": "1", "decision": "too few", "report": str(report)}
    assert {"report.html", "report.json", "junit.xml", "trials.parquet"} <= {path.name for path in report.iterdir()}
    assert re.search(r"^::stop-commands::([0-9a-f]{32})$(?s:.*)^::\1::$", evaluated.log, re.MULTILINE)


@pytest.mark.parametrize(("token", "n_comments"), [(TOKEN, 1), (code_host.READ_ONLY, 0)], ids=["own branch", "fork"])
def test_the_verdict_is_in_the_summary_and_on_the_pull_request_where_the_token_may(
    evaluated: Workflow, token: str, n_comments: int
) -> None:
    folder = evaluated.folder
    evaluated.summary.write_text("")
    with code_host.running("github") as host:
        evaluated.environment |= {"GITHUB_REPOSITORY": "acme/rag", "GITHUB_API_URL": host.url, "GITHUB_EVENT_PATH": pull_request(folder, 7)}
        assert evaluated.run("Say the verdict", experiment="handbook.yaml", token=token) == 0, evaluated.log
    assert len(host.comments) == n_comments
    assert ("comment refused" in evaluated.log) is (n_comments == 0)
    said = evaluated.summary.read_text()
    assert "### ❔ Too few queries · handbook" in said
    assert "Commit `feedbeef`" in said
    assert all(comment["body"] == said for comment in host.comments)


def test_what_can_not_be_evaluated_fails_the_job_and_takes_the_old_verdict_away(tmp_path: Path, action: dict[str, Any]) -> None:
    name = "no $(touch pwned) `touch pwned`; touch pwned.yaml"
    with code_host.running("github") as host:
        variables = {"GITHUB_REPOSITORY": "acme/rag", "GITHUB_API_URL": host.url, "GITHUB_EVENT_PATH": pull_request(tmp_path, 7)}
        job = Workflow(tmp_path, action, **variables)
        assert job.run("Evaluate", "Say the verdict", "The gate", experiment=name, token=TOKEN, fail_on_gate="false") == 2
    assert job.outputs()["decision"] == "none"
    assert "No result" in host.comments[0]["body"]
    assert not list(tmp_path.glob("*pwned*"))


@pytest.mark.parametrize(("fail", "code"), [("true", 1), ("false", 0)])
def test_the_gate_decides_only_where_it_is_asked_to(tmp_path: Path, action: dict[str, Any], fail: str, code: int) -> None:
    job = Workflow(tmp_path, action)
    job.output.write_text("exit-code=1\n")
    assert job.run("The gate", fail_on_gate=fail) == code


def pretender(folder: Path, report: Path) -> Path:
    """A `ragtrial` that has evaluated already: the evaluation itself is the same command as in the other tests."""
    folder.mkdir()
    command(folder)
    (folder / "ragtrial").rename(folder / "real")
    lines = [
        "#!/bin/sh",
        'if [ "$1" != evaluate ]; then exec real "$@"; fi',
        'printf "%s\\n" "$@" > asked.txt',
        f'cp -r "{report}" "$3"',
        "exit 1",
    ]
    (folder / "ragtrial").write_text("\n".join(lines) + "\n")
    (folder / "ragtrial").chmod(0o755)
    return folder


def test_gitlabs_job_evaluates_and_says_the_verdict_on_the_merge_request(evaluated: Workflow, template: dict[str, Any]) -> None:
    job, folder = template[".ragtrial"], evaluated.folder / "gitlab"
    folder.mkdir()
    path = f"{pretender(folder / 'bin', evaluated.folder / 'temp' / 'ragtrial-report')}:{evaluated.environment['PATH']}"
    with code_host.running("gitlab") as host:
        variables = {
            **{name: evaluated.environment[name] for name in ("HOME", "PYTHONPATH", "OMP_NUM_THREADS")},
            "PATH": path,
            "CI_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_IID": "7",
            "CI_API_V4_URL": host.url,
            "CI_JOB_URL": "https://git.example/jobs/1",
            "RAGTRIAL_GITLAB_TOKEN": TOKEN,
            **{name: value for name, value in job["variables"].items() if name.startswith("RAGTRIAL")},
            "RAGTRIAL_EXPERIMENT": "hand book; touch pwned.yaml",
            "RAGTRIAL_INSTALL": "",
            "RAGTRIAL_LIMIT": "50",
        }
        for part, code in (("script", 1), ("after_script", 0)):
            lines = [*(job["before_script"] if part == "script" else []), *job[part]]
            done = subprocess.run(
                ["sh", "-e", "-c", "\n".join(lines)], cwd=folder, env=variables, capture_output=True, text=True, check=False
            )
            assert done.returncode == code, done.stdout + done.stderr
    options = ["evaluate", "--output", "ragtrial-report", "--limit", "50", "--resume", "--", "hand book; touch pwned.yaml"]
    assert (folder / "asked.txt").read_text().splitlines() == options
    assert not list(folder.glob("*pwned*"))
    assert {path.name for path in (folder / "ragtrial-report").iterdir()} == {"junit.xml", "report.md"}, "what goes into the artefact"
    assert host.comments[0]["body"].count("[Full report and log](https://git.example/jobs/1)") == 1
