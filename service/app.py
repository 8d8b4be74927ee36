"""The Flask application: routes, documents, page, and the rules of every request."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from functools import cache, lru_cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NoReturn
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask_openapi_swagger  # type: ignore[import-untyped]
from flask import Request, Response, g, request, send_from_directory
from flask_openapi import Info, OpenAPI
from flask_openapi.models import OPENAPI3_REF_TEMPLATE, Schema
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Rule

from indexer.core.actor import acting
from indexer.core.home import Home
from indexer.core.native import configure_serving_threads
from indexer.core.process_limits import release_freed_memory
from indexer.core.sqlite_library import (
    LIBRARY,
    allow_old_sqlite,
    may_write,
    old_library_message,
)
from service.access.caller import Caller
from service.access.control import AccessControl, open_keys, too_many
from service.access.raw_path import read_path
from service.access.refusal import RequestRefusedError
from service.access.sharing import foreign_origin, is_shared, sharing_headers
from service.api import metrics, routes
from service.api.errors import InvalidRequestError, explain, install
from service.api.json_answers import JsonAnswers
from service.api.memory_request import MemoryRequest
from service.api.openapi import PROBLEM, OpenAPIDocument, body_models, tidy
from service.api.refusals import (
    ALWAYS,
    LOGGED_METHOD,
    LOGGED_PATH,
    UNLESS_SAID,
    HeadRefusal,
    RefusalLog,
    choose_request_id,
)
from service.api.requests import FilePath, ProblemPath
from service.api.responses import Health, Problem
from service.engine import Engine
from service.inference.admission import OverloadedError, asking
from service.logging import capture_library_logs, make_log
from service.query.photo_urls import FetchedBytes
from service.server import ANSWER, ASKER, EXCESS, OWNERS, REFUSED, check_address, run_server
from service.settings import Settings

_WEB = Path(__file__).parent / "web"
_SWAGGER = Path(flask_openapi_swagger.__file__).parent / "templates" / "swagger"
# In the environment of a request whose head the server had judged.
_CALLER = "catalens.caller"
_REFUSAL = "catalens.refusal"
# Routes whose answers wait for their turn, and the body from which on it is worth asking before.
_QUESTIONS = frozenset(
    f"/v1/{name}"
    for name in (
        *("classify", "search", "tags", "describe", "explain", "objects", "recommendations"),
        "review",
    )
)
_SMALL = 64 * 1024
_PAGE_CSP = (
    f"{UNLESS_SAID['Content-Security-Policy']}; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'"
)
# Swagger UI styles itself.
_DOCS_CSP = _PAGE_CSP.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


class RawPath:
    """WSGI middleware: routing sees the path as it was sent, so that an encoded slash stays inside
    its segment.

    Servers decode ``PATH_INFO``, after which ``a%2Fsimilar`` and ``a/similar`` are one. The raw
    target stands in ``REQUEST_URI``.
    """

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.decode(environ)
        return self._app(environ, start_response)

    def decode(self, environ: WSGIEnvironment) -> None:
        """Set ``PATH_INFO`` to the path as it was sent."""
        raw = environ.get("REQUEST_URI")
        if raw:
            environ["PATH_INFO"] = read_path(raw, self._settings)


class AppHeadCheck:
    """What the application refuses by a request's head: the server then reads no body.

    It leaves the caller, or the refusal, in the environment, where the application finds it: what
    a caller may ask is counted once. The answer to a refusal lies beside it for the server, which
    gives it where no request of that connection is before it.
    """

    def __init__(self, app: OpenAPI, path: RawPath, settings: Settings) -> None:
        self._app = app
        self._path = path
        self._settings = settings
        self._engine: Engine = app.extensions["catalens"]
        self._log = RefusalLog(self._engine.log)

    def refuses(self, environ: WSGIEnvironment) -> bool:
        """Whether it is refused whatever its body holds: by key, role, host, origin, size, route
        or load."""
        self._path.decode(environ)
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        # Those of many uploads, which need no map of routes.
        rule = path if method == "POST" and path in _QUESTIONS else self._rule(environ)
        path = "/" + path.lstrip("/")
        access: AccessControl = self._app.extensions["catalens-access"]
        headers = _sent_headers(environ)
        caller: Caller | None = None
        try:
            peer = environ.get("REMOTE_ADDR") or ""
            caller = environ[_CALLER] = access.authorize(method, path, rule, headers, peer)
        except RequestRefusedError as refusal:
            environ[_REFUSAL] = error = refusal
        else:
            environ[OWNERS], environ[ASKER] = caller.owners, caller.asker
            length = int(environ.get("CONTENT_LENGTH") or 0)
            if rule is None or length > self._settings.max_body_bytes:
                return True
            # A photo that would be refused after it was read and parsed is not read.
            if (
                rule not in _QUESTIONS
                or length <= _SMALL
                or not self._engine.admission.refuses(caller.asker)
            ):
                return False
            environ[REFUSED] = why = "more is asked than can be answered: try again shortly"
            error = RequestRefusedError(
                503, OverloadedError.code, why, headers={"Retry-After": "1"}
            )
        environ[ANSWER] = HeadRefusal(
            method,
            path,
            rule,
            headers,
            error,
            caller,
            self._settings,
            self._app.extensions["catalens-requests"],
            self._log,
        )
        return True

    def _rule(self, environ: WSGIEnvironment) -> str | None:
        """The route of the map that is asked for, None for none."""
        with suppress(HTTPException):
            rule, _ = self._app.url_map.bind_to_environ(environ).match(return_rule=True)
            return str(rule.rule)
        return None


class _ProductSegment(BaseConverter):
    """One raw path segment; ``requests.ProductPath`` decodes it."""


def create_app(engine: Engine, settings: Settings, *, check_answers: bool = False) -> OpenAPI:
    """The WSGI application over ``engine``. ``check_answers``: compare each answer with its schema
    (tests)."""
    version = metadata.version("catalens")
    app = OpenAPI(
        "service",
        info=Info(
            title="Catalens",
            version=version,
            description="Visual search and tagging for shop catalogs.",
        ),
        security_schemes={"key": {"type": "http", "scheme": "bearer"}},
        responses={422: {"content": PROBLEM}, 500: {"content": PROBLEM}},
        validation_error_model=Problem,
        validation_error_callback=_invalid,
        validate_response=check_answers or None,
        doc_ui=False,
        static_folder=None,
    )
    app.extensions.update({"catalens": engine, "catalens-settings": settings})
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        MAX_FORM_MEMORY_SIZE=2 * 2**20,
        MAX_FORM_PARTS=1000,
    )
    app.json = JsonAnswers(app, settings.public_address.prefix)
    app.url_map.converters["product"] = _ProductSegment
    app.url_map.merge_slashes = False
    path = RawPath(app.wsgi_app, settings)
    app.wsgi_app = path  # type: ignore[method-assign]
    app.extensions["catalens-access"] = AccessControl(settings, engine.home, engine.log)
    app.extensions["catalens-head"] = AppHeadCheck(app, path, settings)
    app.request_class = MemoryRequest
    install(app, engine.log)
    _install_request_rules(app, engine, settings)
    _register_routes(app)
    _install_health(app, engine)
    app.extensions["catalens-requests"] = metrics.install(app, engine, version)
    _install_documents(app, settings.public_address.prefix)
    return app


def serve(settings: Settings) -> None:
    """Open the home and answer until SIGTERM or SIGINT. Raises ``CatalensError`` where it cannot
    start."""
    configure_serving_threads()
    log = make_log()
    capture_library_logs(log)
    release_freed_memory()
    if settings.allow_old_sqlite:
        allow_old_sqlite()
    _log_sqlite(log)
    # Before minutes of loading an index that nobody can or may ask.
    check_address(settings)
    keys = open_keys(settings, Home(settings.home), log)
    if keys.has_role("search") and not settings.address_rate:
        log.warning(
            "no limit per address",
            means="one client can use up the rate of a search key, which all shoppers share",
            do="--address-rate (setting address_rate): docs/guides/load.md",
        )
    with Engine(settings, log=log) as engine:
        log.info(
            "not checked at start",
            what="originals, rows of the catalog, reviews, vectors",
            check=f"catalens verify --home {settings.home}",
        )
        app = create_app(engine, settings)
        run_server(app, settings, engine.log, head_check(app))


def head_check(app: OpenAPI) -> AppHeadCheck:
    """What the server asks ``app`` about a head."""
    checker: AppHeadCheck = app.extensions["catalens-head"]
    return checker


def _log_sqlite(log: Any) -> None:
    """Name the SQLite library that is used, and what an old one means."""
    found = {"library": LIBRARY.module, "version": LIBRARY.version, "may_write": may_write()}
    if LIBRARY.sound:
        log.info("sqlite", **found)
    else:
        log.warning("sqlite", **(found | {"error": old_library_message()}))


def _invalid(error: ValidationError) -> NoReturn:
    raise InvalidRequestError.from_error(error)


def _sent_headers(environ: WSGIEnvironment) -> dict[str, str]:
    """The headers of a request by lower-case names, as ``_headers``."""
    return {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }


def _headers(asked: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in asked.headers.items()}


def _preflight(app: OpenAPI, access: AccessControl) -> Response:
    """The answer to a browser that asks whether a page of another site may call something."""
    method = request.headers["Access-Control-Request-Method"]
    rule: Rule | None = None
    with suppress(HTTPException):
        adapter = app.url_map.bind_to_environ(request.environ)
        rule, _ = adapter.match(method=method, return_rule=True)
    named = None if rule is None else rule.rule
    peer = request.remote_addr or ""
    return Response(status=204, headers=access.preflight(method, named, _headers(request), peer))


def _authorize(access: AccessControl, asked: Request, rule: Rule | None) -> Caller:
    """Who asks. Raises ``RequestRefusedError``."""
    named = None if rule is None else rule.rule
    peer = asked.remote_addr or ""
    return access.authorize(asked.method, asked.path, named, _headers(asked), peer)


def _identify(access: AccessControl) -> Caller:
    """Who asks, as the server found by the head if that still holds, or else as it is found now."""
    refusal = request.environ.get(_REFUSAL)
    if isinstance(refusal, RequestRefusedError):
        raise refusal
    known = request.environ.get(_CALLER)
    if isinstance(known, Caller):
        rule = None if request.url_rule is None else request.url_rule.rule
        key = request.headers.get("Authorization", "")
        return access.confirm(known, request.method, rule, key)
    return _authorize(access, request, request.url_rule)


def _install_request_rules(app: OpenAPI, engine: Engine, settings: Settings) -> None:
    prefix = settings.public_address.prefix
    access: AccessControl = app.extensions["catalens-access"]

    @app.before_request
    def begin() -> Response | None:
        g.request_id = choose_request_id(request.headers.get("X-Request-Id", ""))
        g.started = time.perf_counter()
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return _preflight(app, access)
        g.caller = _identify(access)
        # Whom the key or a trusted proxy names; all that this request writes carries the name.
        g.acting = ExitStack()
        g.acting.enter_context(acting(g.caller.name))
        g.acting.enter_context(asking(g.caller.asker))
        if EXCESS in request.environ:
            raise too_many(request.environ[EXCESS], 1)
        if REFUSED in request.environ:
            raise OverloadedError(request.environ[REFUSED])
        if request.method == "TRACE":
            raise RequestRefusedError(405, "method-not-allowed", "TRACE is not offered")
        return None

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        stack: ExitStack | None = g.pop("acting", None)
        if stack is not None:
            stack.close()
        fetched: FetchedBytes | None = g.pop("fetched", None)
        if fetched is not None:
            engine.photo_urls.release(fetched)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.get("request_id", "")
        response.headers.update(ALWAYS)
        rule = None if request.url_rule is None else request.url_rule.rule
        if settings.allowed_origins and is_shared(request.method, rule):
            response.headers.update(sharing_headers(foreign_origin(_headers(request), settings)))
        for name, value in UNLESS_SAID.items():
            response.headers.setdefault(name, value)
        if response.headers.get("Location", "").startswith("/"):
            response.headers["Location"] = prefix + response.headers["Location"]
        caller: Caller | None = g.get("caller")
        engine.log.info(
            "request",
            request_id=g.get("request_id", ""),
            caller="" if caller is None else caller.name,
            method=request.method[:LOGGED_METHOD],
            path=request.path[:LOGGED_PATH],
            status=response.status_code,
            latency_ms=round(
                (time.perf_counter() - g.get("started", time.perf_counter())) * 1000, 2
            ),
        )
        return response


def _install_health(app: OpenAPI, engine: Engine) -> None:
    health: list[Any] = [{"name": "health"}]

    @app.get("/livez", tags=health, operation_id="livez", responses={200: Health})
    def livez() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    @app.get(
        "/readyz",
        tags=health,
        operation_id="readyz",
        responses={200: Health, 503: {"content": PROBLEM}},
    )
    def readyz() -> dict[str, str]:
        """An index is active and questions can be answered."""
        snapshot = engine.ready()
        return {
            "status": "ready",
            "index_version": snapshot.index_version,
            "model_version": snapshot.model_version,
        }


def _register_routes(app: OpenAPI) -> None:
    """Register the blueprint of each module of ``service.api.routes`` and document its bodies."""
    models: list[type[BaseModel]] = [Problem]
    for name in routes.__all__:
        blueprint = import_module(f"{routes.__name__}.{name}").api
        models += body_models(blueprint)
        app.register_api(blueprint)
    for model in models:
        for name, definition in _definitions(model):
            app.components_schemas[name] = Schema(**definition)


@lru_cache(maxsize=128)
def _definitions(model: type[BaseModel]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return the schemas of a model and of those inside it, by name."""
    schema = model.model_json_schema(ref_template=OPENAPI3_REF_TEMPLATE)
    return (*schema.pop("$defs", {}).items(), (model.__name__, schema))


