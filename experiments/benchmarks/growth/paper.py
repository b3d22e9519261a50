"""What a billion passages and ten thousand queries a second would need: arithmetic from inputs that are written down, not a measurement.

python experiments/benchmarks/growth/paper.py
python experiments/benchmarks/growth/paper.py --set gpu_hour=1.2 --set passages=1e8 --measured .ragtrial/growth.jsonl
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from growth.fitting import fit, medians
from growth.plan import GIB
from growth.results import Measured, read
from ragtrial.contracts import IndexParameters
from ragtrial.errors import InputError, RagtrialError
from ragtrial.index.estimates import IndexSize, index_size, node_memory

INPUTS = Path(__file__).with_name("paper.yaml")
TIB, MONTH_H = 1024 * GIB, 730.0
LARGE, SCANNED = 100_000, 32 / 1024
"""From this size on a scan is told from the call around it; and the share of the codes that `vector_steps` has scanned."""
INDEXES = {
    "HNSW": IndexParameters(type="HNSW", build={"M": 16, "efConstruction": 200}, search={}),
    "IVF_SQ8": IndexParameters(type="IVF_SQ8", build={"nlist": 1024}, search={}),
    "DISKANN": IndexParameters(type="DISKANN", build={}, search={}),
    "binary, IVF_FLAT": IndexParameters(type="IVF_FLAT", build={"nlist": 1024}, search={}, vectors="binary"),
}


_MEASURED = (
    ("embed_per_core_s", "index", "passages_per_core_s"),
    ("search_cpu_ms", "search-hnsw", "server_cpu_ms_batched"),
    ("request_cpu_ms", "ask", "cpu_ms_per_request"),
    ("log_per_s", "log", "trials_per_s"),
)
"""Inputs with the step and the detail that they are measured by."""


_LOG_COST = "2 * (log_tib * 1024 * nvme_gib_month + 730 * (pg_cores * core_hour + pg_gib * gib_hour))"
_STORES_HEAD = (
    "| index, both arms | memory of the query nodes | their disks | object store | nodes by memory | nodes by cores | USD a month |"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A number that something is computed from.

    Attributes:
        value: The number.
        unit: Its unit.
        kind: `wish`, `setting`, `measured` or `assumed`.
        source: Where it comes from.
    """

    value: float
    unit: str
    kind: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A result.

    Attributes:
        name: What is needed.
        formula: In the inputs' names.
        value: The result.
        unit: Its unit.
        rests_on: The weakest kind among its inputs: `measured`, or `assumed`.
    """

    name: str
    formula: str
    value: float
    unit: str
    rests_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One type of index at that size, both arms.

    Attributes:
        name: The type.
        memory: Bytes of query nodes together: all arms and replicas, head room, and the swap.
        local: Bytes on query nodes' disks: DISKANN's files, and mapped texts.
        objects: Bytes in the object store: vectors, texts and index, once for each arm.
        nodes: Query nodes by memory.
        nodes_by_cores: Query nodes by the CPU of searches; None where no search was measured.
        month: USD for the larger number of nodes and both disks.
    """

    name: str
    memory: float
    local: float
    objects: float
    nodes: int
    nodes_by_cores: int | None
    month: float


def inputs(path: Path = INPUTS) -> dict[str, Input]:
    """The inputs of a file.

    Raises:
        InputError: One is not as it should be.
    """
    found = {}
    for name, said in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        try:
            found[name] = Input(**{**said, "value": float(said["value"]), "unit": str(said["unit"])})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: input {name!r} is not read ({error}): give value, unit, kind and source") from error
    return found


def changed(found: Mapping[str, Input], told: Sequence[str]) -> dict[str, Input]:
    """With what the reader puts in the place of values.

    Raises:
        InputError: There is no such input, or it is no number above 0 (0 is taken where the input says `0 or 1`).
    """
    made = dict(found)
    for each in told:
        name, _, value = each.partition("=")
        if name not in made:
            raise InputError(f"--set {each}: there is no input {name!r}; they are {', '.join(made)}")
        try:
            number = float(value)
        except ValueError as error:
            raise InputError(f"--set {each}: {value!r} is no number") from error
        if not math.isfinite(number) or number < 0 or (number == 0 and made[name].unit not in ("0 or 1", "exponent")):
            raise InputError(f"--set {each}: {name} is above 0")
        made[name] = replace(made[name], value=number, source="given by the reader")
    return made


