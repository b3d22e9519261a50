"""`ragtrial dashboard` and `ragtrial members`: the pages that show what was measured, and who may look at them."""

import dataclasses
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ragtrial.cli.experiments import ExperimentPath, Json
from ragtrial.cli.serving import RoleName, is_loopback
from ragtrial.cli.terminal import console, error_console
from ragtrial.errors import InputError, MissingExtraError, SetupError

if TYPE_CHECKING:
    from ragtrial.db.members import MemberStore
    from ragtrial.suite.visiting import Visitors

T = TypeVar("T")

members = typer.Typer(help="Who may look at the dashboard by signing in with a login provider.", no_args_is_help=True)

_STARTS_WITHIN_S = 120.0
_ENDS_WITHIN_S = 10.0
_POLL_S = 0.2
_WITH_KEY = "make a key with `ragtrial keys create EXPERIMENT.yaml NAME --role viewer`"


def dashboard(
    experiment: Annotated[
        Path | None,
        typer.Argument(metavar="EXPERIMENT.yaml", help="Whose database is shown, with all that is in it.", show_default=False),
    ] = None,
    *,
    database: Annotated[
        str | None, typer.Option("--database", metavar="URL", help="This database, and not a file's.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every one of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8501,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Don't open a browser.")] = False,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask nobody to sign in: everyone is admin. On loopback alone.")] = False,
    no_roll_up: Annotated[
        bool, typer.Option("--no-roll-up", help="Write nothing: `ragtrial roll-up --watch` keeps the numbers up to date elsewhere.")
    ] = False,
    secrets: Annotated[
        Path | None,
        typer.Option(
            "--secrets",
            help="TOML file whose [auth] section names the login provider (OpenID Connect).",
            show_default=".streamlit/secrets.toml, if it is there",
        ),
    ] = None,
) -> None:
    """Show what was measured, in a browser: the verdict, the arms, single queries, live traffic, cost, judges and models.

    Without a file or a URL it shows the database that was written last of those that commands make here. Where there is none it says what
    to run, and shows what comes as soon as it comes. Where keys or members were made, people sign in; before that, everyone on this
    machine is admin. Stop it with Ctrl+C or SIGTERM.
    """
    folder = pages_folder()
    opened = _opened(experiment, database)
    asks = _check_access(opened, host, no_auth=no_auth, secrets=secrets)
    number = free_port(host, port)
    given = {
        "url": opened.url,
        "folder": str(opened.folder),
        "open": no_auth,
        "loopback": is_loopback(host),
        "host": host,
        "port": number,
        "registry": None if opened.registry is None else str(opened.registry.absolute()),
        "secrets": None if secrets is None else str(secrets.absolute()),
    }  # the fields of `ragtrial_board.told.Told`, which is no part of this package
    stop = threading.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: stop.set())
    with _server(folder, given) as server:
        address = f"http://{reachable(host)}:{number}"
        if _until_it_answers(server, address, stop):
            _say(address, opened, asks=asks)
            if not no_browser:
                _open_browser(address)
            _run(server, opened, stop, roll_up=not no_roll_up)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """The database that is shown: `url` is None until one appears in the usual places of `folder`; `others` are there, too.

    `registry` is the experiment's; None without one.
    """

    url: str | None
    folder: Path
    others: tuple[Path, ...] = ()
    registry: Path | None = None


def pages_folder(purpose: str = "the dashboard") -> Path:
    """The folder of the pages: inside the package where it was installed from a wheel, at the root of a checkout otherwise.

    Args:
        purpose: What needs it, for whoever has not installed what it takes.

    Raises:
        MissingExtraError: Something that it takes is not installed.
        SetupError: The pages are not there.
    """
    from importlib.util import find_spec

    for package in ("streamlit", "authlib", "httpx"):
        if find_spec(package) is None:
            raise MissingExtraError(package=package, extra="dashboard", purpose=purpose)
    package_folder = Path(__file__).resolve().parent.parent
    for place in (package_folder / "_dashboards", package_folder.parent.parent / "dashboards"):
        if (place / "server.py").is_file():
            return place
    raise SetupError(
        f"the dashboard's pages are not where they should be ({str(package_folder / '_dashboards')!r}): install ragtrial again"
    )


