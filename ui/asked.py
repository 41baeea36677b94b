"""The filters of the list of instances as they stand in an address, and the views made of them."""

from __future__ import annotations

from collections.abc import Mapping

from litestar.datastructures import MultiDict
from msgspec import Struct

from store.projection.instances import Order
from ui.addresses import Query

OPEN = ("running", "compensating", "paused", "parked")


class Asked(Struct, frozen=True, kw_only=True):
    """The filters as they stand in the address."""

    saga: str = ""
    status: tuple[str, ...] = ()
    key: str = ""
    q: str = ""
    since: str = ""
    until: str = ""
    where: tuple[str, ...] = ()
    order: Order = "newest"

    @property
    def any(self) -> bool:
        """Whether anything is filtered."""
        return self != Asked(order=self.order)

    def query(self, **changed: object) -> Query:
        """The parameters of the address, some of them changed."""
        given = {
            "saga": self.saga,
            "status": list(self.status),
            "key": self.key,
            "q": self.q,
            "since": self.since,
            "until": self.until,
            "where": list(self.where),
            "order": self.order if self.order != "newest" else "",
        }
        return {**given, **changed}  # type: ignore[return-value]  # texts, lists and numbers

    def toggled(self, status: str) -> Query:
        """The address with one status more or less."""
        rest = [one for one in self.status if one != status]
        return self.query(status=rest if status in self.status else [*rest, status])

    def fields(self) -> list[tuple[str, str]]:
        """The filters as fields of a form, one for each value."""
        found: list[tuple[str, str]] = []
        for name, value in self.query().items():
            values = value if isinstance(value, list) else [value]
            found += [(name, str(one)) for one in values if one]
        return found


class View(Struct, frozen=True):
    """A view that every installation has: its name and its filters."""

    label: str
    asked: Asked


VIEWS = (
    View("Parked", Asked(status=("parked",))),
    View("Failed in 24 hours", Asked(status=("failed",), since="24h")),
    View("Oldest open", Asked(status=OPEN, order="oldest")),
    View("Compensating", Asked(status=("compensating",))),
)


def asked_in(given: MultiDict[str] | Mapping[str, str]) -> Asked:
    """The filters among the parameters of an address or the fields of a form."""

    def texts(name: str) -> tuple[str, ...]:
        found = given.getall(name, []) if isinstance(given, MultiDict) else [given.get(name, "")]
        return tuple(one.strip() for one in found if one.strip())

    def text(name: str) -> str:
        return (*texts(name), "")[0]

    return Asked(
        saga=text("saga"),
        status=texts("status"),
        key=text("key"),
        q=text("q"),
        since=text("since"),
        until=text("until"),
        where=texts("where"),
        order="oldest" if text("order") == "oldest" else "newest",
    )
