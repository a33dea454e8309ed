"""Answers for the pods of simulated nodes, as a notebook server that has just started would.

``python -m tests.cluster.responder``, inside: listens at every address of the node's, of which the
simulated pods' range is one part. What a request was for is of no matter.
"""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PORT = 8888
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def _answer(request: Request) -> Response:
    server = request.scope["server"][0]
    return JSONResponse({"simulated": True, "address": server, "path": request.url.path})


app = Starlette(routes=[Route("/{path:path}", _answer, methods=METHODS)])


if __name__ == "__main__":
    # The address is inside the cluster's own network namespace.
    uvicorn.run(app, host="0.0.0.0", port=PORT, log_level="warning", backlog=4096)  # noqa: S104