def from_run(found: Mapping[str, Input], run: Sequence[Measured]) -> dict[str, Input]:
    """With a run's measurements in the place of assumptions; those that it does not have, or only at sizes that tell nothing, stay."""
    made = dict(found)

    def put(name: str, value: float, size: int) -> None:
        if math.isfinite(value) and value >= 0:
            made[name] = replace(made[name], value=value, kind="measured", source=f"{made[name].source}; at {size:,}")

    def largest(step: str, key: str) -> tuple[float, int]:
        values = medians((each.size, each.detail[key]) for each in run if each.step == step and key in each.detail)
        return (values[max(values)], max(values)) if values else (math.nan, 0)

    for name, step, key in _MEASURED:
        value, size = largest(step, key)
        put(name, value if size >= LARGE or not step.startswith("search") else math.nan, size)
    _, size = largest("search-hnsw", "server_cpu_ms_batched")
    put("search_passages", float(size) if size >= LARGE else math.nan, size)
    alone, size = largest("search-hnsw", "server_cpu_ms")
    put("call_cpu_ms", alone - largest("search-hnsw", "server_cpu_ms_batched")[0] if size >= LARGE else math.nan, size)
    searched = fit(
        (each.size, each.detail["server_cpu_ms_batched"])
        for each in run
        if each.step == "search-hnsw" and each.detail.get("server_cpu_ms_batched", 0) > 0
    )
    if searched is not None and size >= LARGE:
        put("search_exponent", min(1.0, max(0.0, searched.exponent)), size)
    scanned = medians(
        (each.size, each.detail["server_cpu_ms_batched"])
        for each in run
        if each.step == "search-ivf" and "server_cpu_ms_batched" in each.detail
    )
    if len(scanned) > 1 and max(scanned) >= LARGE:
        low, high = sorted(scanned)[-2:]
        put("ivf_cpu_ms", (scanned[high] - scanned[low]) / (high - low) * 1e6 / SCANNED, high)
    analysed = fit((each.size, each.seconds) for each in run if each.step == "analyse")
    stored = medians((each.size, each.detail["database_bytes"]) for each in run if each.step == "analyse")
    if analysed is not None and max(stored) >= LARGE:
        low, high = sorted(stored)[-2:]
        put("analyse_exponent", max(0.0, analysed.last), high)
        put("trial_bytes", (stored[high] - stored[low]) / (high - low), high)
    return made


def stores(found: Mapping[str, Input]) -> list[Store]:
    """What each type of index takes: `index.estimates` for the index, and what is around it."""
    x = {name: each.value for name, each in found.items()}
    n, copies = round(x["passages"]), x["arms"] * x["replicas"]
    searched = {line.formula.partition(" ")[0]: round(line.value) for line in _searching(found)}
    by_cores = {"HNSW": searched["hnsw_nodes"], "IVF_SQ8": searched["ivf_nodes"]}
    made = []
    for name, parameters in INDEXES.items():
        size: IndexSize = index_size(parameters, n=n, dimension=round(x["dimension"]))
        texts = n * x["text_bytes"]
        replica = size.memory + texts * x["texts_in_memory"]
        memory = node_memory(round(replica * (copies + x["swap"] * x["replicas"])))
        local = (texts * (1 - x["texts_in_memory"]) + (size.disk if name == "DISKANN" else 0)) * copies
        objects = x["arms"] * (n * 4 * x["dimension"] + texts + size.disk)
        nodes = math.ceil(memory / (x["node_gib"] * GIB))
        most = max(nodes, by_cores.get(name, 0))
        month = MONTH_H * most * (x["node_gib"] * x["gib_hour"] + x["node_cores"] * x["core_hour"])
        month += local / GIB * x["nvme_gib_month"] + objects / GIB * x["object_gib_month"]
        made.append(
            Store(name=name, memory=memory, local=local, objects=objects, nodes=nodes, nodes_by_cores=by_cores.get(name), month=month)
        )
    return made


def lines(found: Mapping[str, Input]) -> list[Line]:
    """Everything else, by part; see the formula of each line."""
    return [*_embedding(found), *_searching(found), *_logging(found), *_serving(found)]


