"""The emulator's aiohttp application."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web
from aiohttp.typedefs import Handler

from . import collinear_readback, control, nebius
from .answers import problem, reset, send
from .collinear import CollinearUpload
from .gate import readback, write
from .settings import Settings
from .state import STATE, State
from .store import Store
from .uploads import upload

__all__ = ["create_app"]


def create_app(
    settings: Settings | None = None, db_path: Path | None = None, *, clock: Callable[[], float] = time.time
) -> web.Application:
    """Both endpoints and `/_emulator` over one database.

    *db_path* is made if it is not there, and gone on with if it is; None is a file of its own that goes with the
    application. *clock* gives unix seconds: windows, lags and creation times go by it.
    """
    app = web.Application(middlewares=[_json_errors])
    folder = TemporaryDirectory(prefix="bulkup-emulator-") if db_path is None else None
    store = Store(Path(folder.name) / "rows.db" if folder is not None else db_path or Path(), clock)
    state = app[STATE] = State(settings or Settings(), store, clock)

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        yield
        await state.stop()
        store.close()
        if folder is not None:
            folder.cleanup()

    app.cleanup_ctx.append(lifetime)
    app.add_routes(
        [
            web.post("/v1/datasets", upload(nebius.NebiusUpload())),
            web.get("/v1/datasets", readback("nebius", nebius.listed), allow_head=False),
            web.get("/v1/datasets/{id}", readback("nebius", nebius.polled), allow_head=False),
            web.get("/v1/datasets/{id}/content", readback("nebius", nebius.content), allow_head=False),
            web.patch("/v1/datasets/{id}", write("nebius", nebius.changed)),
            web.post("/api/v1/dataset/upload", upload(CollinearUpload())),
            web.post("/api/v1/dataset/name", readback("collinear", collinear_readback.by_name)),
            web.get(
                "/api/v1/dataset/{id}/download", readback("collinear", collinear_readback.download), allow_head=False
            ),
            web.post("/graphql", readback("collinear", collinear_readback.graphql)),
            *control.routes(),
        ]
    )
    return app


@web.middleware
async def _json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What no route takes is answered in the endpoints' shape: 404, 405. A client that leaves in mid-answer is no news."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        return await send(request, problem(request.app[STATE], request, refused.status, refused.reason))
    except ConnectionResetError:
        return reset(request)
