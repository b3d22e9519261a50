"""An alert of the drift monitor closed by a person, where no look comes any more that could clear it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ragtrial.db import schema
from ragtrial.db.monitoring import MonitorStore, Standing
from ragtrial.domain.monitor import Alert, MonitorSpec
from ragtrial.errors import InputError
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.monitoring import webhook
from ragtrial.monitoring.alerting import closed_by
from ragtrial.settings import Settings, read_settings
from ragtrial.suite.monitoring import webhook_of


def close_alert(
    path: Path,
    which: str,
    *,
    who: str,
    reason: str,
    send_to: str | None = None,
    settings: Settings | None = None,
    clock: Callable[[], float] = time.time,
) -> Alert:
    """Close one alert that stands: written down like one that was cleared, with who did it and why, and sent to the webhook.

    A signal that a series goes on measuring is raised anew where it goes on drifting.

    Args:
        path: The experiment file.
        which: Name of the signal, or the number of the alert where several of that name stand.
        who: Who closes it.
        reason: Why.
        send_to: A webhook instead of the plan's.
        settings: The environment; None reads it.
        clock: Seconds since 1970.

    Raises:
        InputError: A reason is missing, no such alert stands, several do, or the webhook is wrong.
        StoreError: The database can't be read or written.
    """
    if not reason.strip():
        raise InputError("--close needs --reason: it is recorded with who closed the alert")
    file, environment = load_experiment(path), settings or read_settings()
    experiment, spec, url = file.experiment, file.experiment.monitor or MonitorSpec(), sql_url(file)
    target = webhook_of(send_to or spec.webhook, environment)
    if schema.current_revision(url) is None:
        raise InputError(f"no alert stands: experiment {experiment.name!r} was never looked at")
    schema.upgrade(url)
    with MonitorStore(url, clock=clock) as store:
        chosen = _chosen(store.standing(experiment.name), which, experiment.name)
        end = closed_by(chosen.alert, who=who, reason=reason.strip(), at=clock())
        written = store.close_alerts(experiment.name, [(chosen, end)])
        if not written:
            raise InputError(f"the alert of {chosen.alert.signal} was cleared by another process meanwhile")
        if target is not None:
            secret = environment.secret(spec.webhook_secret_env)
            webhook.deliver(store, experiment.name, target, send=partial(webhook.post, url=target, secret=secret))
    return written[0]


def _chosen(found: Sequence[Standing], which: str, experiment: str) -> Standing:
    mine = [each for each in found if which.removeprefix("#") in (each.alert.signal, str(each.alert.alert_id))]
    if len(mine) == 1:
        return mine[0]
    said = "; ".join(f"{each.alert.alert_id} is {each.alert.signal} of {each.compared}" for each in mine or found)
    if mine:
        raise InputError(f"--close {which}: {len(mine)} alerts of that signal stand, so give a number: {said}")
    raise InputError(f"--close {which}: no such alert stands for experiment {experiment!r}{f': {said}' if said else ''}")
