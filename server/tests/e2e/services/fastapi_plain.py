"""A FastAPI application that knows nothing of profiling."""

from __future__ import annotations

from fastapi import FastAPI
from work import handle

app = FastAPI()


@app.get("/async")
async def on_the_loop() -> dict[str, object]:
    return handle()


@app.get("/blocking")
def in_a_thread() -> dict[str, object]:
    return handle()
