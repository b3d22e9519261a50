"""`ragtrial pairs`: training pairs from whatever a team has."""

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.terminal import console, error_console, progress_bars

if TYPE_CHECKING:
    from ragtrial.suite.pair_files import Shown
    from ragtrial.suite.pair_mining import MinedFile
    from ragtrial.suite.pairing import Built

app = typer.Typer(help="Training pairs from whatever a team has: made, given hard negatives, shown and exported.", no_args_is_help=True)

PairsPath = Annotated[Path, typer.Argument(metavar="PAIRS.jsonl", help="A file of pairs that `ragtrial pairs build` wrote.")]
Corpus = Annotated[
    Path | None,
    typer.Option(
        "--corpus",
        metavar="DIR",
        help="A folder that `ragtrial prepare` made. [default: the corpus of training.data, or else of data]",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every draw.")]

_EXAMPLES = 5
_SHOWN = 90


@app.command("build")
def build(
    experiment: ExperimentPath,
    *,
    sources: Annotated[
        list[str],
        typer.Option(
            "--from",
            metavar="SOURCES",
            help="Some of judgments, questions, titles, headings, definitions, synthetic, votes, curated; with commas, or the option again.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write; an old one is replaced.")] = Path(
        "pairs.jsonl"
    ),
    corpus: Corpus = None,
    questions: Annotated[
        list[Path] | None,
        typer.Option(
            "--questions", metavar="FILE", help="questions: a table (.csv, .jsonl, .parquet) with user_input, and what answers it."
        ),
    ] = None,
    augment: Annotated[
        bool, typer.Option("--augment", help="Also swap abbreviations and long forms that are rare in the queries.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="synthetic: who writes and judges. [default: generation or metrics.judge of the file]", show_default=False
        ),
    ] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="synthetic: where --model is, with its /v1.")] = None,
    per_passage: Annotated[int, typer.Option("--per-passage", min=1, help="synthetic: most queries of a passage.")] = 3,
    round_trip: Annotated[
        int, typer.Option("--round-trip", min=0, help="synthetic: the baseline has to find the passage among so many; 0: any query.")
    ] = 20,
    judge: Annotated[bool, typer.Option("--judge/--no-judge", help="synthetic: an LLM checks each query.")] = True,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="synthetic: a random sample of so many passages.")] = None,
    consent: Annotated[
        str | None, typer.Option("--consent", metavar="TEXT", help="votes: how users agreed that votes train models; noted with each pair.")
    ] = None,
    cap: Annotated[int, typer.Option("--cap", min=1, help="votes: most passages that one user may speak for, or against.")] = 20,
    least_users: Annotated[int, typer.Option("--least-users", min=1, help="votes: users who must speak for a pair.")] = 1,
    seed: Seed = 42,
    refused: Annotated[
        Path | None, typer.Option("--refused", metavar="FILE", help="Also write the pairs that touch the gold set, with the reason.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what calls to an LLM may cost, and stop.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make training pairs, for `training.pairs` of the experiment file.

    judgments: relevant judgments of training.data (leave this out where training reads training.data itself). questions: tables of
    questions with passages or answers. titles, headings, definitions: from the documents' own structure, no LLM. synthetic: an LLM writes
    queries from passages; they are filtered by text, near-duplicates, round trip and judge. votes: what users of the live service said.
    curated: what operators chose on the dashboard.

    Pairs that touch the gold set are refused and counted, and none is made from a document whose split is test. Calls to an LLM are kept:
    where a run was stopped, the same command goes on without paying twice.

    Exit codes: 0 written, 2 bad input, or no pair is left.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.pair_sources import VoteOptions
    from ragtrial.suite.pair_writing import Writing
    from ragtrial.suite.pairing import Wanted, build_pairs, plan_writing, sources_of, write_refused

    wanted = Wanted(
        sources=sources_of(sources),
        corpus=corpus,
        questions=tuple(questions or ()),
        writing=Writing(model=model, base_url=base_url, per_passage=per_passage, round_trip=round_trip, judge=judge, limit=limit),
        votes=VoteOptions(consent=consent, cap=cap, least_users=least_users),
        augment=augment,
        seed=seed,
    )
    if dry_run:
        _plan(plan_writing(experiment, wanted, settings=read_settings()), as_json=as_json)
        return
    out = error_console()

    def say(text: str) -> None:
        if not quiet:
            out.print(text, markup=False, soft_wrap=True)

    with progress_bars(quiet=quiet or as_json) as progress:
        built = build_pairs(experiment, output, wanted, settings=read_settings(), say=say, progress=progress)
    if refused is not None:
        write_refused(refused, built)
    if as_json:
        typer.echo(json.dumps(_of_build(built), ensure_ascii=False))
        return
    mine = " ".join(["ragtrial pairs mine", *_quoted(output, experiment), *(("--corpus", *_quoted(corpus)) if corpus else ())])
    for line in [*_said_of_build(built), f"next: {mine} -o mined.jsonl, or without hard negatives {_to_train(output, experiment)}"]:
        console().print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("mine")
def mine(
    pairs: PairsPath,
    experiment: ExperimentPath,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write; may be the same.")],
    corpus: Corpus = None,
    per_pair: Annotated[
        int | None, typer.Option("--per-pair", min=1, help="Negatives for each pair. [default: training.mining, or 3]", show_default=False)
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            help="Candidates nearer than this share of the pair's own similarity are left out. [default: training.mining, or 0.95]",
            show_default=False,
        ),
    ] = None,
    range_min: Annotated[
        int | None, typer.Option("--range-min", min=0, help="Rank of the first candidate, from 0.", show_default=False)
    ] = None,
    range_max: Annotated[int | None, typer.Option("--range-max", min=1, help="Rank behind the last candidate.", show_default=False)] = None,
    sampling: Annotated[
        Literal["top", "random"] | None, typer.Option("--sampling", help="The hardest candidates, or a draw from all.", show_default=False)
    ] = None,
    seed: Seed = 42,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Add hard negatives: passages that the baseline ranks near a query and that don't answer it.

    What is known to answer a query, what reads the same, what is nearly as near as the pair's own passage, and what stands in a document
    that answers a gold query is never a negative. Pairs of the file that touch the gold set are left out. Pairs of the dev split get none.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.pair_mining import mine_pairs, mining_spec

    asked = {"per_pair": per_pair, "margin": margin, "range_min": range_min, "range_max": range_max, "sampling": sampling}
    spec = mining_spec(experiment, {name: value for name, value in asked.items() if value is not None})
    with progress_bars(quiet=quiet or as_json) as progress:
        mined = mine_pairs(pairs, experiment, output, settings=read_settings(), corpus=corpus, spec=spec, seed=seed, progress=progress)
    if as_json:
        typer.echo(json.dumps(_of_mining(mined), ensure_ascii=False))
        return
    for line in [*_said_of_mining(mined), f"next: {_to_train(output, experiment)}"]:
        console().print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("export")
def export(
    pairs: PairsPath,
    *,
    form: Annotated[
        Literal["pairs", "triplets", "scored"],
        typer.Option("--as", help="pairs: anchor, positive. triplets: with a negative. scored: sentence1, sentence2, score."),
    ] = "pairs",
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Ends with .jsonl, .csv or .parquet.")],
    split: Annotated[Literal["train", "dev", "all"], typer.Option("--split", help="Whose pairs.")] = "train",
    as_json: Json = False,
) -> None:
    """Write pairs under the column names that sentence-transformers expects, for trainers other than `ragtrial train`.

    Scored: a pair without a score of its own counts as 1, each of its negatives as 0.
    """
    from ragtrial.suite.pair_files import export_pairs

    done = export_pairs(pairs, output, form=form, split=None if split == "all" else split)
    if as_json:
        typer.echo(
            json.dumps({"file": str(done.output), "as": done.form, "rows": done.rows, "pairs_without_negatives": done.without_negatives})
        )
        return
    console().print(f"wrote {done.rows:,} rows as {done.form} to {done.output}", markup=False, soft_wrap=True)
    if done.without_negatives:
        said = f"left out: {done.without_negatives:,} pairs without negatives (ragtrial pairs mine)"
        console().print(said, markup=False, soft_wrap=True)


@app.command("show")
def show(pairs: PairsPath, *, as_json: Json = False) -> None:
    """Count pairs by origin and split, their lengths and negatives, with an example of each origin."""
    from ragtrial.suite.pair_files import show_pairs

    found = show_pairs(pairs)
    if as_json:
        typer.echo(json.dumps(_of_show(found), ensure_ascii=False))
        return
    for line in _said_of_show(found):
        console().print(line, markup=False, highlight=False, soft_wrap=True)


def _to_train(output: Path, experiment: Path) -> str:
    """What the experiment file has to say for these pairs to be trained on."""
    place = os.path.relpath(output, experiment.absolute().parent)
    return f"name {place!r} in training.pairs of {experiment}, and ragtrial train {' '.join(_quoted(experiment))}"


def _quoted(*paths: Path) -> list[str]:
    return [shlex.quote(str(path)) for path in paths]


def _plan(lines: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"plan": list(lines)}, ensure_ascii=False))
        return
    for line in lines:
        console().print(line, markup=False, highlight=False, soft_wrap=True)