class _Sums:
    """Collects lines, with their kind from the inputs and lines that a formula names."""

    def __init__(self, found: Mapping[str, Input]) -> None:
        self.made: list[Line] = []
        self._kinds = {name: each.kind for name, each in found.items()}
        self.x = {name: each.value for name, each in found.items()}

    def add(self, name: str, formula: str, unit: str, short: str) -> float:
        """A line; the formula is what is computed, and may name earlier lines by their short names."""
        value = _computed(formula, self.x)
        used = [kind for known, kind in self._kinds.items() if known in _names(formula)]
        weakest = "assumed" if "assumed" in used else "measured" if "measured" in used else "given"
        self.x[short], self._kinds[short] = value, weakest
        self.made.append(Line(name=name, formula=f"{short} = {formula}", value=value, unit=unit, rests_on=weakest))
        return value


def _names(formula: str) -> set[str]:
    return set(compile(formula, "formula", "eval").co_names)


def _computed(formula: str, x: Mapping[str, float]) -> float:
    """The formula's value: what is printed is what is computed. Formulae are those of this file, and no one else's."""
    return float(eval(formula, {"__builtins__": {}, "ceil": math.ceil}, dict(x)))  # noqa: S307


def _embedding(found: Mapping[str, Input]) -> list[Line]:
    sums = _Sums(found)
    sums.add("texts to embed", "arms * passages", "passages", "to_embed")
    sums.add("embedding on CPUs", "to_embed / embed_per_core_s / 3600", "core hours", "cpu_h")
    sums.add("the same, in the wished time", "ceil(cpu_h / embed_within_h)", "cores", "cpu_cores")
    sums.add("cost on CPUs, once", "cpu_h * core_hour", "USD", "cpu_usd")
    sums.add("arithmetic of a passage", "2 * model_parameters * tokens + 4 * 6 * tokens ** 2 * dimension", "FLOP", "flop")
    sums.add("a GPU's throughput", "gpu_tflops * 1e12 * gpu_share / flop", "passages/s", "gpu_per_s")
    sums.add("embedding on GPUs", "to_embed / gpu_per_s / 3600", "GPU hours", "gpu_h")
    sums.add("the same, in the wished time", "ceil(gpu_h / embed_within_h)", "GPUs", "gpus")
    sums.add("cost on GPUs, once", "gpu_h * gpu_hour", "USD", "gpu_usd")
    return sums.made


def _searching(found: Mapping[str, Input]) -> list[Line]:
    sums = _Sums(found)
    gib = "1073741824"
    sums.add("passages of a segment", f"segment_gib * {gib} / (4 * dimension)", "passages", "per_segment")
    sums.add("segments", "ceil(passages / per_segment)", "segments", "segments")
    sums.add(
        "segments where it was measured",
        f"ceil(search_passages * 4 * dimension / (measured_segment_gib * {gib}))",
        "segments",
        "segments_then",
    )
    sums.add("CPU of a search in a segment then", "search_cpu_ms / segments_then", "ms", "segment_ms_then")
    sums.add(
        "the same in a segment now",
        "segment_ms_then * (per_segment * segments_then / search_passages) ** search_exponent",
        "ms",
        "segment_ms",
    )
    sums.add("CPU of a search, HNSW", "call_cpu_ms + segment_ms * segments", "ms", "hnsw_ms")
    sums.add("cores of query nodes, HNSW", "ceil(queries_per_s * hnsw_ms / 1000 / busy)", "cores", "hnsw_cores")
    sums.add("query nodes by cores, HNSW", "ceil(hnsw_cores / node_cores)", "nodes", "hnsw_nodes")
    sums.add("CPU of a search, IVF_SQ8", "call_cpu_ms + ivf_cpu_ms * passages * ivf_nprobe / ivf_nlist / 1e6", "ms", "ivf_ms")
    sums.add("cores of query nodes, IVF_SQ8", "ceil(queries_per_s * ivf_ms / 1000 / busy)", "cores", "ivf_cores")
    sums.add("query nodes by cores, IVF_SQ8", "ceil(ivf_cores / node_cores)", "nodes", "ivf_nodes")
    return sums.made


