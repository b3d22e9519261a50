"""The command that puts a verdict on a pull or merge request."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragtrial.cli.terminal import error_console

_Post = Literal["github", "gitlab"]


def comment(
    report: Annotated[Path, typer.Argument(metavar="REPORT.json", help="The report.json that `ragtrial evaluate` wrote.")],
    *,
    post: Annotated[
        _Post | None,
        typer.Option(
            "--post",
            help="Write it on the request that this CI job is about, or bring it up to date. The token is GITHUB_TOKEN or RAGTRIAL_GITLAB_TOKEN.",
            show_default=False,
        ),
    ] = None,
    link: Annotated[
        str | None, typer.Option("--link", help="Where the full report is. [default: the page of the CI run]", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="Tells several comments on one request apart. [default: the experiment's name]", show_default=False),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            "--missing",
            metavar="NAME",
            help="Where there is no such report, say of NAME that there is no result, so that no older verdict stays; give --key with it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print a verdict as Markdown for a pull request: verdict, effect with its interval, guardrails, checks, cost.

    With --post it becomes one comment, which later runs update. A token that may not write (a pull request from a fork) is no error: it
    is said, and the text is on standard output for the job's summary.
    """
    from ragtrial.report.comment import Place, as_comment, marker, read_report, without_result
    from ragtrial.settings import read_settings
    from ragtrial.suite.commenting import commit_of, page_of, request_of
    from ragtrial.suite.commenting import post as write

    settings = read_settings()
    place = Place(link=link or page_of(settings), commit=commit_of(settings), key=key)
    if missing is not None and not report.is_file():
        body, name = without_result(missing, place), missing
    else:
        found = read_report(report)
        body, name = as_comment(found, place), str(found["experiment"]["name"])
    typer.echo(body, nl=False)
    if post is None:
        return
    out = error_console()
    request = request_of(post, settings)
    if request is None:
        out.print("this job is about no pull or merge request: nothing was posted", soft_wrap=True)
        return
    done = write(request, body, sticky=marker(key or name))
    out.print(f"comment {done.done}: {done.detail}", markup=False, soft_wrap=True)
