"""Models and drift: what was evaluated and how it was made, maps of embeddings, and what changes over time."""

from collections.abc import Callable

import streamlit as st

from ragtrial.db.live_reader import LiveExperiment
from ragtrial.domain.embedding_map import EmbeddingMap
from ragtrial.domain.evaluation import Evaluation
from ragtrial.report import model_charts, model_words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.model_words import Version
from ragtrial.report.summary import Summary, read_summary
from ragtrial.suite.model_states import States
from ragtrial_board.drift_parts import alerts, drift, standing
from ragtrial_board.frame import chart, empty, heading, section, stores, table
from ragtrial_board.registered import TONES, registered, registry_said
from ragtrial_board.saying import badge, escaped, unmarked
from ragtrial_board.style import style
from ragtrial_board.subject import analysed, chosen_subject
from ragtrial_board.verdict_parts import fold, part, statistics

MOST_EVALUATIONS = 50  # the newest ones


def show() -> None:
    """The whole page."""
    style("verdict")
    shown = chosen_subject()
    if isinstance(shown, LiveExperiment):
        _live(shown)
    elif shown is not None:
        _offline(shown)


def _offline(evaluation: Evaluation) -> None:
    evaluations = [each for each in stores().reader.evaluations() if each.finished_at is not None][-MOST_EVALUATIONS:]
    summaries = _summaries(evaluations)
    found = model_words.versions(evaluations, summaries)
    if not found:
        empty("No model was evaluated yet", "Models appear here with their first finished evaluation.", "ragtrial demo")
        return
    best, counted = model_words.versions_finding(found), model_words.versions_counted(found)
    heading(f"Models and drift · {evaluation.experiment}", best or counted, f"{counted}." if best else None)
    standing(evaluation.experiment)
    with section("The models"):
        known = registered()
        _states(known)
        rows = model_words.version_rows(found, known.contents)
        table(
            "models",
            rows,
            caption="Means of different gold sets, or of other queries, can't be compared. State is what the registry says now of the same weights.",
        )
    with section("How they were trained"):
        _training(found)
    with section("The map of embeddings"):
        _maps(evaluation)
    alerts(evaluation.experiment)


def _states(known: States) -> None:
    """Which versions are in production, candidates or archived, whether or not they were evaluated here."""
    marks = [
        f"{badge(*TONES[state], state)} <span>{escaped(', '.join(references))}</span>"
        for state in TONES
        if (references := known.having(state))
    ]
    if marks:
        st.html(
            f'<div class="rt-badges rt-states">{"".join(f"<span>{mark}</span>" for mark in marks)}'
            f'<span class="rt-muted">in the registry {escaped(registry_said())}</span></div>'
        )
    for problem in known.unread:
        st.warning(unmarked(problem))


def _summaries(evaluations: list[Evaluation]) -> dict[str, Summary]:
    read = ((each.evaluation_id, read_summary(stores().reader, stores().board, each.evaluation_id)) for each in evaluations)
    return {key: content for key, content in read if content is not None}


def _training(found: tuple[Version, ...]) -> None:
    trained = [each for each in found if each.lineage]
    if not trained:
        part(
            "None of them was trained here",
            "<p class='rt-muted'>A registered model brings its record with it: ragtrial train makes one.</p>",
        )
        return
    names = [each.name for each in trained]
    asked = st.query_params.get("model")
    picked = trained[0] if len(trained) == 1 else trained[names.index(_picked(names, asked))]
    metric = model_words.dev_metric(picked.lineage)
    curve = [row for row in picked.lineage.get("curve") or () if isinstance(row, dict) and "step" in row]
    if curve and metric is not None:
        chart(
            "training",
            lambda look: model_charts.training(curve, metric=metric, look=look),
            finding=model_words.training_finding(picked),
            caption=f"{picked.name}. The dev split is never part of the gold set.",
        )
    else:
        part(model_words.training_finding(picked))
    with fold("lineage", f"How {picked.name} was made"):
        statistics("lineage", model_words.lineage_rows(picked.lineage))


def _picked(names: list[str], asked: str | None) -> str:
    """The model of `?model=`."""
    picked: str = st.selectbox("Trained model", names, index=names.index(asked) if asked in names else 0, key=f"model {asked}")
    if picked != asked:
        st.query_params["model"] = picked
    return picked


def _maps(evaluation: Evaluation) -> None:
    maps = stores().board.embedding_maps(evaluation.evaluation_id)
    control, treatment = (next((each.arm for each in evaluation.arms if each.role == role), "") for role in ("control", "treatment"))
    if not {control, treatment} <= set(maps):
        part(
            "No map was made of this evaluation",
            f"<p class='rt-muted'>{escaped('A map shows how each model groups passages and queries.')}</p>",
        )
        st.code("ragtrial map EXPERIMENT.yaml", language="bash")
        return
    part(model_words.map_finding(maps, control))
    topics = model_charts.topics_of(tuple(maps.values()))
    for column, arm, role in zip(st.columns(2, gap="large"), (control, treatment), ("baseline", "custom"), strict=True):
        with column:
            chart(
                f"map {arm}",
                _drawn(maps[arm], topics),
                finding=arm if arm == role else f"{arm} ({role})",
                caption=model_words.map_caption(maps[arm]),
            )


def _drawn(found: EmbeddingMap, topics: tuple[str, ...]) -> Callable[[Look], Spec]:
    return lambda look: model_charts.embedding_map(found, topics=topics, look=look)


def _live(experiment: LiveExperiment) -> None:
    content = analysed(experiment)
    if content is not None:
        drift(content, lambda: standing(experiment.name))
    else:
        standing(experiment.name)
    alerts(experiment.name)


show()
