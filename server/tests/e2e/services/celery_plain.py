"""A Celery application on a folder as its broker, that knows nothing of profiling."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from work import handle

FOLDER = Path(os.environ["CELERY_FOLDER"])

app = Celery("celery_plain", broker="filesystem://", backend=f"file://{FOLDER / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER / "queue"),
    "data_folder_out": str(FOLDER / "queue"),
    "control_folder": str(FOLDER / "control"),
}


@app.task
def job() -> dict[str, object]:
    return handle()
