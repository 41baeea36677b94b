"""Examples in the OpenAPI document: answers of the reading routes as they look for one order."""

from __future__ import annotations

from typing import Any

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

Json = dict[str, Any]


def answers(kind: type, example: Json, description: str) -> dict[int, ResponseSpec]:
    """What a route answers with: the type of it, and how it looks."""
    return {
        200: ResponseSpec(
            data_container=kind,
            generate_examples=False,
            description=description,
            examples=[Example(value=example)],
        )
    }


PROJECTION: Json = {
    "seq": 48213,
    "lag": 0,
    "lagSeconds": 0.0,
    "rebuilding": None,
    "fault": None,
}
ITEM: Json = {
    "saga": "CheckoutSaga",
    "key": "o-1001",
    "version": 3,
    "status": "running",
    "ownStatus": "inventory_reserved",
    "seq": 48207,
    "startedAt": "2026-05-01T09:30:00.101000Z",
    "changedAt": "2026-05-01T09:30:02.480000Z",
    "endedAt": None,
    "statusSince": "2026-05-01T09:30:00.101000Z",
    "cause": {"kind": "event", "type": "InventoryReserved"},
    "error": None,
    "parent": None,
    "openCommands": 1,
    "openTimers": 0,
    "openChildren": 0,
    "backlog": 0,
    "definition": "32bb5973dfef4900",
    "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
INSTANCES: Json = {
    "items": [ITEM],
    "next": "44Jm4DpRiV0yNA",
    "searched": {"complete": True, "through": 48207},
    "projection": PROJECTION,
}
STATE: Json = {
    "orderId": "o-1001",
    "customerId": "c-7",
    "status": "inventory_reserved",
    "total": 4999,
}
CAUSE: Json = {
    "kind": "event",
    "type": "InventoryReserved",
    "id": "CheckoutSaga.o-1001.2.0-1",
    "seq": 812,
    "at": "2026-05-01T09:30:02.471000Z",
    "payload": {"orderId": "o-1001"},
}
EFFECT: Json = {
    "kind": "send",
    "target": "create-shipment",
    "id": "CheckoutSaga.o-1001.3.0",
    "payload": {"orderId": "o-1001"},
}
DOCUMENT: Json = {
    "v": 1,
    "saga": "CheckoutSaga",
    "key": "o-1001",
    "version": 3,
    "status": "running",
    "state": STATE,
    "started": "2026-05-01T09:30:00.101000Z",
    "at": "2026-05-01T09:30:02.479000Z",
    "cause": CAUSE,
    "effects": [EFFECT],
    "error": None,
    "definition": "32bb5973dfef4900",
    "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "prev": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
INSTANCE: Json = {
    "saga": "CheckoutSaga",
    "key": "o-1001",
    "version": 3,
    "status": "running",
    "seq": 48207,
    "at": "2026-05-01T09:30:02.480000Z",
    "hash": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
    "actions": ["retry", "pause", "cancel", "compensate", "signal", "patch"],
    "waitsFor": [
        {
            "kind": "command",
            "subject": "create-shipment",
            "words": "command create-shipment queued 41 s, attempt 3 after TimeoutError",
            "since": "2026-05-01T09:30:02.480000Z",
        }
    ],
    "state": STATE,
    "document": DOCUMENT,
}
HISTORY: Json = {
    "saga": "CheckoutSaga",
    "key": "o-1001",
    "version": 3,
    "items": [
        {
            "version": 3,
            "seq": 48207,
            "at": "2026-05-01T09:30:02.480000Z",
            "status": "running",
            "statusBefore": "running",
            "sincePreviousMs": 1204.5,
            "waitedMs": 9.0,
            "hash": INSTANCE["hash"],
            "cause": CAUSE,
            "effects": [EFFECT],
            "error": None,
            "changes": [
                {
                    "path": "status",
                    "kind": "changed",
                    "before": "paid",
                    "after": "inventory_reserved",
                }
            ],
            "document": DOCUMENT,
        }
    ],
    "next": None,
    "archived": 0,
}
DIFFERENCE: Json = {
    "saga": "CheckoutSaga",
    "key": "o-1001",
    "fromVersion": 1,
    "toVersion": 3,
    "fromStatus": "running",
    "toStatus": "running",
    "changes": [
        {
            "path": "status",
            "kind": "changed",
            "before": "payment_pending",
            "after": "inventory_reserved",
        },
        {"path": "transactionId", "kind": "added", "after": "tx-81"},
    ],
    "truncated": False,
}
ANSWER: Json = {
    "saga": "CheckoutSaga",
    "key": "o-1001",
    "version": 3,
    "query": "progress",
    "result": {"status": "inventory_reserved", "total": 4999},
}
EXECUTIONS: Json = {
    "items": [
        {
            "stream": "events",
            "seq": 820,
            "command": "CheckoutSaga.o-1001.3.0",
            "target": "create-shipment",
            "saga": "CheckoutSaga",
            "key": "o-1001",
            "worker": "shop-7f9c-1",
            "attempt": 2,
            "queuedAt": "2026-05-01T09:30:02.480000Z",
            "startedAt": "2026-05-01T09:30:33.020000Z",
            "endedAt": "2026-05-01T09:30:43.021000Z",
            "queuedMs": 30540.0,
            "durationMs": 10001.0,
            "outcome": "timed_out",
            "error": "TimeoutError: the carrier did not answer within 10 s",
        }
    ],
    "next": None,
    "projection": PROJECTION,
}
LETTER: Json = {
    "id": "events-815-CheckoutSaga",
    "status": "open",
    "type": "PaymentCompleted",
    "saga": "CheckoutSaga",
    "key": "o-1001",
    "command": "",
    "reason": "the payload does not fit: Expected `str`, got `int` - at `$.transactionId`",
    "stream": "events",
    "seq": 815,
    "createdAt": "2026-05-01T09:30:01.000000Z",
    "by": "",
    "note": "",
    "actions": ["redrive", "discard"],
    "message": {
        "type": "PaymentCompleted",
        "key": "o-1001",
        "storedAt": "2026-05-01T09:30:00.990000Z",
        "headers": {"Nats-Msg-Id": "pay-77"},
        "payload": {"orderId": "o-1001", "transactionId": 81},
        "text": None,
    },
}
