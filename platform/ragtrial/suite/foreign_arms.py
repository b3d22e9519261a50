"""An arm with a pipeline of somebody else's: opened, tried on a few queries, and what can't be known of it said."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.domain.experiment import Arm, Experiment
from ragtrial.domain.parity import Conditions
from ragtrial.domain.retriever import NOT_KNOWN, OWN_ANSWERS, RetrieverSpec
from ragtrial.errors import InputError, RetrieverError, SetupError
from ragtrial.evaluation import order_of
from ragtrial.foreign.known import Mapped
from ragtrial.foreign.objects import imported
from ragtrial.foreign.retriever import ForeignRetriever
from ragtrial.suite.preparing import Prepared

TRIED = 5
"""Queries that a pipeline is asked before an evaluation: enough to see a wrong id or a retriever that returns four hits of ten."""


@dataclass(frozen=True, kw_only=True)
class ForeignArm:
    """What is known of an arm's own pipeline before the first query.

    Attributes:
        retriever: Open.
        check: State and detail of the evaluation's check.
    """

    retriever: ForeignRetriever
    check: tuple[str, str]


def has_own(experiment: Experiment, arm: Arm) -> bool:
    """Whether the arm brings a retriever of its own."""
    return experiment.retrieval_of(arm).retriever is not None


def refuse_own(experiment: Experiment, purpose: str) -> None:
    """Refuse what needs the inside of every arm.

    Raises:
        InputError: An arm brings a retriever of its own.
    """
    for arm in experiment.arms:
        if has_own(experiment, arm):
            raise InputError(f"arm {arm.name!r} brings a retriever of its own (retrieval.retriever): {purpose}")


def check_retriever(spec: RetrieverSpec) -> None:
    """Fail before any work where the object can't be imported.

    Raises:
        InputError: It can't be imported.
        MissingExtraError: Its library is not installed.
    """
    imported(spec)


def open_foreign(prepared: Prepared, arm: Arm, spec: RetrieverSpec) -> ForeignArm:
    """The arm's pipeline, after a look at what it returns for a few queries.

    Raises:
        InputError: It can't be made, none of its hits is a passage of the corpus, or it should answer and doesn't.
        SetupError: It failed on every query.
    """
    experiment = prepared.experiment
    retriever = ForeignRetriever(spec, prepared.corpus)
    top_k = experiment.retrieval_of(arm).depth
    queries = order_of(prepared.gold, seed=experiment.analysis.seed, limit=TRIED)
    looked = retriever.look(queries, top_k=top_k)
    failures = [each for each in looked if isinstance(each, RetrieverError)]
    if len(failures) == len(looked):
        raise SetupError(f"arm {arm.name!r}: {failures[0]}; so it was for all of the {len(looked)} queries that were tried first")
    found = [each[0] for each in looked if not isinstance(each, RetrieverError)]
    if any(one.n_looked_at for one in found) and not any(one.hits for one in found):
        stranger = next(one.stranger for one in found if one.stranger is not None)
        known = next(iter(prepared.corpus.by_id))
        raise InputError(
            f"arm {arm.name!r}: none of the {sum(one.n_looked_at for one in found)} hits for {len(found)} queries is a passage of the corpus: "
            f"it returned {stranger!r}, and a passage's id is {known!r}; say where the id is (retrieval.retriever.id_key), or match_by: text"
        )
    answers = [each[1] for each in looked if not isinstance(each, RetrieverError)]
    if experiment.generation_of(arm).provider == OWN_ANSWERS and all(answer is None for answer in answers):
        raise InputError(
            f"arm {arm.name!r}: generation.provider is {OWN_ANSWERS!r}, but {spec.path!r} returns hits and no answer: give a chain or a query "
            "engine, or another generation"
        )
    return ForeignArm(retriever=retriever, check=_check(arm.name, retriever, found, len(failures), top_k))


def _check(arm: str, retriever: ForeignRetriever, found: Sequence[Mapped], n_failed: int, top_k: int) -> tuple[str, str]:
    """What nobody can know of the pipeline, and what was odd when it was tried."""
    n = len(found) + n_failed
    odd = []
    if n_failed:
        odd.append(f"it failed on {n_failed} of them")
    most = max(len(one.hits) + one.n_unmapped for one in found)
    if most < top_k:
        odd.append(f"it returned at most {most} passages where top_k is {top_k}: let it return more, or metrics at {top_k} see only those")
    unmapped = sum(one.n_unmapped for one in found)
    if unmapped:
        odd.append(f"{unmapped} of its {sum(one.n_looked_at for one in found)} hits are no passage of the corpus")
    repeated = sum(one.n_repeated for one in found)
    if retriever.known.n_ambiguous:
        odd.append(f"{retriever.known.n_ambiguous} passages share their text with another one; a hit counts for the first of them")
    again = f"; {repeated} hits were on a passage that stood before, and were left out" if repeated else ""
    scores = "" if any(one.scored for one in found) else "; it gives no scores that fall with the rank, so similarities are 1 / rank"
    detail = (
        f"{arm} runs {retriever.spec.path} {retriever.spec.version!r}: its model, index, settings and corpus can't be looked into, nor whether "
        f"its version was changed with them; its embedding counts as search time{scores}; of {n} queries tried first: "
    )
    return ("warn", f"{detail}{'; '.join(odd)}{again}") if odd else ("unknown", f"{detail}nothing odd{again}")


def foreign_conditions(
    prepared: Prepared, arm: Arm, retriever: ForeignRetriever, *, rerank: dict[str, str], generation: dict[str, str]
) -> Conditions:
    """The arm's conditions, with `NOT_KNOWN` for what nobody can look into; chunking and data are those that its hits are mapped to."""
    experiment, spec = prepared.experiment, retriever.spec
    answers = experiment.generation_of(arm)
    is_own = answers.provider == OWN_ANSWERS
    return Conditions(
        embedding={"model": NOT_KNOWN},
        chunking={"chunking": experiment.chunking.label},
        retrieval={
            "top_k": str(experiment.retrieval_of(arm).top_k),
            "retriever": f"{spec.provider} {spec.path}" if spec.object else spec.path,
            "retriever.version": spec.version,
            "retriever.code": retriever.code or NOT_KNOWN,
            "retriever.match_by": spec.match_by if spec.id_key is None else f"{spec.match_by} {spec.id_key}",
            "retriever.inside": NOT_KNOWN,
            **rerank,
        },
        generation={
            "provider": answers.provider,
            "context_passages": str(answers.context_passages),
            **generation,
            **({"inside": NOT_KNOWN} if is_own else {}),
        },
        data={
            "corpus": prepared.corpus.fingerprint,
            "gold": prepared.gold.fingerprint,
            "n_passages": str(len(prepared.corpus.passages)),
        },
    )
