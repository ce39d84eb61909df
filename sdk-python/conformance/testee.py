"""The conformance testee of flamewire's Python SDK."""

from __future__ import annotations

from typing import Any

from workload import main

import flamewire


class Flamewire:
    name = "flamewire"
    version = flamewire.__version__

    def start(self, config: dict[str, Any]) -> None:
        flamewire.start(**config)

    def stop(self) -> None:
        flamewire.stop()

    def flush(self) -> None:
        flamewire.flush(timeout_s=10)

    def tag(self, key: str, value: Any) -> Any:
        return flamewire.tags(**{key: value})


if __name__ == "__main__":
    main(Flamewire())
