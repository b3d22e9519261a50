"""What the service counts of itself, for Prometheus; a registry for each service, so that two in one process stay apart."""

from collections.abc import Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class ServingCounts:
    """Counters, gauges and histograms; all names begin with `ragtrial_`.

    Args:
        experiment: Name of the experiment, a label of each.
    """

    def __init__(self, experiment: str) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(f"ragtrial_{name}", documentation, ["experiment", *labels], registry=registry)

        def gauge(name: str, documentation: str) -> Gauge:
            return Gauge(f"ragtrial_{name}", documentation, ["experiment"], registry=registry).labels(experiment)

        self._experiment = experiment
        self._requests = counter("requests", "Requests by the arm that was assigned and what became of them.", "arm", "outcome")
        self._assigned = counter("assigned", "Assignments by reason.", "reason")
        self._waited = Histogram(
            "ragtrial_waited_seconds",
            "From a query's arrival to its answer, log included.",
            ["experiment", "arm"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._shed = counter("shed", "Silent work that was left out because users come first, by kind.", "kind")
        self._votes = counter("votes", "Votes and signals by kind and outcome.", "kind", "outcome")
        self._scored = counter("scored", "Background scores by metric.", "metric")
        self._skipped = counter("unscored", "Scores that have no value, by metric and reason.", "metric", "reason")
        self._actions = counter("guardrail_actions", "What the guardrails did by themselves.", "metric")
        self._errors = counter("background_errors", "Errors of what runs beside the answers, by task.", "task")
        self.batch_size = Histogram(
            "ragtrial_batch_size",
            "Queries embedded and searched together, by lane.",
            ["experiment", "lane"],
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32),
        )
        self.queued = gauge("queued", "Queries that wait to be embedded.")
        self.silent_queued = gauge("silent_queued", "Silent queries that wait to be embedded.")
        self.in_flight = gauge("in_flight", "Requests that are being answered.")
        self.log_pending = gauge("log_pending", "Rows that wait for their commit.")
        self.state_version = gauge("traffic_version", "Version of the traffic's state that holds here.")
        self.outage = gauge("outage", "1 while the log can't be written.")
        labels = ["experiment", "signal"]
        self._drift = Gauge("ragtrial_drift_effect", "Drift at the last look, in standard deviations.", labels, registry=registry)
        self._drift_alert = Gauge("ragtrial_drift_alert", "1 while a drift alert stands.", labels, registry=registry)
        self.drift_looks = gauge("drift_looks", "Looks of the drift monitor that could tell anything.")
        self.drift_looked_at = gauge("drift_looked_at_seconds", "When the last of them was, seconds since 1970.")

    def request(self, *, arm: str, outcome: str) -> None:
        """One request came to its end: `answered`, `replayed`, `fallback`, `failed`, `refused`, `unlogged` or `invalid`."""
        self._requests.labels(self._experiment, arm, outcome).inc()

    def assigned(self, reason: str) -> None:
        """One assignment."""
        self._assigned.labels(self._experiment, reason).inc()

    def waited(self, seconds: float, *, arm: str) -> None:
        """What one user waited."""
        self._waited.labels(self._experiment, arm).observe(seconds)

    def batch(self, size: int, *, silent: bool) -> None:
        """One pass through the models."""
        self.batch_size.labels(self._experiment, "silent" if silent else "user").observe(size)

    def shed(self, kind: str) -> None:
        """Silent work was left out."""
        self._shed.labels(self._experiment, kind).inc()

    def voted(self, *, kind: str, outcome: str) -> None:
        """A vote or a signal came to its end."""
        self._votes.labels(self._experiment, kind, outcome).inc()

    def scored(self, metric: str, *, reason: str | None) -> None:
        """A score was logged; `reason` where it has no value."""
        if reason is None:
            self._scored.labels(self._experiment, metric).inc()
        else:
            self._skipped.labels(self._experiment, metric, reason).inc()

    def acted(self, metric: str) -> None:
        """A guardrail changed the traffic."""
        self._actions.labels(self._experiment, metric).inc()

    def failed(self, task: str) -> None:
        """Something beside the answers failed; it will be tried again."""
        self._errors.labels(self._experiment, task).inc()

    def drifted(self, effects: Mapping[str, float | None], *, raised: Collection[str], look: int, at: float) -> None:
        """What the drift monitor's last look found; a signal without an effect has none here either."""
        self._drift.clear()
        self._drift_alert.clear()
        for signal, effect in effects.items():
            if effect is not None:
                self._drift.labels(self._experiment, signal).set(effect)
            self._drift_alert.labels(self._experiment, signal).set(int(signal in raised))
        self.drift_looks.set(look)
        self.drift_looked_at.set(at)

    def value(self, name: str, **labels: str) -> float:
        """A sample's value, 0 where it was never counted: `value("ragtrial_requests_total", arm="custom", outcome="answered")`."""
        found = self.registry.get_sample_value(name, {"experiment": self._experiment, **labels})
        return 0.0 if found is None else found

    def exposition(self) -> bytes:
        """The text format that Prometheus reads."""
        return generate_latest(self.registry)