def _opened(experiment: Path | None, database: str | None) -> _Opened:
    """The database that is meant.

    Raises:
        InputError: Both were given, or one of them is wrong.
        StoreError: It can't be read, or has another schema than this version's.
    """
    from ragtrial.suite.opening import check_database, check_place, databases, resolved, url_of

    if experiment is not None and database is not None:
        raise InputError("give an experiment file or --database, not both: the file names its own database (stores.sql)")
    folder = Path.cwd()
    if experiment is not None:
        from ragtrial.formats.experiment import load_experiment, resolve_path, sql_url

        file = load_experiment(experiment)
        registry = resolve_path(file.folder, file.experiment.stores.registry)
        opened = _Opened(url=sql_url(file), folder=file.folder.absolute(), registry=registry)
    elif database is not None:
        opened = _Opened(url=resolved(database), folder=folder)
        check_place(database)
    else:
        found = databases(folder)
        opened = _Opened(url=url_of(found[0]) if found else None, folder=folder, others=found[1:])
    if opened.url is not None:
        check_database(opened.url)
    return opened


def _check_access(opened: _Opened, host: str, *, no_auth: bool, secrets: Path | None) -> bool:
    """Whether visitors are asked to sign in.

    Raises:
        InputError: `--no-auth` would make everyone in reach an admin, or nobody could sign in by what the secrets file says.
        SetupError: Others can reach the server, and nobody could sign in.
    """
    if secrets is not None:
        from ragtrial.suite.visiting import check_secrets

        check_secrets(secrets)
    if no_auth:
        if not is_loopback(host):
            raise InputError(f"--no-auth with --host {host}: everyone in reach would be admin; leave the host out, or make keys")
        return False
    visitors = _visitors(opened)
    named = visitors is not None and visitors.named()
    if not named and not is_loopback(host):
        raise SetupError(
            f"nobody could sign in: {_WITH_KEY}, or give somebody a role with `ragtrial members add`, before you give a --host"
        )
    return named or secrets is not None


def _visitors(opened: _Opened) -> "Visitors | None":
    from ragtrial.settings import read_settings
    from ragtrial.suite.opening import check_database
    from ragtrial.suite.visiting import Visitors

    there = opened.url is not None and check_database(opened.url)
    return Visitors(opened.url or "", opened.folder, read_settings()) if there else None


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        SetupError: It is taken, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            what = f"can't listen on {host} port {port} ({error.strerror})"
            raise SetupError(f"{what}: another dashboard may run there; give another --port or --host") from error
        number: int = probe.getsockname()[1]
        return number


