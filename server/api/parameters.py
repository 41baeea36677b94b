"""Parameters that many routes take: which instance, and how they are described."""

from __future__ import annotations

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import PathParameter

from server.api.deps import Deps

Parts = NamedDependency[Deps]
Saga = Annotated[str, PathParameter(description="Id of the saga definition")]
Key = Annotated[
    str, PathParameter(description="Correlation key; a slash within it is written `%2F`")
]