def _of_build(built: "Built") -> dict[str, object]:
    return {
        "file": str(built.output),
        "corpus": str(built.corpus),
        "test_documents": built.n_test,
        "pairs": len(built.pairs),
        "by_origin": built.by_origin,
        "sources": {
            name: {"pairs": len(each.pairs), "left_out": dict(each.left_out), **each.facts} for name, each in built.sources.items()
        },
        "refused": built.counts_refused,
        "refused_pairs": [{"query": each.pair.query, "passage_id": each.pair.passage_id, "reason": each.reason} for each in built.refused],
        "left_out": dict(built.left_out),
    }


def _said_of_build(built: "Built") -> list[str]:
    origins = ", ".join(f"{n:,} {name}" for name, n in built.by_origin.items())
    lines = [f"wrote {len(built.pairs):,} pairs to {built.output}: {origins}", f"made from {built.corpus}"]
    if built.n_test:
        lines.append(f"  {built.n_test:,} documents are for testing: no pair is made from them")
    for name, each in built.sources.items():
        facts = "".join(f"; {fact}: {value}" for fact, value in each.facts.items())
        lines.append(f"{name}: {len(each.pairs):,} pairs{facts}")
        lines += [f"  left out: {n:,} {reason}" for reason, n in each.left_out.items()]
    if built.refused:
        lines.append(f"refused, for they touch the gold set: {len(built.refused):,}")
        lines += [f"  {n:,} because {reason}" for reason, n in built.counts_refused.items()]
        lines += [f"  e.g. {_short(each.pair.query)!r}: {each.reason}" for each in built.refused[:_EXAMPLES]]
    lines += [f"left out: {n:,}: {reason}" for reason, n in built.left_out.items()]
    return lines


