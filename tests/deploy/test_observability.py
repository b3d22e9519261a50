"""Prometheus' rules and Grafana's panels against what the service exports; the collector's pipelines against their parts."""

import json
import re
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

import composed
from ragtrial.serving.counting import ServingCounts

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
COMPOSE = composed.read(DEPLOY.parent / "docker-compose.yml")
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "ragtrial.json").read_text())
RULES = [rule for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
SCRAPED = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
COLLECTOR = yaml.safe_load((DEPLOY / "otel" / "collector.yaml").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def exported() -> dict[str, set[str]]:
    """Every sample of a service on which everything has happened once, with its labels."""
    counts = ServingCounts("e")
    counts.request(arm="custom", outcome="answered")
    counts.assigned("split")
    counts.waited(0.1, arm="custom")
    counts.batch(2, silent=False)
    counts.shed("twin")
    counts.voted(kind="vote", outcome="recorded")
    counts.scored("nDCG@10", reason=None)
    counts.scored("nDCG@10", reason="why")
    counts.acted("failed")
    counts.failed("scoring")
    counts.drifted({"queries": 0.1}, raised=("queries",), look=1, at=1.0)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(counts.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_and_label_that_is_shown_or_alerted_on_is_exported() -> None:
    samples = exported()
    uses = [*QUERIES, *(rule["expr"] for rule in RULES), *(one["expr"] for one in DASHBOARD["annotations"]["list"])]
    for query in uses:
        for name in re.findall(r"\bragtrial_[a-z_]+", query):
            assert name in samples or name.startswith("ragtrial_spans_"), f"{name}: {query}"
        for name, selected in re.findall(r"\b(ragtrial_[a-z_]+)\{([^}]*)\}", query):
            if name in samples:
                assert set(re.findall(r"(\w+)\s*=~?", selected)) <= samples[name], query
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            known = set().union(*(samples.get(name, {"span_name", "le"}) for name in re.findall(r"\bragtrial_[a-z_]+", query)))
            assert {label.strip() for label in grouped.split(",")} <= known | {"instance"}, query


def test_what_the_service_exports_is_shown_somewhere() -> None:
    shown = " ".join([*QUERIES, *(rule["expr"] for rule in RULES)])
    bare = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in exported()}
    assert {name for name in bare if name not in shown} <= {"ragtrial_drift_looks"}


def test_spans_that_are_shown_are_made() -> None:
    source = (DEPLOY.parent / "platform" / "ragtrial" / "serving" / "tracing.py").read_text()
    (spans,) = {spans for query in QUERIES for spans in re.findall(r'span_name=~"([^"]*)"', query)}
    assert all(f'"{span}"' in source for span in spans.split("|"))
    assert COLLECTOR["connectors"]["spanmetrics"]["namespace"] == "ragtrial_spans"
    assert COLLECTOR["connectors"]["spanmetrics"]["histogram"]["unit"] == "s", "the panel reads seconds"
    for dimension in COLLECTOR["connectors"]["spanmetrics"]["dimensions"]:
        assert f'"{dimension["name"]}"' in source


def test_the_collectors_pipelines_are_made_of_parts_that_are_there() -> None:
    parts = {kind: set(COLLECTOR.get(kind, {})) for kind in ("receivers", "processors", "exporters", "connectors", "extensions")}
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        assert set(pipeline["receivers"]) <= parts["receivers"] | parts["connectors"]
        assert set(pipeline["processors"]) <= parts["processors"]
        assert set(pipeline["exporters"]) <= parts["exporters"] | parts["connectors"]
    assert set(COLLECTOR["service"]["extensions"]) == parts["extensions"]


def test_prometheus_scrapes_services_that_are_there_with_the_key_that_was_made() -> None:
    jobs = {job["job_name"]: job for job in SCRAPED["scrape_configs"]}
    targets = [target for job in jobs.values() for one in job.get("static_configs", []) for target in one["targets"]]
    hosts = {target.partition(":")[0] for target in targets} | {name for one in jobs["ragtrial"]["dns_sd_configs"] for name in one["names"]}
    assert hosts <= {*COMPOSE.services, "127.0.0.1"}
    key = Path(jobs["ragtrial"]["authorization"]["credentials_file"])
    assert str(key.parent) == "/run/secrets"
    assert key.name in COMPOSE.secrets("prometheus")
    assert {re.findall(r'job="([^"]*)"', rule["expr"])[0] for rule in RULES if rule["expr"].startswith("up")} <= set(jobs)
    assert SCRAPED["rule_files"] == ["/etc/prometheus/alerts.yml"]


def test_grafana_finds_its_data_source_and_its_dashboard() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel}
    assert used == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "dashboards" / "ragtrial.yaml").read_text())["providers"]
    mounted = {volume.split(":")[1] for volume in COMPOSE.services["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounted
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_lie_beside_each_other_and_each_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"]
