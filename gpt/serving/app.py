"""The web side: paths, bodies, streams, and clients that leave."""
import asyncio
import json
import time
import uuid
from contextlib import asynccontextmanager
from importlib.resources import files

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from gpt.serving.protocol import BEGIN, CHAT, TEXT, Refused, choice, error_body, read_json, usage

MOST_BYTES = 8 << 20               # of a body
PAGE = files("gpt.serving") / "page" / "chat.html"
PAGE_HEADERS = {"x-frame-options": "DENY", "referrer-policy": "no-referrer"}
STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"),
                  (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


def make_app(service):
    """Make the ASGI application of a `Service`."""
    async def chat(request):
        return Reply(service, service.chat(await body_of(request)), CHAT)

    async def complete(request):
        return Reply(service, service.complete(await body_of(request)), TEXT)

    async def embed(request):
        found = await run_in_threadpool(service.embed, await body_of(request))
        return JSONResponse(found)

    async def models(request):
        return JSONResponse({"object": "list", "data": [described(service)]})

    async def model(request):
        service.check_model(request.path_params["name"])
        return JSONResponse(described(service))

    async def page(request):
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=PAGE_HEADERS)

    @asynccontextmanager
    async def lifespan(app):
        service.tell_in(asyncio.get_running_loop())
        yield
        await run_in_threadpool(service.close)

    paths = [("/v1/chat/completions", chat, "POST"), ("/v1/completions", complete, "POST"),
             ("/v1/embeddings", embed, "POST"), ("/v1/models", models, "GET"),
             ("/v1/models/{name:path}", model, "GET")]
    routes = [Route(path, checked(service, handle), methods=[method])
              for path, handle, method in paths]
    return Starlette(routes=[*routes, Route("/", page)], lifespan=lifespan,
                     exception_handlers={HTTPException: no_path, Exception: own_fault})


def described(service):
    return {"id": service.name, "object": "model", "created": 0, "owned_by": "minigrad"}


def checked(service, handle):
    """Let a handler serve those who may ask, and tell what is refused in the protocol's form."""
    async def run(request):
        try:
            service.check_client(request.headers)
            return await handle(request)
        except Refused as refused:
            return told(refused)
    return run


def told(refused):
    headers = {429: {"retry-after": "1"}, 401: {"www-authenticate": "Bearer"}}
    return JSONResponse(refused.body, refused.status, headers.get(refused.status))


async def no_path(request, error):
    message = f"{request.method} {request.url.path[:80]}: {error.detail}"
    return JSONResponse(error_body(message, error.status_code), error.status_code, error.headers)


async def own_fault(request, error):
    return JSONResponse(error_body("the server failed", 500), 500)


async def body_of(request):
    """Read a JSON object that is not too large.

    Only JSON is taken: what a page from elsewhere may send without asking is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise Refused(415, f"the content-type is {kind[:60]!r}, but must be 'application/json'")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refused(413, f"the body has more than {MOST_BYTES:,} bytes")
    return read_json(bytes(body))


class Reply:
    """The answers to one request, whole or in a stream; if the client leaves, they end.

    Parameters
    ----------
    service : Service
    asked : Asked
    form : Form
    """

    def __init__(self, service, asked, form):
        self.service, self.asked, self.form = service, asked, form
        self.inbox = asyncio.Queue()
        self.facts = {"id": form.prefix + uuid.uuid4().hex, "created": int(time.time()),
                      "model": service.name}
        self.answers = service.submit(asked, self.tell)

    def tell(self, i, piece):
        self.inbox.put_nowait((i, piece))

    async def __call__(self, scope, receive, send):
        write = self.stream if self.asked.stream else self.whole
        tasks = {asyncio.ensure_future(write(scope, receive, send)),
                 asyncio.ensure_future(left(receive))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()                          # its error, if it ended in one
        finally:
            self.service.batcher.cancel(self.answers)
            for task in tasks:
                task.cancel()

    async def pieces(self):
        """Yield (number of the answer, Piece) until all have ended.

        Raises
        ------
        Refused
            If one cannot be written to its end.
        """
        unfinished, begun = len(self.answers), set()
        while unfinished:
            i, piece = await self.inbox.get()
            if piece.finish == "error":
                raise Refused(500, piece.text)
            if self.form is CHAT and i not in begun:   # some templates leave a space to the model
                piece = piece._replace(text=piece.text.lstrip())
            if piece.text:
                begun.add(i)
            unfinished -= piece.finish is not None
            yield i, piece

    def usage(self):
        prompts = sum(map(len, self.asked.prompts))
        return usage(prompts, sum(answer.n_made for answer in self.answers))

    # ---- whole ----

    async def whole(self, scope, receive, send):
        try:
            response = JSONResponse(await self.collected())
        except Refused as refused:
            response = told(refused)
        await response(scope, receive, send)

    async def collected(self):
        texts, ends = [""] * len(self.answers), [None] * len(self.answers)
        async for i, piece in self.pieces():
            texts[i] += piece.text
            ends[i] = piece.finish
        choices = [choice(i, self.form.of_whole(text), finish)
                   for i, (text, finish) in enumerate(zip(texts, ends))]
        return {**self.facts, "object": self.form.whole, "choices": choices, "usage": self.usage()}

    # ---- in a stream ----

    async def stream(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        try:
            async for event in self.events():
                await send_part(send, json.dumps(event))
        except Refused as refused:
            await send_part(send, json.dumps(refused.body))
        await send_part(send, "[DONE]")
        await send({"type": "http.response.body", "body": b""})

    async def events(self):
        """Yield the parts of a stream as dicts."""
        if self.form is CHAT:
            for i in range(len(self.answers)):
                yield self.event([choice(i, BEGIN)])
        async for i, piece in self.pieces():
            if piece.text:
                yield self.event([choice(i, self.form.of_chunk(piece.text))])
            if piece.finish:
                yield self.event([choice(i, self.form.of_chunk(""), piece.finish)])
        if self.asked.with_usage:
            yield self.event([]) | {"usage": self.usage()}

    def event(self, choices):
        facts = {**self.facts, "object": self.form.chunk, "choices": choices}
        return facts | {"usage": None} if self.asked.with_usage else facts


async def send_part(send, text):
    body = f"data: {text}\n\n".encode()
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def left(receive):
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
