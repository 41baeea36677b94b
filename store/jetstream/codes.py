"""What the server's error codes mean for us: one table, data only.

A code belongs to exactly one outcome of ``store.port``. The distinction that matters is whether
anything may be stored: Conflict, Busy and Invalid promise that nothing is.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from store.port import Busy, CommitOutcome, Conflict, Invalid, Unknown

Kind: TypeAlias = Literal["conflict", "busy", "unknown", "invalid"]

WRONG_LAST_SEQUENCE = 10071
DUPLICATE_IN_BATCH = 10201
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
CONSUMERS_FULL = 10026
MESSAGE_NOT_FOUND = 10037
AWAY = frozenset({10008, 10009})  # nobody who could answer, or not the one who can

KINDS: dict[int, Kind] = {
    # An expected sequence did not hold. Replicated streams answer 10164, also when another write to
    # the subject is only on its way, so it is no proof that someone else won.
    10071: "conflict",  # wrong last sequence (names the sequence it found)
    10164: "conflict",  # wrong last sequence, constant text
    # Nothing is stored and the cause passes: wait with jitter, repeat.
    10210: "busy",  # over 50 open batches on the stream or 1000 on the server
    10211: "busy",  # the same for the other kind of batch publishing
    10176: "busy",  # batch incomplete; ours are sent whole, so it met a limit or a new leader
    10163: "busy",  # the leader has not caught up with expectations for each subject yet
    10158: "busy",  # a message with the same id is being stored
    10167: "busy",  # too many requests in the stream's queue
    10002: "busy",  # the account's storage is used up
    10023: "busy",  # insufficient resources: max_file_store is reached
    10028: "busy",  # insufficient memory
    10047: "busy",  # insufficient storage
    10008: "busy",  # JetStream is not available for a moment
    10009: "busy",  # asked a server that is not the leader
    10074: "busy",  # a peer is missing for a placement
    # The store failed in the middle: on one node a part of the batch may be written and is
    # completed at the next start of the server.
    10077: "unknown",
    # The request is at fault; it would fail again.
    10039: "invalid",  # the account has no JetStream
    10054: "invalid",  # message over max_msg_size
    10060: "invalid",  # another stream answered
    10070: "invalid",  # wrong last message id
    10076: "invalid",  # the server has no JetStream
    10097: "invalid",  # headers over 64 KiB
    10109: "invalid",  # sealed stream
    10111: "invalid",  # rollup not permitted, or not on the first message of its subject
    10165: "invalid",  # bad Nats-TTL
    10166: "invalid",  # no TTLs on this stream
    10174: "invalid",  # no atomic batches on this stream
    10175: "invalid",  # batch sequence missing
    10177: "invalid",  # header not allowed in a batch (Nats-Expected-Last-Msg-Id)
    10179: "invalid",  # batch id over 64 characters
    10188: "invalid",  # no schedules on this stream
    10189: "invalid",  # schedule pattern
    10190: "invalid",  # schedule target missing, foreign, or the schedule's own subject
    10191: "invalid",  # schedule TTL
    10192: "invalid",  # schedule with a rollup other than sub
    10193: "invalid",  # expected subject without expected sequence
    10199: "invalid",  # over 1000 messages
    10200: "invalid",  # bad Nats-Batch-Commit
    10201: "invalid",  # a message id in the batch was seen before; ids don't belong into batches
    10203: "invalid",  # schedule source
    10212: "invalid",  # cancel on the schedule's own subject, or of what is no schedule
    10223: "invalid",  # time zone
}


class ServerError(Struct, frozen=True):
    """The ``error`` of an answer: ``err_code`` is the stable one, ``code`` is HTTP-like."""

    code: int = 0
    err_code: int = 0
    description: str = ""

    def __str__(self) -> str:
        return f"{self.description} ({self.err_code})"


def kind_of(error: ServerError) -> Kind:
    """Which outcome an error is; a code not in the table is judged by its HTTP-like class."""
    kind = KINDS.get(error.err_code)
    if kind is not None:
        return kind
    return "invalid" if 400 <= error.code < 500 and error.code != 429 else "unknown"


def outcome_of(error: ServerError) -> CommitOutcome:
    """The outcome of a commit that was answered with ``error``."""
    match kind_of(error):
        case "conflict":
            return Conflict(str(error))
        case "busy":
            return Busy(str(error))
        case "unknown":
            return Unknown(str(error))
        case "invalid":
            return Invalid(error.err_code, str(error))
