"""The server process: put the parts together, listen, stop without losing anything."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from flamewire_server import __version__
from flamewire_server._native import Encoder, Reader
from flamewire_server.auth import KEYS_FILE, KeyRing
from flamewire_server.compaction.compactor import Compactor
from flamewire_server.config import Config, is_loopback
from flamewire_server.errors import ConfigError, StorageError
from flamewire_server.http.access import Access
from flamewire_server.http.export import ExportAnswers
from flamewire_server.http.grpc import make_grpc_middleware
from flamewire_server.http.listener import Listeners
from flamewire_server.http.middleware import make_middleware
from flamewire_server.http.operations import OperationsHandlers
from flamewire_server.http.push import PushHandlers
from flamewire_server.http.query_runner import QueryRunner
from flamewire_server.http.render import RenderAnswers
from flamewire_server.http.services import make_services
from flamewire_server.http.tls import make_ssl_context
from flamewire_server.http.ui import UiHandlers
from flamewire_server.http.url_service import UrlService
from flamewire_server.ingest.block_writer import BlockWriter
from flamewire_server.ingest.committer import Committer
from flamewire_server.ingest.rate import RateGate
from flamewire_server.log import EventLog
from flamewire_server.metrics import Metrics
from flamewire_server.overrides import TenantConfigs, native_limits
from flamewire_server.query.queries import Queries
from flamewire_server.storage.catalog import Catalog
from flamewire_server.storage.compaction_queue import CompactionQueue
from flamewire_server.storage.local_store import LocalStore
from flamewire_server.storage.retention import apply_retention

__all__ = ["run_server"]

_QUERY_THREADS = 4
# Of one query; with _QUERY_THREADS the bound of all that scan at one time.
_SCAN_THREADS = 2
_RETENTION_INTERVAL_S = 60
_COMPACTION_INTERVAL_S = 2
_IDLE_CHECK_S = 0.1
_OVERRIDES_INTERVAL_S = 5
_UI_FOLDER = Path(__file__).parent / "_ui"
_log = EventLog(__name__)


async def run_server(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was taken and return.

    Raises:
        ConfigError: the address cannot be listened on.
        StorageError: the data folder cannot be used.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics()
    store = LocalStore(config.data_dir)
    try:
        catalog = Catalog(config.data_dir / "catalog.sqlite")
        try:
            swept = store.sweep(catalog.file_names())
            if swept:
                metrics.files_swept.inc(swept)
                _log.info("swept", files=swept)
            await _serve(config, metrics, store, catalog, stop)
        finally:
            catalog.close()
    finally:
        store.close()
    _log.info("stopped")


async def _serve(
    config: Config, metrics: Metrics, store: LocalStore, catalog: Catalog, stop: asyncio.Event
) -> None:
    with (
        ThreadPoolExecutor(1, "commit") as commit_executor,
        ThreadPoolExecutor(1, "compact") as compact_executor,
        ThreadPoolExecutor(_QUERY_THREADS, "query") as query_executor,
    ):
        tenants = TenantConfigs(config)
        limits = native_limits(config)
        writer = BlockWriter(store=store, catalog=catalog, encoder=Encoder(), limits=limits, configs=tenants)
        committer = Committer(
            writer.commit, executor=commit_executor, metrics=metrics, gate=RateGate(tenants)
        )
        operations = OperationsHandlers(committer, metrics)
        reader = Reader(max_cached_bytes=config.query_cache_bytes, max_threads=_SCAN_THREADS)
        queries = Queries(catalog, store, reader, metrics, max_query_bytes=config.max_query_bytes)
        query_runner = QueryRunner(config, query_executor, metrics)
        services = make_services(config, queries, catalog.database, limits, query_runner, metrics)
        access = Access(KeyRing(config.data_dir / KEYS_FILE))
        app = web.Application(
            middlewares=[
                make_grpc_middleware(),
                make_middleware(
                    check_host=is_loopback(config.listen_address),
                    allowed_hosts=config.allowed_hosts,
                    metrics=metrics,
                    access=access,
                ),
            ]
        )
        app.add_routes(access.grant(PushHandlers(config, committer, metrics).routes(), "push"))
        for service in services:
            app.add_routes(access.grant(service.write_routes(), "push"))
            app.add_routes(access.grant(service.routes(), "read"))
        answers = {**RenderAnswers(queries).answers(), **ExportAnswers(queries).answers()}
        app.add_routes(access.grant(UrlService(answers, config, query_runner, metrics).routes(), "read"))
        # Probes have no keys, and /ready says nothing about profiles.
        app.add_routes(access.grant(operations.public_routes(), None))
        app.add_routes(access.grant(operations.admin_routes(), "admin"))
        app.add_routes(access.grant(UiHandlers(_UI_FOLDER).routes(), "read"))
        # Bodies are inflated where their size can be bounded, hence auto_decompress=False.
        runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            handle_signals=False,
            shutdown_timeout=config.graceful_shutdown_timeout_s,
        )
        await runner.setup()
        assert runner.server is not None
        listeners = Listeners(runner.server)
        compactor = Compactor(store=store, queue=CompactionQueue(catalog.database), metrics=metrics)
        reread = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reread.set)
        upkeep = [
            asyncio.create_task(_keep_retention(tenants, metrics, store, catalog, query_executor)),
            asyncio.create_task(_keep_compacting(compactor, compact_executor)),
            asyncio.create_task(_keep_overrides(tenants, metrics, reread)),
        ]
        try:
            ssl_context = make_ssl_context(config)
            url = await _listen(listeners, config.listen_address, config.listen_port, ssl_context)
            more = {}
            if config.otlp_listen is not None:
                more["otlp_url"] = await _listen(listeners, *config.otlp_listen, ssl_context)
            _log.info("listening", url=url, **more, version=__version__, data=str(config.data_dir.resolve()))
            await stop.wait()
            _log.info("stopping")
            operations.stopping = True
        finally:
            for task in upkeep:
                task.cancel()
            await asyncio.gather(*upkeep, return_exceptions=True)
            # Stops listening, then waits for the requests that were taken; the committer answers them
            # meanwhile.
            listeners.stop()
            await _close(runner)
            listeners.abort()
            await committer.drain()


async def _close(runner: web.AppRunner) -> None:
    """Clean the runner up, closing idle connections again and again meanwhile.

    A connection that was being accepted when aiohttp (3.14) closed the idle ones is missed: its request is
    never read, and the clean-up waits for it until the timeout. Once aiohttp counts it, one call is enough.
    """
    cleanup = asyncio.create_task(runner.cleanup())
    while not (await asyncio.wait([cleanup], timeout=_IDLE_CHECK_S))[0]:
        if runner.server is not None:
            runner.server.pre_shutdown()
    await cleanup


async def _listen(listeners: Listeners, address: str, port: int, ssl_context: ssl.SSLContext | None) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=1024)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {address}:{port}: {error.strerror}; give another --listen or"
            " --otlp-grpc-listen"
        ) from error
    await listeners.listen(listener, ssl_context)
    address, port = listener.getsockname()[:2]
    scheme = "http" if ssl_context is None else "https"
    return f"{scheme}://[{address}]:{port}" if family == socket.AF_INET6 else f"{scheme}://{address}:{port}"


async def _keep_overrides(tenants: TenantConfigs, metrics: Metrics, reread: asyncio.Event) -> None:
    """Read the overrides file again when it has changed: every few seconds, and at SIGHUP."""
    while True:
        metrics.overrides_current.set(tenants.reload())
        reread.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(reread.wait(), _OVERRIDES_INTERVAL_S)


async def _keep_retention(
    tenants: TenantConfigs,
    metrics: Metrics,
    store: LocalStore,
    catalog: Catalog,
    executor: ThreadPoolExecutor,
) -> None:
    loop = asyncio.get_running_loop()

    def apply() -> int:
        return apply_retention(
            catalog,
            store,
            retention_s=0,
            now_s=time.time(),
            retention_of=lambda one: tenants.of(one).retention_s,
        )

    while True:
        try:
            metrics.blocks_removed.inc(await loop.run_in_executor(executor, apply))
        except StorageError as error:
            _log.error("retention_failed", reason=str(error))
        await asyncio.sleep(_RETENTION_INTERVAL_S)


async def _keep_compacting(compactor: Compactor, executor: ThreadPoolExecutor) -> None:
    """Do one merge after the other while any is due. A merge that runs when the server stops is finished."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            while await loop.run_in_executor(executor, compactor.run_once):
                pass
        except StorageError as error:
            _log.error("compaction_stalled", reason=str(error))
        except Exception as error:  # noqa: BLE001 - the root of the compaction thread: a defect must not end it
            _log.error("compaction_defect", exc=error)
        await asyncio.sleep(_COMPACTION_INTERVAL_S)
