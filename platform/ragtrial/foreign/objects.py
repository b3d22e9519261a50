"""The user's own object, imported and called the way its library is called."""

import asyncio
import importlib
import inspect
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from ragtrial.domain.fingerprint import digest
from ragtrial.domain.retriever import RetrieverSpec
from ragtrial.errors import InputError, MissingExtraError
from ragtrial.foreign.worker import run_async

_PACKAGES = {"langchain_core": "langchain", "llama_index": "llama-index"}
_METHODS = {"langchain": ("invoke",), "llama-index": ("query", "retrieve")}

Outcome = Any
"""What one query returned, or the exception that it raised."""


def imported(spec: RetrieverSpec) -> Any:
    """What the import path names; only local experiment files come here.

    Raises:
        InputError: It can't be imported.
        MissingExtraError: The library that it is made of is not installed.
    """
    module, _, name = spec.path.partition(":")
    field = "retriever.object" if spec.object else "retriever.provider"
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _PACKAGES:
            raise MissingExtraError(package=package, extra=_PACKAGES[package], purpose=f"{field} {spec.path!r}") from error
        hint = f"; give its folder in PYTHONPATH, or install it: PYTHONPATH=FOLDER ragtrial ..., where FOLDER holds {module.partition('.')[0]!r}"
        raise InputError(f"{field} {spec.path!r} can't be imported: {error}{hint}") from error
    except Exception as error:  # the module's own code runs here, and may raise whatever it likes
        raise InputError(f"{field} {spec.path!r} can't be imported: {type(error).__name__}: {error}") from error


def code_of(spec: RetrieverSpec) -> str:
    """Digest of the file that the object is named in: a change of it shows, one of what it imports does not."""
    found = importlib.import_module(spec.path.partition(":")[0])
    file = getattr(found, "__file__", None)
    try:
        return "" if file is None else digest(Path(file).read_text(encoding="utf-8"), length=12)
    except (OSError, UnicodeDecodeError):
        return ""


class Callee:
    """The object, asked as its library is asked.

    Args:
        spec: Which object, and how it is called.

    Raises:
        InputError: It can't be imported or made, or can't be called as the specification says.
    """

    def __init__(self, spec: RetrieverSpec) -> None:
        self._spec = spec
        self._object = _made(imported(spec), spec)
        self._one, self._async = _calls(self._object, spec)
        if spec.call == "async" and self._async is None:
            raise InputError(
                f"retriever.call is 'async', but {spec.path!r} ({type(self._object).__name__}) has no async form: give call: one"
            )

    @property
    def several(self) -> bool:
        """Whether queries are asked side by side."""
        return self._spec.call != "one" and self._spec.concurrency > 1

    def ask(self, text: str) -> Any:
        """What the object returns for one query; raises whatever it raises."""
        if self._async is not None and (self._spec.call == "async" or self._one is None):
            asked = self._async
            return run_async(lambda: _awaited(asked, self._given(text)))
        if self._one is None:
            raise InputError(f"{self._spec.path!r} can't be called")
        return self._one(self._given(text))

    def ask_all(self, texts: Sequence[str]) -> list[Outcome]:
        """What each query returned or raised, in order; a query that takes too long is a `TimeoutError` where calls are async."""
        given = [self._given(text) for text in texts]
        if self._spec.call == "batch":
            config = {"max_concurrency": self._spec.concurrency}
            return list(self._object.batch(given, config=config, return_exceptions=True))
        asked = self._async
        if asked is None:
            raise InputError(f"{self._spec.path!r} has no async form")
        return run_async(lambda: self._side_by_side(asked, given))

    async def _side_by_side(self, asked: Callable[[Any], Any], given: Sequence[Any]) -> list[Outcome]:
        gate = asyncio.Semaphore(self._spec.concurrency)

        async def one(value: Any) -> Any:
            async with gate:
                return await asyncio.wait_for(_awaited(asked, value), self._spec.timeout_s)

        return await asyncio.gather(*(one(value) for value in given), return_exceptions=True)

    def _given(self, text: str) -> Any:
        return text if self._spec.input_key is None else {self._spec.input_key: text}


async def _awaited(asked: Callable[[Any], Any], value: Any) -> Any:
    return await asked(value)


def _made(found: Any, spec: RetrieverSpec) -> Any:
    """The object itself, or what the factory makes."""
    methods = _METHODS.get(spec.provider)
    if isinstance(found, type) or (methods is not None and not _has(found, methods) and callable(found)):
        try:
            found = found()
        except Exception as error:  # the user's own code
            raise InputError(f"retriever: {spec.path!r} can't be made: {type(error).__name__}: {error}") from error
    if methods is not None and not _has(found, methods):
        extra = "; a vector store becomes one by as_retriever(search_kwargs={'k': 10})" if hasattr(found, "as_retriever") else ""
        raise InputError(
            f"retriever.object {spec.path!r} is a {type(found).__name__} without {' or '.join(methods)}: give a {spec.provider} retriever{extra}"
        )
    return found


def _has(found: Any, methods: Sequence[str]) -> bool:
    return any(callable(getattr(found, name, None)) for name in methods)


def _calls(found: Any, spec: RetrieverSpec) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Coroutine[Any, Any, Any]] | None]:
    """How it is called in line, and how asynchronously; None where it can't be."""
    if spec.provider == "langchain":
        return found.invoke, getattr(found, "ainvoke", None)
    if spec.provider == "llama-index":  # a query engine has both, and its `retrieve` is often not there
        name = "query" if callable(getattr(found, "query", None)) else "retrieve"
        return getattr(found, name), getattr(found, f"a{name}", None)
    if not callable(found):
        raise InputError(
            f"retriever.provider {spec.provider!r} is a {type(found).__name__}, which can't be called: give a function of the query"
        )
    runs_async = inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None))  # noqa: B004 - an object's own
    return (None, found) if runs_async else (found, None)


def waited(outcome: Outcome) -> str | None:
    """The kind of an outcome that is an exception, for counting: `timeout`, or its class; None where it is a result."""
    if not isinstance(outcome, BaseException):
        return None
    return "timeout" if isinstance(outcome, TimeoutError) else type(outcome).__name__