def reachable(host: str) -> str:
    """A name under which this machine reaches the server."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - it is looked at, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextmanager
def _server(folder: Path, given: Mapping[str, object]) -> "Iterator[subprocess.Popen[bytes]]":
    """The server as a process of its own; it ends with this one, however that ends."""
    import sys

    from ragtrial.settings import read_settings

    command = [sys.executable, str(folder / "server.py"), "--end-with-parent"]
    environment = {**read_settings().environment, "RAGTRIAL_BOARD": json.dumps(dict(given))}
    # A session of its own: Ctrl+C goes to this process alone, which ends the server in order.
    server = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)  # noqa: S603 - our own file
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _until_it_answers(server: "subprocess.Popen[bytes]", address: str, stop: threading.Event) -> bool:
    """Wait for the server; False where it was stopped before it answered.

    Raises:
        SetupError: It ended, or does not answer in time.
    """
    import time
    from urllib.request import ProxyHandler, build_opener

    asking = build_opener(ProxyHandler({}))  # a proxy of the environment is not for our own server
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while not stop.is_set():
        if server.poll() is not None:
            raise SetupError(f"the dashboard's server ended as it began (exit code {server.returncode}); what it said stands above")
        try:
            with asking.open(f"{address}/_stcore/health", timeout=5) as answer:
                if answer.status == 200:
                    return True
        except OSError:
            if time.monotonic() > deadline:
                raise SetupError(f"the dashboard's server does not answer at {address} after {_STARTS_WITHIN_S:.0f} s") from None
        stop.wait(_POLL_S)
    return False


def _say(address: str, opened: _Opened, *, asks: bool) -> None:
    from ragtrial.db.engine import parse_url, shown

    lines = [f"dashboard: {address}"]
    if opened.url is None:
        lines.append(
            "there is no database here yet: run `ragtrial demo` or `ragtrial evaluate EXPERIMENT.yaml`, and the page goes on by itself"
        )
    else:
        lines.append(f"database: {shown(parse_url(opened.url))}")
    if opened.others:
        lines.append(f"not shown (give one with --database sqlite:///PATH): {', '.join(map(str, opened.others))}")
    if asks:
        lines.append(f"people sign in; {_WITH_KEY}, or look at it on this machine alone with --no-auth")
    lines.append("Ctrl+C ends it")
    for line in lines:
        console().print(line, markup=False, soft_wrap=True)


def _open_browser(address: str) -> None:
    """Open a browser where somebody sits in front of one."""
    import sys
    import webbrowser

    from ragtrial.settings import read_settings

    settings = read_settings()
    seen = sys.platform in ("win32", "darwin") or settings.secret("DISPLAY") or settings.secret("WAYLAND_DISPLAY")
    if seen and console().is_terminal:
        webbrowser.open(address)  # says nothing where it fails; the address stands above


def _run(server: "subprocess.Popen[bytes]", opened: _Opened, stop: threading.Event, *, roll_up: bool) -> None:
    """Until it is stopped: keep the numbers up to date, and look after the server.

    Raises:
        SetupError: The server ended by itself.
    """
    rolling = threading.Thread(target=_roll, args=(opened, stop), name="roll-up") if roll_up else None
    if rolling is not None:
        rolling.start()
    try:
        while not stop.wait(_POLL_S):
            if server.poll() is not None:
                raise SetupError(f"the dashboard's server ended (exit code {server.returncode}); what it said stands above")
    finally:
        stop.set()
        server.terminate()  # pages go at once; a roll-up may need a moment to end its step
        if rolling is not None:
            rolling.join()


def _roll(opened: _Opened, stop: threading.Event) -> None:
    """Roll up until `stop` is set, from the moment on at which there is a database."""
    from ragtrial.errors import RagtrialError
    from ragtrial.suite.rolling import roll_for_ever

    def say(sentence: str) -> None:
        error_console().print(sentence, markup=False, highlight=False, soft_wrap=True)

    url = opened.url or _when_there_is_one(opened.folder, stop)
    try:
        if url is not None:
            roll_for_ever(url, stop, say=say)
    except RagtrialError as error:
        say(f"the dashboard's numbers are not kept up to date: {error}")
    except Exception as error:  # noqa: BLE001 - the pages go on with what there is
        say(f"the dashboard's numbers are not kept up to date any more ({type(error).__name__}: {error}); `ragtrial roll-up` shows more")


def _when_there_is_one(folder: Path, stop: threading.Event) -> str | None:
    from ragtrial.suite.opening import databases, url_of

    while not stop.wait(1.0):
        found = databases(folder)
        if found:
            return url_of(found[0])
    return None


def _with_members(experiment: Path, what: "Callable[[MemberStore], T]") -> "T":
    from ragtrial.db.members import MemberStore
    from ragtrial.formats.experiment import load_experiment, sql_url

    with MemberStore(sql_url(load_experiment(experiment))) as store:
        return what(store)


@members.command("add")
def add_member(
    experiment: ExperimentPath,
    name: Annotated[str, typer.Argument(help="The address that their login provider has verified.")],
    *,
    role: Annotated[
        RoleName,
        typer.Option(
            "--role",
            help="viewer: reads results. operator: also changes the traffic and reads what users typed. admin: all. tester: votes.",
        ),
    ] = RoleName.viewer,
    as_json: Json = False,
) -> None:
    """Let somebody look at the dashboard, or give them another role; they have it from their next click on."""
    member = _with_members(experiment, lambda store: store.add(name, role.value))
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(member), ensure_ascii=False))
    else:
        console().print(f"{member.name}: {member.role}", markup=False, soft_wrap=True)


@members.command("list")
def list_members(experiment: ExperimentPath, *, as_json: Json = False) -> None:
    """Show who may look, and as what."""
    found = _with_members(experiment, lambda store: store.list())
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(member) for member in found], ensure_ascii=False))
        return
    for member in found:
        console().print(f"{member.name}: {member.role}, by {member.actor}", markup=False, soft_wrap=True)
    if not found:
        console().print("there are no members", soft_wrap=True)


@members.command("remove")
def remove_member(experiment: ExperimentPath, name: Annotated[str, typer.Argument(help="As `ragtrial members list` shows it.")]) -> None:
    """Take somebody's role back; they are out from their next click on."""
    member = _with_members(experiment, lambda store: store.remove(name))
    console().print(f"{member.name} may not look any more", markup=False, soft_wrap=True)
