"""Samples of steps, workflows and entities with the functions of their steps: ordinary user code.

Run them all with ``snorri dev --app jobs.examples.steps``, or one with its module's name. Each
module says how to start it. Nothing here talks to the outside.

| module | saga | shows |
|---|---|---|
| checkout | CheckoutWorkflow | a workflow function with undos, typed from input to result |
| registration | UserRegistration | validation, undos where they are needed, a background step |
| composed | OrderWorkflow, PaymentWorkflow, … | nested and independent workflows |
| wallet | Wallet, BuyTicket | a keyed entity, alone and called from a workflow |
| strictness | UploadAlbum | undo only after success, or also after half of the work |
| error_handling | ImportFeed, ReadFeed | terminal errors, a mapper, another way |
| container | PlaceOrder | services by type, for one command each |
| factory | TenantOrder | other services for each tenant |
| order | create-order | a list: parallel checks, background notices, a callback |
| approval | ExpenseApproval | waiting for a person, with a time-out |
"""

from __future__ import annotations

from jobs.examples.steps.approval import approval
from jobs.examples.steps.checkout import checkout
from jobs.examples.steps.composed import notification, order_workflow, payment
from jobs.examples.steps.container import place_order
from jobs.examples.steps.error_handling import import_feed, read_feed
from jobs.examples.steps.factory import tenant_order
from jobs.examples.steps.order import create_order
from jobs.examples.steps.registration import registration
from jobs.examples.steps.services import providers
from jobs.examples.steps.strictness import upload_album
from jobs.examples.steps.wallet import buy_ticket, wallet

__all__ = ["definitions", "providers"]

definitions = (
    checkout,
    registration,
    order_workflow,
    payment,
    notification,
    wallet,
    buy_ticket,
    upload_album,
    import_feed,
    read_feed,
    place_order,
    tenant_order,
    create_order,
    approval,
)
