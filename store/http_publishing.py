"""Publishing events through the HTTP API: the same receipts as over NATS, and the same manners.

Promises a receipt for every event and never raises for one that was refused or could not be sent.
Every event gets an id before it is sent, so that a request may be repeated after a lost answer and
the event still changes an instance once.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Raw, Struct

from store.events import NewEvent, Published, Receipt, Refusal, Rejected, to_outgoing
from store.port import NO_HEADERS
from store.publishing import Mode
from store.subjects import Names

PUBLISH = "/api/v1/sagas/publish"
PUBLISH_MANY = "/api/v1/sagas/publish-many"

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
ATTEMPTS = 5
TIMEOUT_S = 30.0
BACKOFF_S = 0.1
BACKOFF_MAX_S = 5.0
RETRY_AFTER_MAX_S = 30.0  # longer than that is for the caller to wait

CHUNK_EVENTS_MAX = 500
CHUNK_BYTES_MAX = 4 * 1024 * 1024
EVENT_BYTES_MAX = 8 * 1024 * 1024  # what a request may have; the broker's own limit is lower
REASON_LENGTH_MAX = 2000


class HttpOptions(Struct, frozen=True, kw_only=True):
    """How the API is spoken to. ``headers`` go with every request, ``token`` as a bearer token.

    A request is sent up to ``attempts`` times: again when nothing came back within ``timeout_s``
    seconds or the status is one of ``retry_statuses``, after a growing pause or what the answer's
    Retry-After says. ``tls_ca`` is a file with who may sign the certificate of an https address.
    """

    headers: Mapping[str, str] = NO_HEADERS
    token: str | None = None
    retry_statuses: frozenset[int] = RETRIED_STATUSES
    attempts: int = ATTEMPTS
    timeout_s: float = TIMEOUT_S
    tls_ca: str | None = None


class HttpLine:
    """Sends events to the API at ``base_url``; raises ValueError when that is no address."""

    def __init__(
        self,
        base_url: str,
        options: HttpOptions,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if options.attempts < 1:
            raise ValueError(f"attempts is {options.attempts}; at least 1 is needed")
        headers = checked_address(base_url, options)
        self._options = options
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=options.timeout_s,
            transport=transport,
            verify=tls_verification(options.tls_ca),
        )

    async def publish_many(self, messages: Sequence[NewEvent], mode: Mode) -> list[Receipt]:
        """Receipts in the order of the events; the modes are those of EventPublisher."""
        receipts: list[Receipt] = []
        for chunk in _chunks([_checked(event) for event in messages]):
            if isinstance(chunk, Rejected):
                receipts.append(chunk)
            else:
                receipts += await self._send(chunk, mode)
            if mode == "sequential" and isinstance(receipts[-1], Rejected):
                break
        return _fill(receipts, len(messages))

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def _send(self, chunk: Sequence[_Event], mode: Mode) -> list[Receipt]:
        if len(chunk) == 1:
            answer = await self._post(PUBLISH, msgspec.json.encode(chunk[0]))
        else:
            body = msgspec.json.encode(_Many(mode=mode, messages=chunk))
            answer = await self._post(PUBLISH_MANY, body)
        if isinstance(answer, Rejected):
            return [answer] * len(chunk)
        receipts = _receipts(answer, len(chunk))
        return receipts or [self._no_receipt(answer)] * len(chunk)

    async def _post(self, path: str, body: bytes) -> httpx.Response | Rejected:
        """The last answer, or why there was none."""
        attempt = 1
        while True:
            try:
                answer = await self._client.post(
                    path, content=body, headers={"Content-Type": "application/json"}
                )
            except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
                # RuntimeError is what httpx says of a client that was closed meanwhile.
                why = str(error) or type(error).__name__
                last: httpx.Response | Rejected = Rejected(
                    reason=f"the API at {self._client.base_url} did not answer: {why}; check the "
                    "address and that `snorri serve` runs",
                    retryable=not self._client.is_closed,
                )
                pause_s = 0.0
            else:
                last = answer
                pause_s = _retry_after_s(answer)
                if answer.status_code not in self._options.retry_statuses:
                    return last
            done = attempt >= self._options.attempts or self._client.is_closed
            if done or pause_s > RETRY_AFTER_MAX_S:
                return last
            backoff_s = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (attempt - 1))
            jittered_s = backoff_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
            await asyncio.sleep(max(pause_s, jittered_s))
            attempt += 1

    def _no_receipt(self, answer: httpx.Response) -> Rejected:
        try:
            said = msgspec.json.decode(answer.content, type=_Problem)
            words = f"{said.detail} {said.next}".strip() or said.title
        except (msgspec.DecodeError, UnicodeDecodeError):
            words = "it sent no receipt; is that address Snorri's?"
        reason = f"the API answered {answer.status_code}: {words}"
        retryable = answer.status_code in self._options.retry_statuses
        return Rejected(reason=reason[:REASON_LENGTH_MAX], retryable=retryable)


def checked_address(base_url: str, options: HttpOptions) -> dict[str, str]:
    """The headers of all requests to ``base_url``; raises ValueError when it is no address or a
    header can't be sent.
    """
    if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).netloc:
        raise ValueError(f"base_url is {base_url!r}; write it as http://127.0.0.1:8092")
    headers = dict(options.headers)
    if options.token is not None:
        headers["Authorization"] = f"Bearer {options.token}"
    for name, value in headers.items():
        if not (name.isascii() and value.isascii() and value.isprintable()):
            raise ValueError(f"the header {name} must be printable ASCII on one line")
    return headers


def tls_verification(ca: str | None) -> ssl.SSLContext | bool:
    """What httpx checks certificates with: the CA file, or those this machine trusts.

    Raises ValueError for a file that holds none.
    """
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"the CA file {ca} can't be used ({error.strerror or error})") from None


class _Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    payload: Raw
    id: str
    key: str | None = None
    headers: Mapping[str, str] = NO_HEADERS


class _Many(Struct, frozen=True, kw_only=True):
    mode: Mode
    messages: Sequence[_Event]


class _Receipt(Struct, frozen=True):
    published: bool
    seq: int = 0
    duplicate: bool = False
    reason: str = ""
    retryable: bool = False


class _Receipts(Struct, frozen=True):
    receipts: list[_Receipt]


class _Problem(Struct, frozen=True):
    title: str = ""
    detail: str = ""
    next: str = ""


def _checked(event: NewEvent) -> _Event | Rejected:
    """The event as it is sent, refused here when the broker would refuse it."""
    try:
        payload = to_outgoing(Names(), event, EVENT_BYTES_MAX).payload
    except Refusal as error:
        return Rejected(reason=str(error))
    return _Event(
        type=event.type,
        payload=Raw(payload),
        id=event.id if event.id is not None else uuid.uuid4().hex,
        key=event.key,
        headers=event.headers,
    )


def _chunks(events: Sequence[_Event | Rejected]) -> Iterator[Sequence[_Event] | Rejected]:
    """What is sent with one request each; an event refused here stands alone, in its place."""
    chunk: list[_Event] = []
    size = 0
    for event in events:
        length = 0 if isinstance(event, Rejected) else len(bytes(event.payload)) + len(event.type)
        full = len(chunk) == CHUNK_EVENTS_MAX or size + length > CHUNK_BYTES_MAX
        if chunk and (full or isinstance(event, Rejected)):
            yield chunk
            chunk, size = [], 0
        if isinstance(event, Rejected):
            yield event
        else:
            chunk.append(event)
            size += length
    if chunk:
        yield chunk


def _receipts(answer: httpx.Response, count: int) -> list[Receipt]:
    """The receipts in an answer, none when it holds something else."""
    try:
        if count == 1:
            found = [msgspec.json.decode(answer.content, type=_Receipt)]
        else:
            found = msgspec.json.decode(answer.content, type=_Receipts).receipts
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    if len(found) != count:
        return []
    return [
        Published(seq=one.seq, duplicate=one.duplicate)
        if one.published
        else Rejected(reason=one.reason, retryable=one.retryable)
        for one in found
    ]


def _fill(receipts: list[Receipt], count: int) -> list[Receipt]:
    """A receipt for each event; those after one that stopped the sequence were not sent."""
    stopped = next((n for n, one in enumerate(receipts, 1) if isinstance(one, Rejected)), 0)
    reason = f"not sent, since event {stopped} before it was rejected; mend that first"
    missing = count - len(receipts)
    return receipts + [Rejected(reason=reason, retryable=True)] * missing


def _retry_after_s(answer: httpx.Response) -> float:
    """Seconds of Retry-After, 0 without one; a date counts as none."""
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