def _logging(found: Mapping[str, Input]) -> list[Line]:
    sums = _Sums(found)
    sums.add("trials to log", "queries_per_s * logged_share", "trials/s", "trials_s")
    sums.add("rows of trials", "trials_s * 86400", "a day at the peak all day", "rows_day")
    sums.add("PostgreSQL's disk", "rows_day * retention_days * trial_bytes * wal_factor / 1099511627776", "TiB", "log_tib")
    sums.add("writes", "trials_s * trial_bytes / 1e6", "MB/s", "log_mb_s")
    sums.add("PostgreSQL servers of the measured kind", "ceil(trials_s / log_per_s / busy)", "servers", "pg_servers")
    sums.add(
        "an analysis, against one of 10 million trials",
        "(rows_day * retention_days / 1e7) ** analyse_exponent",
        "times as long",
        "analysis",
    )
    sums.add(
        "cost of the log, with a standby",
        _LOG_COST,
        "USD a month",
        "log_usd",
    )
    return sums.made


def _serving(found: Mapping[str, Input]) -> list[Line]:
    sums = _Sums(found)
    sums.add("cores of the API", "ceil(queries_per_s * request_cpu_ms / 1000 / busy)", "cores", "serve_cores")
    sums.add("API replicas", "ceil(serve_cores / api_cores)", "replicas", "api_replicas")
    sums.add("cost of the API", "serve_cores * core_hour * 730", "USD a month", "api_usd")
    sums.add("network, clients", "queries_per_s * (request_bytes + answer_bytes) * 8 / 1e9", "Gbit/s", "client_gbit")
    sums.add("network, API and Milvus", "queries_per_s * (4 * dimension + 10 * text_bytes) * 8 / 1e9", "Gbit/s", "milvus_gbit")
    sums.add("network, API and PostgreSQL", "queries_per_s * logged_share * trial_bytes * 8 / 1e9", "Gbit/s", "log_gbit")
    return sums.made


def markdown(found: Mapping[str, Input]) -> str:
    """All of it as tables."""
    said = [_STORES_HEAD, "|---|---:|---:|---:|---:|---:|---:|"]
    for each in stores(found):
        cores, least = ("not measured", "at least ") if each.nodes_by_cores is None else (f"{each.nodes_by_cores:,}", "")
        sizes = " | ".join(f"{size / TIB:,.2f} TiB" for size in (each.memory, each.local, each.objects))
        said.append(f"| {each.name} | {sizes} | {each.nodes:,} | {cores} | {least}{each.month:,.0f} |")
    around = {short: line.value for line in lines(found) for short in [line.formula.partition(" ")[0]] if short in ("log_usd", "api_usd")}
    hnsw = next(each.month for each in stores(found) if each.name == "HNSW")
    parts = f"{hnsw:,.0f} for query nodes and their stores, {around['log_usd']:,.0f} for the log, {around['api_usd']:,.0f} for the API"
    said += ["", f"Together with HNSW: {hnsw + sum(around.values()):,.0f} USD a month ({parts})."]
    said += ["", "| what | formula | result | rests on |", "|---|---|---:|---|"]
    said += [f"| {each.name} | `{each.formula}` | {_number(each.value)} {each.unit} | {each.rests_on} |" for each in lines(found)]
    said += ["", "| input | value | kind | source |", "|---|---:|---|---|"]
    said += [f"| `{name}` | {_number(each.value)} {each.unit} | {each.kind} | {each.source} |" for name, each in found.items()]
    return "\n".join(said)


def _number(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, default=INPUTS)
    parser.add_argument("--measured", type=Path, default=None, help="a run's JSON lines, in the place of the file's measured inputs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="told")
    parser.add_argument(
        "--docs", type=Path, default=None, help="a page whose part between <!-- paper --> and <!-- /paper --> is written anew"
    )
    given = parser.parse_args()
    try:
        found = inputs(given.inputs)
        if given.measured is not None:
            if not given.measured.exists():
                raise InputError(f"there is no {given.measured}: run experiments/benchmarks/growth first")
            found = from_run(found, read(given.measured))
        said = markdown(changed(found, given.told))
        print(said)
        if given.docs is not None:
            from growth.docs import into_docs

            into_docs(given.docs, "paper", said)
    except RagtrialError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
