"""Start the shop: `python -m shop [--port 0]`. The profiler's options come from the environment
(FLAMEWIRE_*)."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

from aiohttp import web

import flamewire
from shop.app import make_app


async def serve(port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    runner = web.AppRunner(make_app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, bound_port = runner.addresses[0][:2]
    print(json.dumps({"event": "listening", "url": f"http://{host}:{bound_port}"}), flush=True)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await runner.cleanup()


def main() -> None:
    """Profile the shop from its first line on; the last window is pushed when the process ends."""
    parser = argparse.ArgumentParser(prog="python -m shop")
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one")
    port = parser.parse_args().port
    flamewire.start(service_name="shop", tags={"version": "1.4.2", "region": "eu"})
    asyncio.run(serve(port))


if __name__ == "__main__":
    main()