def _of_mining(mined: "MinedFile") -> dict[str, object]:
    import dataclasses

    return {
        "file": str(mined.output),
        "pairs": len(mined.pairs),
        "mined": mined.n_mined,
        "negatives": sum(len(pair.negatives) for pair in mined.pairs),
        "without": mined.n_without,
        "too_near": mined.n_too_near,
        "passages": mined.n_passages,
        "passages_kept_out": mined.n_kept_out,
        "refused": dict(mined.refused),
        "negatives_refused": mined.n_negatives_refused,
        "baseline": mined.baseline,
        "settings": dataclasses.asdict(mined.spec),
    }


def _said_of_mining(mined: "MinedFile") -> list[str]:
    from ragtrial.suite.gold_leaks import GOLD_NEGATIVE

    negatives = sum(len(pair.negatives) for pair in mined.pairs)
    kept_out = f"{mined.n_kept_out:,} kept out: for testing, or of documents that answer gold queries"
    refused = [f"refused, for they touch the gold set: {sum(mined.refused.values()):,}"] if mined.refused else []
    refused += [f"  {n:,} because {reason}" for reason, n in mined.refused.items()]
    if mined.n_negatives_refused:
        refused.append(f"left out: {mined.n_negatives_refused:,}: {GOLD_NEGATIVE}")
    return [
        f"wrote {len(mined.pairs):,} pairs with {negatives:,} negatives to {mined.output}, mined with {mined.baseline}",
        f"looked at {mined.n_mined:,} training pairs and {mined.n_passages:,} passages ({kept_out})",
        f"left out as false negatives: {mined.n_too_near:,} candidates above {mined.spec.margin:g} of the own passage's similarity",
        f"without a negative: {mined.n_without:,} pairs",
        *refused,
    ]


def _of_show(found: "Shown") -> dict[str, object]:
    import dataclasses

    return {
        "pairs": found.pairs,
        "counts": [{"origin": origin, "split": split, "pairs": n} for (origin, split), n in found.counts.items()],
        "queries": found.queries,
        "passages": found.passages,
        "with_negatives": found.with_negatives,
        "negatives": found.negatives,
        "scored": found.scored,
        "licences": dict(found.licences),
        "query_words": dataclasses.asdict(found.query_words),
        "passage_words": dataclasses.asdict(found.passage_words),
        "examples": [dataclasses.asdict(pair) for pair in found.examples],
    }


def _said_of_show(found: "Shown") -> list[str]:
    lines = [f"{found.pairs:,} pairs of {found.queries:,} queries and {found.passages:,} passages"]
    lines += [f"  {origin}, {split}: {n:,}" for (origin, split), n in found.counts.items()]
    for name, words in (("query", found.query_words), ("passage", found.passage_words)):
        lines.append(f"words of a {name}: median {words.median:g}, 95 % below {words.p95:g}, at most {words.longest:,}")
    lines.append(f"{found.with_negatives:,} pairs have negatives ({found.negatives:,}), {found.scored:,} a score of their own")
    lines += [f"licence {name}: {n:,}" for name, n in found.licences.items()]
    for pair in found.examples:
        lines.append(f"{pair.origin}: {_short(pair.query)}")
        lines.append(f"    {_short(pair.passage)} ({pair.passage_id})")
        lines += [f"    not: {_short(text)}" for text in pair.negatives[:1]]
    return lines


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