def _install_documents(app: OpenAPI, prefix: str) -> None:
    @cache
    def document() -> str:
        # Made once: whoever has no key may ask for it, and it takes twenty milliseconds.
        found: OpenAPIDocument = tidy(app.api_doc)
        if prefix:
            found["servers"] = [{"url": prefix}]
        return app.json.dumps(found)

    @app.get("/openapi.json", doc_ui=False)
    def openapi() -> Response:
        return Response(document() + "\n", mimetype="application/json")

    @app.get("/problems/<code>", doc_ui=False)
    def explanation(path: ProblemPath) -> Response:
        text = explain(path.code)
        if text is None:
            raise RequestRefusedError(404, "not-found", f"no problem is called {path.code[:64]!r}")
        return Response(f"{path.code}\n\n{text}\n", content_type="text/plain; charset=utf-8")

    def page(folder: Path, name: str, csp: str) -> Response:
        response = send_from_directory(folder, name, max_age=0)
        response.headers["Content-Security-Policy"] = csp
        response.headers["Cache-Control"] = "no-cache"
        return response

    @app.get("/", doc_ui=False)
    def index() -> Response:
        return page(_WEB, "index.html", _PAGE_CSP)

    @app.get("/web/<name>", doc_ui=False)
    def web(path: FilePath) -> Response:
        return page(_WEB, path.name, _PAGE_CSP)

    @app.get("/docs", doc_ui=False)
    def docs() -> Response:
        return page(_WEB, "docs.html", _DOCS_CSP)

    @app.get("/docs/<path:name>", doc_ui=False)
    def swagger(path: FilePath) -> Response:
        return page(_SWAGGER, path.name, _DOCS_CSP)
